"""The History tab through the page's HTTP interface: opt-in, and nothing crosses from one browser to another."""

import base64
import json
import re
import secrets
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from served_tab import event_of
from stand_ins import reduced_recogniser

from demo.components.models import example_photos
from demo.history_store import History, is_key, new_key
from demo.tabs.history import HistoryTab, _name_of, browser_key

CAT = next(path for path in example_photos() if "chelsea" in path)
MODEL = "finedefics-tiny"
MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    return History(tmp_path_factory.mktemp("history") / "history.sqlite")


@pytest.fixture(scope="module")
def site(history, reduced_idefics2):
    """The Identify and the History tab on a page that is served, with a reduced model."""
    from demo.components.models import ModelPool
    from demo.page import launch
    from demo.tabs.identify import IdentifyTab

    with gr.Blocks() as page:
        key = browser_key(page)
        identify = IdentifyTab(ModelPool(), history, key, page)
        with gr.Tab("History") as tab:
            shown = HistoryTab(history, key, tab)
    _, url, _ = launch(page.queue(), "127.0.0.1", None, block=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demo.components.models.load_listed", lambda name, _: reduced_recogniser(reduced_idefics2, name))
        yield SimpleNamespace(page=page, url=url, identify=identify, history=shown, tab=tab)
    page.close()


class Browser:
    """One session, speaking to the page as Gradio's own scripts do: private events, too, and with event data."""

    def __init__(self, site):
        self.site, self.tab, self.keep_box = site, site.history, site.identify.keep
        self.http = httpx.Client(base_url=f"{site.url}gradio_api/", timeout=120)
        self.session = secrets.token_hex(8)

    def press(self, component, values, trigger="click", event_data=None):
        """The outputs of an event by component, or `AppError` with its message; states are the server's."""
        event = event_of(self.site.page, component, trigger)
        data = [values.get(block) for block in event.inputs]
        body = {"fn_index": event._id, "data": data, "event_data": event_data, "session_hash": self.session}
        return dict(zip(event.outputs, self._sent(body, event.queue), strict=True))

    def _sent(self, body, queued):
        if not queued:
            return self.http.post("run/predict", json=body).raise_for_status().json()["data"]
        self.http.post("queue/join", json=body).raise_for_status()
        with self.http.stream("GET", "queue/data", params={"session_hash": self.session}) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if message.get("msg") in ("process_completed", "unexpected_error", "close_stream"):
                    break
        if not message.get("success"):
            raise AppError(message["output"]["error"])
        return message["output"]["data"]

    def rows(self, key):
        return self.press(self.site.tab, {self.tab.key: key}, "select")[self.tab.table]["data"]

    def keep(self, ticked, key):
        """The browser's key after the box was ticked, or no longer is."""
        return self.press(self.keep_box.box, {self.keep_box.box: ticked, self.tab.key: key}, "input")[self.tab.key]

    def choose(self, key, row):
        """A click on a cell of a row."""
        data = {"index": [0, 2], "value": row[2], "row_value": row}
        return self.press(self.tab.table, {self.tab.key: key}, "select", data)

    def identify(self):
        tab = self.site.identify
        with open(CAT, "rb") as file:
            (path,) = self.http.post("upload", files={"files": ("cat.png", file)}).json()
        photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
        values = {
            tab.photo: photo,
            tab.group: "cat",
            tab.candidates: "",
            tab.model: MODEL,
            tab.at_once: True,
            tab.sure: 0.9,
        }
        return self.press(tab.start, values)

    def correct(self, key, name):
        """A name typed below the open card."""
        panel = self.site.identify.panel
        return self.press(panel.typed, {panel.typed: name, panel.key: key}, "submit")[panel.card]


@pytest.fixture
def browser(site):
    return Browser(site)


@pytest.fixture
def key(history):
    """The key of a browser that has kept one identification."""
    key = new_key()
    result = {"model": MARKUP, "known": True, "species": [{"name": MARKUP, "probability": 0.5}]}
    history.keep(key, b"1", Image.new("RGB", (300, 200), "green"), result)
    return key


def test_only_what_is_asked_for_is_kept(browser, history):
    key = browser.keep(True, None)
    assert is_key(key)
    browser.identify()
    (row,) = browser.rows(key)
    assert row[2].endswith("%)")
    assert row[3] == MODEL
    assert history.rows(key)[0].result["photo"] == "cat.png"
    assert browser.keep(False, key) == key
    browser.identify()
    assert len(history.rows(key)) == 1


def test_a_correction_keeps_the_photo_with_the_name(browser, history):
    key = new_key()
    panel = browser.site.identify.panel
    other, _ = browser.identify()[panel.others]["choices"][0]
    assert history.rows(key) == []
    chosen = browser.press(panel.others, {panel.others: other, panel.key: key}, "input")
    assert f"<h2>{other}</h2>" in chosen[panel.card]
    assert history.rows(key)[0].correction == other
    browser.correct(key, "Ocicat")
    (row,) = history.rows(key)
    assert (row.correction, row.result["photo"]) == ("Ocicat", "cat.png")
    with pytest.raises(AppError, match="longer than 100"):
        browser.correct(key, "x" * 101)


def test_a_browser_that_never_asked_has_no_key_and_no_rows(browser, history, monkeypatch):
    monkeypatch.setattr(history, "keep", lambda *_: pytest.fail("kept"))
    browser.identify()
    assert browser.keep(False, None) is None
    assert browser.rows(None) == []


def test_the_table_is_inert_and_its_pictures_are_part_of_it(browser, history, key):
    (row,) = browser.rows(key)
    assert row[2:4] == [f"{MARKUP} (50%)", MARKUP]  # the columns are plain text
    assert browser.tab.table.datatype == ["number", "html", "str", "str", "str", "str"]
    (data,) = re.fullmatch(r'<img alt="" src="data:image/jpeg;base64,([A-Za-z0-9+/=]+)">', row[1]).groups()
    assert base64.b64decode(data) == history.rows(key)[0].thumbnail


def test_a_row_is_chosen_corrected_exported_and_deleted(browser, history, key):
    tab = browser.tab
    with pytest.raises(AppError, match="no corrections to export"):
        browser.press(tab.export, {tab.key: key})
    row = browser.rows(key)[0]
    browser.choose(key, row)
    saved = browser.press(tab.save, {tab.key: key, tab.name: "cedar_waxwing"})
    assert saved[tab.name] == saved[tab.table]["data"][0][5] == "Cedar Waxwing"
    with pytest.raises(AppError, match="longer than 100"):
        browser.press(tab.save, {tab.key: key, tab.name: "x" * 101})
    file = browser.press(tab.export, {tab.key: key})[tab.download]
    assert file["value"]["path"].endswith("corrections.zip")
    assert browser.press(tab.remove, {tab.key: key})[tab.table]["data"] == []
    assert history.rows(key) == []
    with pytest.raises(AppError, match="Nothing is chosen"):
        browser.press(tab.remove, {tab.key: key})


def test_another_browser_sees_and_changes_nothing(site, history, key):
    other, foreign, tab = Browser(site), new_key(), site.history
    row = Browser(site).rows(key)[0]
    assert other.rows(foreign) == []
    chosen = other.choose(foreign, row)
    assert (chosen[tab.summary], chosen[tab.name]) == ("", "")
    for button in (tab.save, tab.remove):
        with pytest.raises(AppError, match="Nothing is chosen"):
            other.press(button, {tab.key: foreign, tab.name: "Crow"})
    other.press(tab.confirm, {tab.key: foreign})
    assert [r.correction for r in history.rows(key)] == [""]


@pytest.mark.parametrize("made_up", ["", "x", 7, {"a": 1}, ["x"], "' OR '1'='1"])
def test_made_up_keys_open_nothing(browser, key, made_up):
    assert browser.rows(made_up) == []
    with pytest.raises(AppError, match="Nothing is kept"):
        browser.press(browser.tab.export, {browser.tab.key: made_up})
    assert is_key(browser.keep(True, made_up))


def test_everything_can_be_deleted(browser, history, key):
    tab = browser.tab
    assert browser.press(tab.confirm, {tab.key: key})[tab.table]["data"] == []
    assert history.rows(key) == []


def test_history_is_no_part_of_the_public_interface(site):
    named = Client(site.url, verbose=False).view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert named == {}


def test_opening_the_tab_creates_no_file(tmp_path):
    unused = History(tmp_path / "history.sqlite")
    with gr.Blocks() as page:
        key = browser_key(page)
        shown = HistoryTab(unused, key, gr.Tab())
    assert shown.refresh(new_key())[shown.table] == []
    assert not unused.path.exists()


def test_a_model_that_ranks_no_names_is_listed_by_its_answer():
    rows = [SimpleNamespace(result={"known": True, "species": [], "answer": answer}) for answer in ("Birman", "")]
    assert [_name_of(row) for row in rows] == ["Birman (its answer)", "nothing (its answer)"]
