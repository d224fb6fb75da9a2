"""The attributes behind a name, as HTML."""

from core.recognition.results import Explanation
from demo.components.templates import render

SIGNS = {"agrees": "▲", "disagrees": "▼", "undecided": "≈", "shared": "="}


def explanation_html(explanation: Explanation | None) -> str:
    """Return the sentence and the bars of an explanation; nothing where there is none yet."""
    return render("explanation.html", explanation=explanation, signs=SIGNS) if explanation else ""
