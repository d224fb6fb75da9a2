"""The Identify tab where a part of the photo is named, with a stand-in for the model."""

import json
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image

from core.recognition.asked_model import AskedModel
from core.recognition.conclusion import SURE, Species
from core.recognition.crops import Region
from core.recognition.results import Identification
from demo.components.identification import NOT_SEARCHED, REPLACED
from demo.components.models import ModelPool
from demo.components.result_panel import named_photo
from demo.history_store import History, new_key
from demo.tabs.identify import IdentifyTab

SIZE = (100, 80)
FOUND = [Region((0.5, 0.5, 0.5, 0.5), 0.9, "Bengal", 0.8), Region((0.0, 0.0, 0.4, 0.5), 0.8, "Birman", 0.6)]
WHOLE = Identification("model", True, [Species("Sphynx", 0.5), Species("Bengal", 0.3)])


class Stub:
    """A namer that finds two objects; `asked` are the parts that it was asked for."""

    model = AskedModel("model", None)

    def __init__(self):
        self.searches, self.asked = True, []

    def stream(self, photo, crop):
        assert photo.size == SIZE
        self.asked.append(crop)
        if crop == "none":
            yield WHOLE
        elif crop == "auto":
            yield replace(WHOLE, species=[Species("Bengal", 0.8)], box=FOUND[0].box, objects=FOUND)
        else:
            yield replace(WHOLE, species=[Species("Birman", 0.7)], box=crop)


@pytest.fixture
def namer():
    return Stub()


@pytest.fixture
def tab(tmp_path, monkeypatch, namer):
    for name in ("one", "two"):
        Image.linear_gradient("L").resize(SIZE).save(tmp_path / f"{name}.png")
    monkeypatch.setattr("demo.tabs.identify.uploaded", lambda upload: tmp_path / upload)
    monkeypatch.setattr("demo.tabs.identify.prepared", lambda *_: namer)
    with gr.Blocks() as page:
        return IdentifyTab(ModelPool(), History(tmp_path / "history.sqlite"), gr.BrowserState("key"), page)


class Visit:
    """A visit to the tab: what its components hold after each step."""

    def __init__(self, tab, look=True, key=None):
        self.tab = tab
        settings = {
            tab.group: "auto",
            tab.candidates: "",
            tab.model: "model",
            tab.look: look,
            tab.sure: SURE,
            tab.keep.keep: key,
        }
        self.state = {**settings, tab.at_once: True, tab.panel.opened: None, tab.run: None}

    def give(self, *photos):
        tab = self.tab
        several = len(photos) > 1
        given = {tab.several: list(photos)} if several else {tab.photo: photos[0]}
        self._take((tab.identify_several if several else tab.identify)({**self.state, **given}))
        return self

    def choose(self, crop, photo=None):
        event = gr.EventData(None, {"photo": photo or self.entry.id, "crop": crop})
        self._take(self.tab.identify_part(self.state, event))

    def _take(self, updates):
        for update in updates:
            self.state.update(update)

    @property
    def entry(self):
        return self.state[self.tab.panel.opened]

    @property
    def card(self):
        return self.state[self.tab.panel.card]

    @property
    def saved(self):
        return json.loads(Path(self.state[self.tab.panel.json]).read_text())


@pytest.mark.parametrize("look", [False, True])
def test_the_object_is_looked_for_where_the_setting_says_so(tab, namer, look):
    visit = Visit(tab, look).give("one.png")
    assert namer.asked == ["auto" if look else "none"]
    assert ("Named from this part." in visit.card) == ("box" in visit.saved) == look
    assert tab.look.value is False


def test_a_model_that_does_not_search_sees_the_whole_photo_and_the_card_says_so(tab, namer):
    namer.searches = False
    visit = Visit(tab).give("one.png")
    assert namer.asked == ["none"]
    assert NOT_SEARCHED in visit.card
    visit.choose("0,0,0.5,0.5")
    assert NOT_SEARCHED not in visit.card


def test_the_whole_photo_and_every_object_are_one_click_away(tab, namer):
    visit = Visit(tab).give("one.png")
    assert visit.saved["objects"][1]["name"] == "Birman"
    visit.choose("none")
    assert "<h2>Sphynx</h2>" in visit.card
    assert "1. Bengal (80 %)</button>" in visit.card
    assert "box" not in visit.saved
    visit.choose("0.0,0.0,0.4,0.5")
    assert "<h2>Birman</h2>" in visit.card
    assert "2. Birman" not in visit.card
    assert visit.saved["box"] == [0, 0, 0.4, 0.5]
    assert namer.asked == ["auto", "none", FOUND[1].box]
    assert visit.state[tab.status] == "Done."
    assert visit.state[tab.run].entries == [visit.entry]
    assert named_photo(visit.entry).size == (40, 40)


@pytest.mark.parametrize("crop", ["0.5,0.5,0.6,0.5", "nan,0,1,1", "0,0,1", "[]", "", "0,0,0.1,0.1"])
def test_a_wrong_box_is_one_sentence_and_the_card_stays(tab, namer, crop):
    visit = Visit(tab).give("one.png")
    before = dict(visit.state)
    with pytest.raises(gr.Error, match="is no part of a photo|The chosen part has 10 x 8 pixels"):
        visit.choose(crop)
    assert visit.state == before
    assert namer.asked == ["auto"]


def test_a_box_of_a_photo_that_was_replaced_is_not_applied(tab, namer):
    visit = Visit(tab).give("one.png")
    first = visit.entry.id
    visit.give("two.png")
    with pytest.raises(gr.Error, match=REPLACED):
        visit.choose("0,0,0.5,0.5", photo=first)
    visit.state[tab.panel.opened] = None
    with pytest.raises(gr.Error, match=REPLACED):
        visit.choose("0,0,0.5,0.5", photo=first)
    assert namer.asked == ["auto", "auto"]


def test_a_second_box_on_the_same_photo_counts(tab):
    visit = Visit(tab).give("one.png")
    first = visit.entry.id
    visit.choose("0,0,0.5,0.5")
    visit.choose("0.5,0,0.5,0.5", photo=first)
    assert visit.saved["box"] == [0.5, 0, 0.5, 0.5]


def test_a_photo_of_a_list_stays_in_its_place(tab):
    visit = Visit(tab).give("one.png", "two.png")
    visit.state.update(tab.open({tab.run: visit.state[tab.run], tab.photos: 1}))
    visit.choose("0,0,0.5,0.5")
    lines = [line for line, _ in visit.state[tab.photos].choices]
    assert lines == ["1. one.png: Bengal, likely (80 %)", "2. two.png: Birman, likely (70 %)"]
    assert visit.state[tab.photos].value == 1
    assert "The photo two.png" in visit.card
    assert tab.stopped(visit.state[tab.run])[tab.panel.opened] is visit.entry


def test_parts_are_kept_as_photos_of_their_own(tab):
    key = new_key()
    visit = Visit(tab, key=key).give("one.png")
    visit.choose("none")
    visit.choose("0,0,0.5,0.5")
    part, whole, _ = tab._history.rows(key)
    assert len({part.photo_hash, whole.photo_hash}) == 2
    assert part.result["box"] == [0, 0, 0.5, 0.5]
    tab._history.correct(key, part.id, "Ocicat")
    assert [row.correction for row in tab._history.rows(key)] == ["Ocicat", "", ""]
