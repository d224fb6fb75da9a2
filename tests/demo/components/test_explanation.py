"""The attributes behind a name, as the card shows them."""

import re

from core.recognition.results import AttributeEvidence, Evidence, Explanation
from demo.components.card import SIGNS
from demo.components.templates import render

HOSTILE = "<img src=x onerror=window.hit=1>${window.hit=1}{{x}}"


def explanation_html(explanation):
    return render("explanation.html", explanation=explanation, signs=SIGNS)


def marks(word="long"):
    return [AttributeEvidence(word, word, 0.5, -0.1, margin) for margin in (0.2, -0.2, 0.01, None)]


def test_markup_in_names_and_attributes_is_text():
    shown = explanation_html(Explanation([Evidence(HOSTILE, marks(HOSTILE)), Evidence("<b>", marks())], []))
    assert "<img" not in shown
    assert "<b>&" not in shown.replace("<b>&lt;img", "")
    assert shown.count("&lt;img src=x onerror=window.hit=1&gt;") >= 9
    assert set(re.findall(r"<(\w+)", shown)) == {"p", "div", "h3", "span", "meter", "b", "i"}


def test_a_pair_of_bars_for_every_attribute():
    shown = explanation_html(Explanation([Evidence("Crow", marks()), Evidence("Raven", marks())], []))
    assert shown.count("bar photo") == shown.count("bar name") == 8
    assert shown.count('value="0.50"') == 8
    assert shown.count('value="0.00"') == 8  # below zero
    for verdict in ("agrees", "disagrees", "undecided", "shared"):
        assert shown.count(f'class="mark {verdict}"') == 2
    assert "Learned knowledge" in shown
    assert "Read off this photo" in shown


def test_without_evidence_there_is_one_sentence():
    assert explanation_html(Explanation([], [], "No <reason>.")).strip() == '<p class="summary">No &lt;reason&gt;.</p>'
