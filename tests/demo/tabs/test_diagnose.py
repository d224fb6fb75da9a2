"""The Diagnose tab through the page's own events."""

import json
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from served_tab import ServedTab, text_of

from core.embeddings.metrics import EXPLAINED
from core.evaluation.capabilities import diagnose as real
from core.evaluation.capability_report import reading
from core.evaluation.diagnosis import ENCODER, LLM, OBJECT, Diagnosis, Questions
from core.evaluation.linear_probe import ProbeResult
from core.progress import Progress
from demo.tabs import diagnose as diagnose_tab

HOSTILE = "<img src=x onerror=hit()>"


def made_up():
    probed = ProbeResult(0.9, 0.03, 0.25, samples=20, classes=4, folds=5)
    return Diagnosis(
        HOSTILE,
        {(OBJECT, ENCODER, "Avg."): probed, (OBJECT, LLM, "Last"): probed, (OBJECT, LLM, "Avg."): probed},
        {**dict.fromkeys(EXPLAINED, 0.5), "recall_at_1": 0.2},
        Questions(20, 0.6, 0.5, 0.4, 0.1, 0.25),
        photos=20,
        categories=4,
        skipped=2,
        without_label=0,
        trained_on=0,
        provenance={"seed": 0, "date": "2026-01-01"},
    )


@pytest.fixture
def served(monkeypatch):
    """The tab alone, whose diagnosis takes a tenth of a second for a photo; and the photos that were looked at."""
    looked = []

    def diagnose(items, recogniser):
        if not any(item.label for item in items):
            yield from real(items, recogniser)
        for item in items:
            time.sleep(0.1)
            looked.append(item.name)
            yield Progress(0.5, f"{len(looked)} of {len(items)} photos.")
        return made_up()

    monkeypatch.setattr(diagnose_tab, "diagnose", diagnose)
    models = SimpleNamespace(prepare=lambda name, labels, group: (name, None))
    tab = ServedTab(lambda page: diagnose_tab.DiagnoseTab(models, page), looked)
    yield tab
    tab.page.close()


@pytest.fixture
def archive(tmp_path):
    def pack(photos, folder="crow/"):
        path = tmp_path / f"{photos}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for i in range(photos):
                archive.writestr(f"{folder}{i:03}.png", b"")
            if folder:
                archive.writestr("jay/x.png", b"")
        return [handle_file(path)]

    return pack


def start(served, files, model="finedefics-tiny"):
    return served.submit(served.tab.start, {served.tab.photos: files, served.tab.model: model})


def test_photos_become_a_table_a_reading_and_two_files(served, archive):
    job, tab = start(served, archive(11)), served.tab
    done = served.outputs(tab.start, job.result(timeout=60))
    assert done[tab.status] == "Done."
    shown = text_of(done[tab.table])
    assert "90.0% ± 3.0" in shown
    assert "25.0%" in shown
    assert "20 photos, 4 categories, 5 folds" in shown
    assert "Idefics2 94.99%" in shown
    assert "SigLIP 95.28%" in shown
    assert "published (arXiv 2501.15140)" in shown
    assert "The bottleneck is object-category alignment" in shown
    assert "2 files that are no readable photo" in shown
    assert "&lt;img" in shown
    assert "<img" not in shown
    paths = text_of(done[tab.files])
    assert [Path(path).name for path in paths] == ["diagnosis.json", "diagnosis.csv"]
    data = json.loads(Path(paths[0]).read_text())
    assert data["reading"] == reading(made_up())
    assert len(Path(paths[1]).read_text().splitlines()) == len(data["rows"]) + 1
    said = [served.outputs(tab.start, output)[tab.status] for output in job.outputs()]
    assert said[0] == "Loading the model ..."
    assert 4 <= len(said) <= 8  # two a second, not one a photo


def test_cancel_stops_the_work(served, archive):
    job = start(served, archive(200))
    served.wait_for(5)
    job.cancel()
    cancelled = served.result(served.tab.cancel, {})
    assert cancelled[served.tab.status] == "Cancelled."
    assert served.at_rest()
    assert 5 <= len(served.looked) < 40


def test_what_cannot_be_diagnosed_is_one_sentence(served, archive):
    for files, model, message in (
        ([], "finedefics-tiny", "There are no photos"),
        (archive(6, folder=""), "finedefics-tiny", "The photos have no true names: put them into class folders"),
        (archive(7), "", "There is no model"),
    ):
        with pytest.raises(AppError, match=message):
            start(served, files, model).result(timeout=30)
    assert not served.looked


def test_the_page_has_the_tab():
    from demo.page import build

    assert "Diagnose" in [block.label for block in build().blocks.values() if isinstance(block, gr.Tab)]
