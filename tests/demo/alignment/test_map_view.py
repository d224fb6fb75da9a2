"""The map as a part of the page and as a page of its own."""

import base64
import hashlib
import re

from demo.alignment import map_view


def test_plotly_is_served_from_here():
    page = map_view.head() + map_view.component().html_template + map_view.component().js_on_load
    assert map_view.PLOTLY in page
    assert not re.search(r"https?://", page)
    assert "innerHTML" not in page
    assert map_view.route().path == f"/{map_view.PLOTLY}"


def test_the_exported_page_runs_its_own_scripts_alone():
    page = map_view.standalone("<b>", "<i>", "{}", "[]")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(scripts) == 2
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    assert f"script-src {allowed} 'unsafe-eval';" in page
    assert "<b>" not in page.replace("".join(scripts), "").split("</head>")[1]
    assert "<i>" not in page.split("</head>")[1]
