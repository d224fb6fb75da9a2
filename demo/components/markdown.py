"""Show text of others within Markdown."""

import html
import re


def markdown_text(text: str) -> str:
    """Return text on one line that Markdown shows as it is: neither HTML nor links, pictures or emphasis come of it."""
    return re.sub(r"([\\`*_{}\[\]().!|~+-])", r"\\\1", html.escape(" ".join(text.split())))
