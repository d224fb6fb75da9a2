import itertools
import re
import time
from dataclasses import replace

import gradio as gr
import pytest
import skimage.data
from PIL import Image

from core.recognition.explanation import Explainer
from core.recognition.occlusion import GRID
from core.recognition.results import AttributeEvidence, Evidence, Explanation
from demo.components.explanation import SPECIES, Asked, blend, draw, why_html

HOSTILE = "<img src=x onerror=window.hit=1>${window.hit=1}{{x}}"


def marks(word="long"):
    return [AttributeEvidence(word, word, 0.5, -0.1, margin) for margin in (0.2, -0.2, 0.01, None)]


def test_markup_in_names_and_attributes_is_text():
    shown = why_html(Explanation([Evidence(HOSTILE, marks(HOSTILE)), Evidence("<b>", marks())], []))
    assert "<img" not in shown
    assert "<b>&" not in shown.replace("<b>&lt;img", "")
    assert shown.count("&lt;img src=x onerror=window.hit=1&gt;") >= 9
    assert set(re.findall(r"<(\w+)", shown)) == {"p", "div", "h4", "span", "b", "i"}


def test_a_pair_of_bars_for_every_attribute():
    shown = why_html(Explanation([Evidence("Crow", marks()), Evidence("Raven", marks())], []))
    assert shown.count("bar photo") == shown.count("bar name") == 8
    assert shown.count("width: 50%") == 8
    assert shown.count("width: 0%") == 8  # below zero
    for verdict in ("agrees", "disagrees", "undecided", "shared"):
        assert shown.count(f"class='mark {verdict}'") == 2
    assert "Learned knowledge" in shown
    assert "Read off this photo" in shown


def test_without_evidence_there_is_one_sentence():
    assert why_html(None) == ""
    assert why_html(Explanation([], [], "No <reason>.")) == "<p class='rather'>No &lt;reason&gt;.</p>"


@pytest.fixture(scope="module")
def asked(recogniser):
    photo = Image.fromarray(skimage.data.chelsea())
    space, encoding = recogniser.label_space(super_category="cat"), recogniser.encode(photo)
    explainer = Explainer(recogniser)
    states = explainer.stream(encoding, space)
    result = next(itertools.islice(states, 2, None))
    return Asked(explainer, photo, encoding, space, result)


@pytest.mark.parametrize("subject", [SPECIES, "coat"])
def test_a_map_is_drawn_row_by_row_and_blended_anew(asked, subject):
    started = time.process_time()
    first, *steps = draw(asked, subject, 60)
    assert time.process_time() - started < 48  # of CPU, whatever else runs: under 8 on two idle cores
    assert first[1:] == (None, None)
    assert len(steps) == GRID
    status, picture, mapped = steps[-1]
    assert f"{GRID} of {GRID} rows" in status
    assert picture.size == asked.photo.size
    assert list(blend(mapped, 0).getdata()) == list(asked.photo.getdata())
    assert blend(mapped, 60).tobytes() == picture.tobytes()


def test_there_is_no_map_of_nothing(asked):
    for nothing in (None, replace(asked, result=replace(asked.result, known=False))):
        with pytest.raises(gr.Error, match="nothing to look for"):
            list(draw(nothing, SPECIES, 60))
    with pytest.raises(gr.Error, match="has no attribute"):
        list(draw(asked, HOSTILE, 60))
    assert blend(None, 50) is None
