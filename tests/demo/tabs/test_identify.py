"""The Identify tab with stand-ins for the model."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image
from reduced_models import save_reduced

from core.errors import UserError
from core.models import open_question_model
from core.recognition.asked_model import BY_LIKELIHOOD, BY_SIMILARITY, UNEXPLAINED, AskedModel
from core.recognition.conclusion import SURE, Species
from core.recognition.results import Explanation, Identification
from demo.components.identification import Entry
from demo.components.models import ModelPool
from demo.history_store import History, new_key
from demo.tabs.identify import MAX_PHOTOS, IdentifyTab

NAMED = Identification("model", True, [Species("Bengal", 0.9), Species("Birman", 0.1)])
EXPLAINED = replace(NAMED, explanation=Explanation([], [], "No explanation."), explained=True)
ANSWERED = replace(EXPLAINED, answer="Bengal")


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    """A folder whose files count as uploaded: two photos, and a file that is none."""
    for name in ("one", "two"):
        Image.linear_gradient("L").resize((80, 60)).save(tmp_path / f"{name}.png")
    (tmp_path / "diary.jpg").write_bytes(b"Dear diary")
    monkeypatch.setattr("demo.tabs.identify.uploaded", lambda upload: tmp_path / upload)
    return tmp_path


@pytest.fixture
def tab(tmp_path, monkeypatch):
    """The tab with a model that gives the same three states for every photo."""
    model = SimpleNamespace(
        stream=lambda photo, crop: iter([NAMED, EXPLAINED, ANSWERED]), model=AskedModel("model", None)
    )
    monkeypatch.setattr("demo.tabs.identify.prepared", lambda *_: model)
    with gr.Blocks() as page:
        return IdentifyTab(ModelPool(), History(tmp_path / "history.sqlite"), gr.BrowserState("key"), page)


def values_of(tab, photo=None, several=None, key=None, candidates="", at_once=True):
    return {
        tab.photo: photo,
        tab.several: several,
        tab.group: "auto",
        tab.sure: 0.9,
        tab.candidates: candidates,
        tab.model: "model",
        tab.at_once: at_once,
        tab.look: False,
        tab.sure: SURE,
        tab.keep.keep: key,
    }


def shown(tab, updates):
    """The state of the tab's components after some updates."""
    state = {}
    for update in updates:
        assert update.keys() <= {tab.photo, tab.status, tab.run, tab.photos, *tab.panel.outputs}
        state.update(update)
    return state


def test_nothing_is_shown_before_there_is_a_result(tab):
    assert (tab.panel.column.visible, tab.photos.visible, tab.panel.occlusion.panel.visible) == (False, False, False)


def test_one_photo_has_a_card_and_what_can_be_done_with_it(tab, uploads):
    first, *updates = tab.identify(values_of(tab, "one.png"))
    assert first[tab.panel.column].visible is False
    state = shown(tab, updates)
    assert state[tab.panel.column].visible is state[tab.panel.actions].visible is True
    assert "<h2>Bengal</h2>" in state[tab.panel.card]
    assert [name for name, _ in state[tab.panel.others].choices] == ["Birman"]
    assert "<h2>Bengal</h2>" in Path(state[tab.panel.page]).read_text()
    assert json.loads(Path(state[tab.panel.json]).read_text())["answer"] == "Bengal"
    assert state[tab.photos].visible is False


def test_a_photo_is_identified_at_once_unless_the_setting_says_no(tab, uploads):
    assert shown(tab, tab.identify_at_once(values_of(tab, "one.png")))[tab.panel.card]
    for values in (values_of(tab, "one.png", at_once=False), values_of(tab, None)):
        assert list(tab.identify_at_once(values)) == [{tab.status: gr.skip()}]


def test_several_photos_are_listed_and_one_that_fails_loses_nothing(tab, uploads):
    key = new_key()
    state = shown(tab, tab.identify_several(values_of(tab, several=["one.png", "diary.jpg", "two.png"], key=key)))
    lines = [line for line, _ in state[tab.photos].choices]
    assert lines[0] == "1. one.png: Bengal, almost certain (90 %)"
    assert "2. diary.jpg: This is not a readable image" in lines[1]
    assert state[tab.status] == "Done: 3 of 3 photos."
    assert state[tab.photos].value == 0
    assert [row.result["photo"] for row in tab._history.rows(key)] == ["two.png", "one.png"]
    opened = tab.open({tab.run: state[tab.run], tab.photos: 2})
    assert "The photo two.png" in opened[tab.panel.card]
    assert tab.open({tab.run: state[tab.run], tab.photos: 1})[tab.panel.column].visible is False


