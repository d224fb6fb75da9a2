"""The History tab through the page's HTTP interface: opt-in, and nothing crosses from one browser to another."""

import base64
import json
import re
import secrets

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from demo.components.models import example_photos
from demo.history_store import History, is_key, new_key

CAT = next(path for path in example_photos() if "chelsea" in path)
MODEL = "finedefics-tiny"
MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    return History(tmp_path_factory.mktemp("history") / "history.sqlite")


@pytest.fixture(scope="module")
def address(history):
    from demo.page import build, launch

    page = build(history)
    _, url, _ = launch(page, "127.0.0.1", None, block=False)
    yield url
    page.close()


class Browser:
    """One session, speaking to the page as Gradio's own scripts do: private events, too, and with event data."""

    def __init__(self, address):
        self.http = httpx.Client(base_url=f"{address}gradio_api/", timeout=120)
        self.config = httpx.get(f"{address}config", timeout=30).json()
        self.session = secrets.token_hex(8)

    def event(self, name, trigger):
        """The event of the component with a label, a text or an id."""
        components = self.config["components"]
        ids = {c["id"] for c in components if name in map(c["props"].get, ("label", "value", "elem_id"))}
        events = self.config["dependencies"]
        return next(e for e in events if any(t[0] in ids and t[1] == trigger for t in e["targets"]))

    def press(self, name, *inputs, trigger="click", event_data=None):
        """The outputs of an event, or `AppError` with its message."""
        event = self.event(name, trigger)
        body = {"fn_index": event["id"], "data": inputs, "event_data": event_data, "session_hash": self.session}
        if not event["queue"]:
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
        return self.press("History", key, trigger="select")[0]["data"]

    def identify(self):
        with open(CAT, "rb") as file:
            (path,) = self.http.post("upload", files={"files": ("cat.png", file)}).json()
        return self.press("identify", {"path": path, "meta": {"_type": "gradio.FileData"}}, "cat", "", MODEL, None)


@pytest.fixture
def browser(address):
    return Browser(address)


@pytest.fixture
def key(history):
    """The key of a browser that has kept one identification."""
    key = new_key()
    result = {"model": MARKUP, "known": True, "species": [{"name": MARKUP, "probability": 0.5}]}
    history.keep(key, b"1", Image.new("RGB", (300, 200), "green"), result)
    return key


def test_only_what_is_asked_for_is_kept(browser, history):
    key, _ = browser.press("keep", True, None, trigger="input")
    assert is_key(key)
    browser.identify()
    (row,) = browser.rows(key)
    assert row[2].endswith("%)")
    assert row[3] == MODEL
    assert history.rows(key)[0].result["photo"] == "cat.png"
    assert browser.press("keep", False, key, trigger="input")[0] == key
    browser.identify()
    assert len(history.rows(key)) == 1


def test_a_browser_that_never_asked_has_no_key_and_no_rows(browser, history, monkeypatch):
    monkeypatch.setattr(history, "keep", lambda *_: pytest.fail("kept"))
    browser.identify()
    assert browser.press("keep", False, None, trigger="input")[0] is None
    assert browser.rows(None) == []


def test_the_table_is_inert_and_its_pictures_are_part_of_it(browser, history, key):
    (row,) = browser.rows(key)
    assert row[2:4] == [f"{MARKUP} (50%)", MARKUP]  # the columns are plain text
    table = next(c for c in browser.config["components"] if c["props"].get("elem_id") == "kept")
    assert table["props"]["datatype"] == ["number", "html", "str", "str", "str", "str"]
    (data,) = re.fullmatch(r'<img alt="" src="data:image/jpeg;base64,([A-Za-z0-9+/=]+)">', row[1]).groups()
    assert base64.b64decode(data) == history.rows(key)[0].thumbnail


def test_a_row_is_chosen_corrected_exported_and_deleted(browser, history, key):
    with pytest.raises(AppError, match="no corrections to export"):
        browser.press("Export corrections", key)
    row = browser.rows(key)[0]
    choose(browser, key, row)
    table, stored = browser.press("Save correction", key, None, "cedar_waxwing")
    assert stored == table["data"][0][5] == "Cedar Waxwing"
    with pytest.raises(AppError, match="longer than 100"):
        browser.press("Save correction", key, None, "x" * 101)
    (file,) = browser.press("Export corrections", key)
    assert file["value"]["path"].endswith("corrections.zip")
    assert browser.press("Delete", key, None)[0]["data"] == []
    assert history.rows(key) == []
    with pytest.raises(AppError, match="Nothing is chosen"):
        browser.press("Delete", key, None)


def choose(browser, key, row):
    """A click on a cell of a row."""
    data = {"index": [0, 2], "value": row[2], "row_value": row}
    return browser.press("kept", key, trigger="select", event_data=data)


def test_another_browser_sees_and_changes_nothing(address, history, key):
    other, foreign = Browser(address), new_key()
    row = Browser(address).rows(key)[0]
    assert other.rows(foreign) == []
    assert choose(other, foreign, row)[1:] == ["", ""]
    for name, typed in (("Save correction", ["Crow"]), ("Delete", [])):
        with pytest.raises(AppError, match="Nothing is chosen"):
            other.press(name, foreign, None, *typed)
    other.press("Yes, delete everything for good", foreign)
    assert [r.correction for r in history.rows(key)] == [""]


@pytest.mark.parametrize("made_up", ["", "x", 7, {"a": 1}, ["x"], "' OR '1'='1"])
def test_made_up_keys_open_nothing(browser, key, made_up):
    assert browser.rows(made_up) == []
    with pytest.raises(AppError, match="Nothing is kept"):
        browser.press("Export corrections", made_up)
    assert is_key(browser.press("keep", True, made_up, trigger="input")[0])


def test_everything_can_be_deleted(browser, history, key):
    table, *_ = browser.press("Yes, delete everything for good", key)
    assert table["data"] == []
    assert history.rows(key) == []


def test_history_is_no_part_of_the_public_interface(address):
    named = Client(address, verbose=False).view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(named) == ["/identify", "/compare"]
    assert len(named["/identify"]["parameters"]) == 4
