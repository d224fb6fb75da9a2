"""The Identify tab with stand-ins for the model."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image
from reduced_models import save_reduced

from core.models import open_question_model
from core.recognition.asked_model import BY_LIKELIHOOD, BY_SIMILARITY, UNEXPLAINED, AskedModel
from core.recognition.results import Explanation, Identification, Species
from demo.components.models import ModelPool
from demo.tabs.identify import IdentifyTab

NAMED = Identification("model", True, [Species("Bengal", 1.0)])
PRELIMINARY = replace(NAMED, explanation=Explanation([], [], "Not yet."))
EXPLAINED = replace(NAMED, explanation=Explanation([], [], "No explanation."), explained=True)
ANSWERED = replace(EXPLAINED, answer="Bengal")


@pytest.mark.parametrize(
    "states", [[NAMED, EXPLAINED, ANSWERED], [NAMED, PRELIMINARY, PRELIMINARY, PRELIMINARY, EXPLAINED, ANSWERED]]
)
def test_a_photo_is_handed_over_once_its_explanation_is_complete(states, tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    monkeypatch.setattr("demo.tabs.identify.uploaded", lambda photo: tmp_path / "photo.png")
    recogniser = SimpleNamespace(encode=lambda image: "encoding")
    explainer = SimpleNamespace(stream=lambda encoding, space, looked: iter(states))
    models = SimpleNamespace(prepare=lambda *_: (recogniser, "space"), explainer=lambda _: explainer)
    with gr.Blocks() as page:
        tab = IdentifyTab(models, None, gr.BrowserState("key"), page)
    updates = list(tab.identify({}, None, None, "model", None))
    handed_over = [u[tab.occlusion.identified] for u in updates if u.get(tab.occlusion.identified)]
    assert [identified.result for identified in handed_over] == [EXPLAINED]


@pytest.mark.parametrize(("family", "note"), [("siglip", BY_SIMILARITY), ("llava", BY_LIKELIHOOD)])
def test_a_model_that_is_only_asked_shows_what_it_has_and_says_what_it_has_not(family, note, tmp_path, monkeypatch):
    Image.effect_noise((80, 60), 90).save(tmp_path / "photo.png")
    model = AskedModel(family, open_question_model(str(save_reduced(family, tmp_path / family))))
    monkeypatch.setattr("demo.tabs.identify.uploaded", lambda photo: tmp_path / "photo.png")
    monkeypatch.setattr("demo.components.models.load_listed", lambda name, _: model)
    with gr.Blocks() as page:
        tab = IdentifyTab(ModelPool(), None, gr.BrowserState("key"), page)
    *updates, last = tab.identify({}, None, "Siamese\nBirman", family, None)
    assert note in last[tab.status]
    assert last[tab.species].keys() == {"Siamese", "Birman"}
    assert UNEXPLAINED in last[tab.reasons]
    assert bool(last[tab.answer]) == bool(last[tab.description]) == (family == "llava")
    assert not any(update.get(tab.occlusion.identified) for update in updates)
    saved = json.loads(Path(last[tab.download].value["path"]).read_text())
    assert (saved["note"], saved["attributes"]) == (note, {})
    *_, last = tab.identify({}, None, None, family, None)
    assert bool(last[tab.species]) == (family == "siglip")  # too many names for a model that reads each of them