def test_another_level_is_said_without_another_look(tab, uploads, monkeypatch):
    state = shown(tab, tab.identify_several(values_of(tab, several=["one.png", "two.png"])))
    run = state[tab.run]
    gulls = [Species("California Gull", 0.85), Species("Western Gull", 0.14), Species("Mallard", 0.01)]
    for entry in run.entries:
        entry.card = replace(entry.card, result=replace(entry.card.result, species=gulls, ranking=gulls))
    monkeypatch.setattr(Entry, "identify", lambda _: pytest.fail("looked again"))
    said = tab.restated({tab.run: run, tab.sure: 0.9})
    assert [line for line, _ in said[tab.photos].choices][1] == "2. two.png: A gull, almost certain (99 %)"
    assert "<h2>A gull</h2>" in said[tab.panel.card]
    assert "<h2>California Gull</h2>" in tab.restated({tab.run: run, tab.sure: 0.8})[tab.panel.card]
    assert tab.panel.typed not in said  # a correction that is being typed stays
    assert tab.restated({tab.run: None, tab.sure: 0.8}).keys() == {tab.photos}
    with pytest.raises(gr.Error, match="how sure a name must be"):
        tab.restated({tab.run: run, tab.sure: None})


def test_too_many_photos_and_one_that_is_none_are_one_sentence(tab, uploads):
    with pytest.raises(gr.Error, match=f"at most {MAX_PHOTOS}, or use Case study"):
        list(tab.identify_several(values_of(tab, several=["one.png"] * (MAX_PHOTOS + 1))))
    with pytest.raises(gr.Error, match="not a readable image"):
        list(tab.identify(values_of(tab, "diary.jpg")))


def test_a_level_that_is_chosen_meanwhile_is_that_of_the_photos_to_come(tab, uploads):
    steps = tab.identify_several(values_of(tab, several=["one.png", "two.png"], key=new_key()))
    run = next(run for run in (update.get(tab.run) for update in steps) if run)
    tab.restated({tab.run: run, tab.sure: 0.6})
    assert shown(tab, steps)[tab.status] == "Done: 2 of 2 photos."
    assert [(entry.sure, entry.card.sure) for entry in run.entries] == [(0.6, 0.6)] * 2


@pytest.mark.parametrize("photos", [["one.png"], ["one.png", "two.png", "one.png"]])
def test_stop_keeps_what_is_done(tab, uploads, photos, monkeypatch):
    monkeypatch.setattr("demo.components.result_panel.UPDATE_SECONDS", 0)
    steps = tab._identified(photos, values_of(tab))
    updates = []
    for update in steps:
        updates.append(update)
        if update.get(tab.panel.card):
            break
    steps.close()
    run = shown(tab, updates)[tab.run]
    stopped = tab.stopped(run)
    assert stopped[tab.status].startswith("Stopped")
    assert run.entries[0].card.name == "Bengal"
    if len(photos) == 1:
        assert stopped[tab.panel.actions].visible is True
        assert tab.panel.card in tab.restated({tab.run: run, tab.sure: 0.8})
    else:
        assert stopped[tab.status].startswith("Stopped: 1 of 3 photos")
    assert tab.stopped(None) == {tab.status: "Stopped."}


def test_a_full_history_does_not_lose_the_card(tab, uploads, monkeypatch):
    def full(*_):
        raise UserError("The history is full.")

    warnings = []
    monkeypatch.setattr(tab._history, "keep", full)
    monkeypatch.setattr("demo.tabs.identify.gr.Warning", warnings.append)
    assert shown(tab, tab.identify(values_of(tab, "one.png", key=new_key())))[tab.panel.page]
    assert warnings == ["The history is full."]


@pytest.mark.parametrize(("family", "note"), [("siglip", BY_SIMILARITY), ("llava", BY_LIKELIHOOD)])
def test_a_model_that_is_only_asked_shows_what_it_has_and_says_what_it_has_not(family, note, uploads, monkeypatch):
    model = AskedModel(family, open_question_model(str(save_reduced(family, uploads / family))))
    monkeypatch.setattr("demo.components.models.load_listed", lambda name, _: model)
    with gr.Blocks() as page:
        tab = IdentifyTab(ModelPool(), History(uploads / "history.sqlite"), gr.BrowserState("key"), page)
    state = shown(tab, tab.identify(values_of(tab, "one.png", candidates="Siamese\nBirman")))
    card = state[tab.panel.card]
    assert note in card
    assert UNEXPLAINED in card
    assert "Best match" in card
    assert len(state[tab.panel.others].choices) == 1
    assert ("<h3>Description</h3>" in card) == (family == "llava")
    assert state[tab.panel.occlusion.identified] is None
    saved = json.loads(Path(state[tab.panel.json]).read_text())
    assert (saved["note"], saved["attributes"]) == (note, {})
    state = shown(tab, tab.identify(values_of(tab, "one.png")))
    ranks_all = family == "siglip"  # too many names for a model that reads each of them
    assert ("Its own answer" in state[tab.panel.card]) != ranks_all
    assert state[tab.panel.others].visible == ranks_all
