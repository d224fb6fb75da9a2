"""Write reports as HTML pages that carry their style and photos with them, load nothing and run nothing."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.data.images import data_url

SHARED = Path(__file__).with_name("templates")


def report_templates(*folders: Path) -> Environment:
    """Return the templates of `folders` and the shared ones; they escape what they are given.

    The filter `data_url` makes a JPEG a URL.
    """
    templates = Environment(loader=FileSystemLoader([*folders, SHARED]), autoescape=True, undefined=StrictUndefined)
    templates.filters["data_url"] = data_url
    return templates


def html_report(templates: Environment, name: str, *styles: Path, **content: object) -> str:
    """Return the page of a template that extends `report.html`, in the shared style followed by `styles`.

    Its Content-Security-Policy allows `data:` images and this style alone.
    """
    style = "".join(path.read_text(encoding="utf-8") for path in (SHARED / "report.css", *styles))
    style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return templates.get_template(name).render(style=style, style_hash=style_hash, **content)
