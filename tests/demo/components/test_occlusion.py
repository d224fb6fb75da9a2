import itertools
from dataclasses import replace

import gradio as gr
import pytest
import skimage.data
from PIL import Image

from core.recognition.explanation import Explainer
from core.recognition.occlusion import GRID
from demo.components.occlusion import SPECIES, IdentifiedPhoto, OcclusionPanel

HOSTILE = "<img src=x onerror=window.hit=1>${window.hit=1}{{x}}"


@pytest.fixture(scope="module")
def panel():
    with gr.Blocks():
        return OcclusionPanel()


def draw(panel, identified, subject):
    return list(panel.draw({panel.identified: identified, panel.subject: subject, panel.opacity: 60}))


@pytest.fixture(scope="module")
def identified(recogniser):
    photo = Image.fromarray(skimage.data.chelsea())
    space, encoding = recogniser.label_space(super_category="cat"), recogniser.encode(photo)
    explainer = Explainer(recogniser)
    states = explainer.stream(encoding, space)
    result = next(itertools.islice(states, 2, None))
    return IdentifiedPhoto(explainer, photo, space, result)


@pytest.mark.parametrize("subject", [SPECIES, "coat"])
def test_a_map_is_drawn_row_by_row_and_blended_anew(panel, identified, subject):
    first, *steps = draw(panel, identified, subject)
    assert first[panel.picture] is first[panel.finished] is None
    assert len(steps) == GRID
    assert f"{GRID} of {GRID} rows" in steps[-1][panel.status]
    picture, finished = steps[-1][panel.picture], steps[-1][panel.finished]
    assert picture.size == identified.photo.size
    bare = panel.blend({panel.finished: finished, panel.opacity: 0})
    assert list(bare.getdata()) == list(identified.photo.getdata())
    assert panel.blend({panel.finished: finished, panel.opacity: 60}).tobytes() == picture.tobytes()


def test_there_is_no_map_of_nothing(panel, identified):
    for nothing in (None, replace(identified, result=replace(identified.result, known=False))):
        with pytest.raises(gr.Error, match="nothing to look for"):
            draw(panel, nothing, SPECIES)
    with pytest.raises(gr.Error, match="has no attribute"):
        draw(panel, identified, HOSTILE)
    assert panel.blend({panel.finished: None, panel.opacity: 50}) is None
