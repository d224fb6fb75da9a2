"""The Case study tab through the page's own events."""

import json
import time
import zipfile
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from served_tab import ServedTab, data_of, event_of, text_of

from core.evaluation.study import Study, StudyRow, Verdict
from demo.tabs import study as study_tab

PAIR = ("idefics2-tiny", "finedefics-tiny")


class SlowModels:
    """Names for models, none of which is loaded."""

    def prepare(self, name, labels, super_category):
        return name, (labels, super_category)


@pytest.fixture
def served(monkeypatch):
    """The tab alone, whose models take a tenth of a second for a photo; and what they have looked at."""
    looked = []

    def examine(items, models, ask):
        for item in items:
            time.sleep(0.1)
            looked.append(item.name)
            verdicts = [Verdict(f"<b>{item.name}</b>", 0.5, True, bool(i), "", 0.1) for i, _ in enumerate(models)]
            yield StudyRow(item.name, "<i>x</i>", "bird", verdicts=tuple(verdicts))

    monkeypatch.setattr(study_tab, "examine", examine)
    tab = ServedTab(lambda page: study_tab.StudyTab(SlowModels(), page), looked)
    yield tab
    tab.page.close()


@pytest.fixture
def archive(tmp_path):
    def pack(photos):
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for i in range(photos):
                archive.writestr(f"{i:03}.png", b"")
        return [handle_file(tmp_path / "photos.zip")]

    return pack


def start(served, files, *models):
    return served.submit(served.tab.start, given(served.tab, files, *models))


def given(tab, files, *models):
    """The inputs of the tab, by component."""
    first, second = models or PAIR
    chosen = {tab.photos: files, tab.model_a: first, tab.model_b: second}
    return {**chosen, tab.candidates: "all", tab.ask: False, tab.filter: "all"}


def test_the_page_has_the_tab_and_no_more_public_names():
    from demo.page import build

    page = build()
    assert "Case study" in [block.label for block in page.blocks.values() if isinstance(block, gr.Tab)]
    public = [fn.api_name for fn in page.fns.values() if fn.api_visibility == "public"]
    assert public == ["identify", "compare", "study", "models", "health"]


def test_photos_become_a_table_and_three_files(served, archive):
    tab = served.tab
    done = served.result(tab.start, given(tab, archive(60)))
    assert done[tab.status] == "Done: 60 of 60 photos."
    assert "0.0% (0)" in text_of(done[tab.accuracy])
    assert "100.0% (60)" in text_of(done[tab.accuracy])
    paths = text_of(done[tab.files])
    assert [Path(path).name for path in paths] == ["study.csv", "study.json", "study.html"]
    assert len(json.loads(Path(paths[1]).read_text())["photos"]) == 60
    table = text_of(done[tab.table])
    assert "1 to 50 of 60 photos" in table
    assert "&lt;b&gt;000.png&lt;/b&gt;" in table
    assert "<b>" not in table
    assert "<i>" not in table
    second = served.result(tab.number, {tab.filter: "all", tab.number: 2}, "input")
    assert "51 to 60 of 60" in text_of(second[tab.table])
    for only, heading in (("only B right", "1 to 50 of 60"), ("only A right", "0 in all")):
        assert heading in text_of(served.result(tab.filter, {tab.filter: only}, "input")[tab.table])


def test_progress_is_told_now_and_then(served, archive):
    job = start(served, archive(20))
    job.result(timeout=60)
    shown = [served.outputs(served.tab.start, output) for output in job.outputs()]
    said = [outputs[served.tab.status] for outputs in shown]
    assert said[0] == "Loading the models ..."
    assert any(line.endswith("s left.") for line in said)
    assert 4 <= len(said) <= 8  # two a second, not one a photo


def test_stop_stops_and_keeps_what_is_done(served, archive):
    job, tab = start(served, archive(200)), served.tab
    served.wait_for(8)
    job.cancel()
    stopped = served.result(tab.stop, {tab.filter: "all"})
    assert stopped[tab.status].startswith("Stopped: ")
    assert served.at_rest()
    assert 8 <= len(served.looked) < 40
    assert "&lt;b&gt;007.png&lt;/b&gt;" in text_of(stopped[tab.table])
    assert len(json.loads(Path(text_of(stopped[tab.files])[1]).read_text())["photos"]) >= 8


def test_one_person_does_not_see_the_photos_of_another(served, archive):
    start(served, archive(3)).result(timeout=60)
    other, tab = Client(served.url, verbose=False), served.tab
    assert not text_of(served.result(tab.filter, {tab.filter: "all"}, "input", other)[tab.table])


def test_what_cannot_be_compared_is_one_sentence(served, archive, tmp_path):
    (tmp_path / "labels.csv").write_text("image_path,label\n<b>.png,Crow\n")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    files = [handle_file(tmp_path / "labels.csv"), handle_file(tmp_path / "a.png")]
    for uploads, models, message in (
        ([], PAIR, "There are no photos"),
        (None, PAIR, "There are no photos"),
        (archive(1), (PAIR[0], PAIR[0]), "two different models"),
        (files, PAIR, "&lt;b&gt;.png"),
    ):
        with pytest.raises(AppError, match=message):
            start(served, uploads, *models).result(timeout=30)
    assert not served.looked


def test_a_file_of_the_server_is_refused(served, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "private.png")
    photo = {"path": str(tmp_path / "private.png"), "meta": {"_type": "gradio.FileData"}}
    event = event_of(served.page, served.tab.start)
    body = {"data": data_of(event, given(served.tab, [photo])), "fn_index": event._id, "session_hash": "mine"}
    assert httpx.post(f"{served.url}gradio_api/queue/join", json=body, timeout=30).status_code == 200
    events = httpx.get(f"{served.url}gradio_api/queue/data", params={"session_hash": "mine"}, timeout=30).text
    assert '"success":false' in events
    assert "Loading" not in events
    assert not served.looked


def test_memory_per_photo_is_small():
    study = Study(PAIR, "all", 1, [StudyRow("a.png", thumbnail=bytes(3000))])
    assert len(study_tab.page_of(study, "all", 1)) < 6000
