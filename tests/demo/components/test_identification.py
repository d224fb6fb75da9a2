from pathlib import Path

import pytest
from colour_model import ColourModel, scene

from core.errors import UserError
from core.models.calibration import Calibration
from core.recognition.asked_model import AskedModel
from core.recognition.conclusion import Species
from core.recognition.explanation import Explainer
from core.recognition.results import Identification
from demo.components.card import Card
from demo.components.identification import Entry, Namer, Run, prepared
from demo.components.models import AUTO

CARD = Card("cat.png", b"", Identification("model", True, [Species("Bengal", 0.95)]))


def test_a_run_lists_what_became_of_each_photo():
    run = Run(3, [Entry(Path("a/cat.png"), None, CARD), Entry(Path("b.txt"), None, error="This is no photo.")])
    assert run.several
    assert run.progress.startswith("2 of 3 photos")
    assert run.choices == [("1. cat.png: Bengal, almost certain (95 %)", 0), ("2. b.txt: This is no photo.", 1)]
    assert not Run(1).several


def test_candidates_of_a_client_may_be_a_list():
    with pytest.raises(UserError, match="no model"):
        prepared(None, ["Bengal", 5], AUTO, None)


def test_names_and_a_kind_exclude_each_other():
    with pytest.raises(UserError, match="either candidate names or a kind"):
        prepared(None, "Bengal\nBirman", "cat", "model")
    with pytest.raises(UserError, match="no model"):
        prepared(None, "", AUTO, None)


class ColourExplainer(Explainer):
    """An explainer of the stand-in that knows colours, with names alone."""

    def __init__(self):
        self.recogniser = ColourModel()

    def stream(self, encoding, space):
        yield self.recogniser.named(encoding, space)


@pytest.fixture
def namer(monkeypatch):
    monkeypatch.setattr("demo.components.identification.LabelSpace", object)
    explainer = ColourExplainer()
    return Namer(explainer, explainer.recogniser.label_space())


def test_the_object_is_looked_for_or_given(namer):
    photo = scene(("red", 20, 30, 90), ("blue", 220, 120, 130))
    (found,) = namer.stream(photo, "auto")
    assert found.box == found.objects[0].box
    assert {region.name for region in found.objects} == {"red", "blue"}
    (given,) = namer.stream(photo, (20 / 360, 30 / 270, 90 / 360, 90 / 270))
    assert (given.named, given.objects) == ("red", [])
    (whole,) = namer.stream(photo)
    assert whole.box is None


def test_a_model_without_calibration_does_not_search(namer):
    assert namer.searches
    namer.model.recogniser.calibration = Calibration()
    assert not namer.searches


def test_a_model_that_is_only_asked_is_shown_the_part(monkeypatch):
    sizes = []
    monkeypatch.setattr(AskedModel, "stream", lambda _, photo, space: [sizes.append(photo.size), CARD.result][1:])
    namer = Namer(AskedModel("model", None), None)
    (result,) = namer.stream(scene(), (0.5, 0.0, 0.5, 1.0))
    assert (result.box, sizes) == ((0.5, 0.0, 0.5, 1.0), [(180, 270)])
    with pytest.raises(UserError, match="does not look for the object"):
        next(namer.stream(scene(), "auto"))
    assert not namer.searches
