"""The Identify tab with stand-ins for the model."""

from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from core.recognition.results import Explanation, Identification, Species
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
