"""The map as a component of the page, and as a self-contained page of its own."""

import base64
import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import gradio as gr
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from demo.components.templates import render

PLOTLY = f"plotly-{version('plotly')}.min.js"  # a new version is a new address: browsers may keep it for good
STATIC = Path(__file__).with_name("static")
VIEWER = ("draw.js", "interact.js", "export.js", "view.js")


@cache
def _plotly_path() -> Path:
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


@cache
def _static(*names: str) -> str:
    """Return the text of files in the folder `static`, one after the other."""
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)


def head() -> str:
    """Return the part of the page's <head> that loads Plotly."""
    return render("map_head.html", plotly=PLOTLY)


def component() -> gr.HTML:
    """Create an empty map, for a page with `head` and `route`. Its props `map` and `thumbnails` are JSON texts.

    The data of its event `pick` are the panel and index of one point, those of `choose` the panel and indices of the
    points in a box or lasso.
    """
    return gr.HTML(
        html_template=render("map.html"),
        css_template=_static("map.css"),
        js_on_load=_static(*VIEWER, "on_page.js"),
        apply_default_css=False,
        elem_id="map",
        map="",
        thumbnails="",
    )


def route() -> Route:
    """Serve Plotly's script from the installed package, so that the page needs no other host."""

    def send(_: Request) -> FileResponse:
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return FileResponse(_plotly_path(), media_type="text/javascript", headers=headers)

    return Route(f"/{PLOTLY}", send)


def standalone(title: str, note: str, map_json: str, thumbnails_json: str) -> str:
    """Return the map as one HTML page, Plotly included; its Content-Security-Policy lets it load nothing."""
    scripts = {"plotly": _plotly_path().read_text(encoding="utf-8"), "script": _static(*VIEWER, "standalone.js")}
    data = {"data": map_json or "{}", "thumbnails": thumbnails_json or "[]"}
    return render(
        "map_page.html",
        title=title,
        note=note,
        hashes=[base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts.values()],
        style=_static("map.css"),
        map=render("map.html"),
        # "<" could end the element that holds the data; JSON may write it as an escape
        data={name: text.replace("<", "\\u003c") for name, text in data.items()},
        **scripts,
    )
