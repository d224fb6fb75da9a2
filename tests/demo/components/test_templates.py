import pytest
from jinja2 import DictLoader, UndefinedError
from markupsafe import Markup

from demo.components import templates


@pytest.fixture(autouse=True)
def pages(monkeypatch):
    pages = {"a.html": "<p title='{{ text }}'>{{ text }}</p>"}
    monkeypatch.setattr(templates._ENVIRONMENT, "loader", DictLoader(pages))


def test_values_are_escaped_unless_they_are_markup():
    assert templates.render("a.html", text="<b>'&") == "<p title='&lt;b&gt;&#39;&amp;'>&lt;b&gt;&#39;&amp;</p>"
    assert templates.render("a.html", text=Markup("<b>")) == "<p title='<b>'><b></p>"


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match="text"):
        templates.render("a.html")
