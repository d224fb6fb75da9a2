"""The panel that downloads models: what it shows, what it refuses, and the page while it works."""

import threading
import time

import gradio as gr
import pytest
from hub_server import CHUNK, COMMIT
from served_tab import ServedTab, event_of, text_of

from core.errors import UserError
from core.zoo.hub import local_folder
from core.zoo.registry import availability, find_entry
from demo.components import models as components
from demo.components.download_panel import downloadable
from demo.components.models import ModelPool
from demo.tabs.models import NO_DOWNLOADS, ONLY_CHOSEN, ModelsTab

ACCEPTED = ["I accept the licence of reduced: MIT (not verified) (https://huggingface.co/owner/reduced)"]


@pytest.fixture
def served(local_hub, monkeypatch):
    """The Models tab on a page of this machine, with one model loaded and another one that can be."""

    class Loaded:
        def label_space(self, *_):
            return None

    monkeypatch.setattr(components, "load_listed", lambda *_: Loaded())
    pool = ModelPool()
    pool.prepare("finedefics-tiny", None, None)

    served = ServedTab(lambda page: ModelsTab(pool, gr.Tab(), page, downloads=True), [])
    served.pool, served.panel = pool, served.tab.download
    yield served
    served.page.close()


def values(panel, name="reduced", licence=ACCEPTED):
    return {panel.name: name, panel.licence: licence}


def test_without_the_option_nothing_on_the_page_downloads():
    with gr.Blocks() as page:
        tab = ModelsTab(ModelPool(), gr.Tab(), page)
    assert not hasattr(tab, "download")
    assert {getattr(fn.fn, "__self__", tab) for fn in page.fns.values()} == {tab}
    said = [block.value for block in page.blocks.values() if isinstance(block, gr.Markdown)]
    assert any((text or "").startswith(NO_DOWNLOADS) for text in said)


def test_with_the_option_the_page_says_what_is_downloaded(served):
    said = [block.value for block in served.page.blocks.values() if isinstance(block, gr.Markdown)]
    assert any((text or "").startswith(ONLY_CHOSEN) for text in said)
    assert [name for _, name in served.panel.name.choices] == list(downloadable()) == ["reduced"]
    shown = served.result(served.panel.name, {served.panel.name: "reduced"}, "change")
    about = text_of(shown[served.panel.about])
    assert about.startswith("0.1 GB from [owner/reduced](https://huggingface.co/owner/reduced); ")
    assert "GB are free in" in about
    assert shown[served.panel.licence]["choices"] == [ACCEPTED * 2]
    assert shown[served.panel.licence]["value"] == []


def test_a_model_is_downloaded_and_the_table_says_so(served, local_hub):
    job = served.submit(served.panel.start, values(served.panel))
    status, table = job.result(timeout=60)
    assert status == f"reduced is here, at commit {COMMIT}: {availability(find_entry('reduced'))}"
    states = {row[0]: row[1] for row in table["data"]}
    assert states["reduced"].startswith("ready")
    assert states["finedefics-tiny"] == "ready, loaded"
    assert any("GB" in output[0] for output in job.outputs())


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"licence": []}, "The licence of reduced is not accepted: tick it first."),
        ({"licence": ["I accept the licence of pickled: MIT"]}, "The licence of reduced is not accepted"),
        ({"licence": None}, "The licence of reduced is not accepted"),
        ({"name": None}, "There is no model that can be downloaded: choose one of the list."),
        ({"name": "owner/reduced"}, "There is no model that can be downloaded"),
        ({"name": "../../reduced"}, "There is no model that can be downloaded"),
        ({"name": ["reduced"]}, "There is no model that can be downloaded"),
        ({"name": "pickled"}, "There is no model that can be downloaded"),
        ({"name": "served"}, "There is no model that can be downloaded"),
        ({"name": "finedefics-tiny"}, "There is no model that can be downloaded"),
    ],
)
def test_what_is_not_offered_or_not_accepted_is_refused_by_the_server(changed, sentence, served, local_hub):
    with pytest.raises(Exception, match=sentence):
        served.result(served.panel.start, values(served.panel, **changed))
    assert not local_hub.requests


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", ""])
def test_a_page_that_others_can_reach_downloads_nothing(host, served, local_hub, monkeypatch):
    monkeypatch.setattr(served.page, "server_name", host)
    with pytest.raises(Exception, match="only from a page that its own machine alone can reach"):
        served.result(served.panel.start, values(served.panel))
    assert not local_hub.requests


def test_a_page_asked_for_by_a_name_of_others_downloads_nothing(served, local_hub):
    panel, strange = served.panel, gr.Request(headers={"host": "rebound.example"})
    with pytest.raises(gr.Error, match="only from a page that its own machine alone can reach"):
        next(panel.run(values(panel), strange))
    assert not local_hub.requests


def test_a_failure_is_one_sentence_in_place_of_the_progress(served, local_hub):
    local_hub.refuse = (403, "GatedRepo")
    status, _ = served.submit(served.panel.start, values(served.panel)).result(timeout=60)
    assert status.startswith("owner/reduced is gated (403): accept its terms on https://huggingface.co/owner/reduced")


def test_the_page_stays_usable_meanwhile_and_stop_ends_the_process(served, local_hub):
    local_hub.files["model.safetensors"] += b"\0" * 2 * CHUNK
    local_hub.hold = threading.Event()
    job = served.submit(served.panel.start, values(served.panel))
    assert local_hub.holding.wait(30)

    shown = served.result(served.tab.load, {served.tab.name: "idefics2-8b"})
    assert text_of(shown[served.tab.status]) == "idefics2-8b is loaded."
    assert "finedefics-tiny" in served.pool
    again = served.submit(served.panel.start, values(served.panel)).result(timeout=60)
    assert again[0].startswith("owner/reduced is being downloaded already")

    stopped = [fn.cancels for fn in served.page.fns.values() if (served.panel.stop._id, "click") in fn.targets]
    assert [event_of(served.page, served.panel.start)._id] in stopped
    job.cancel()
    local_hub.hold.set()
    wait_for(lambda: not unlocked_by_another(served))
    assert local_folder(find_entry("reduced").hub)


def unlocked_by_another(served):
    """Whether the process of the first download still has the lock."""
    status, _ = served.submit(served.panel.start, values(served.panel)).result(timeout=60)
    return "already" in status


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_loading_a_model_that_fails_leaves_the_others(served, monkeypatch):
    def fail(*_):
        raise UserError("The memory was not enough.")

    monkeypatch.setattr(components, "load_listed", fail)
    status, _ = served.submit(served.tab.load, {served.tab.name: "idefics2-8b"}).result(timeout=60)
    assert status == "The memory was not enough."
    assert "finedefics-tiny" in served.pool
