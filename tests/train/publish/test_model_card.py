"""Model cards: what a checkpoint is, and what was measured, for people and for the hub."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from core.models.calibration import SCORES, Calibration
from core.models.checkpoint import MERGED, CheckpointManifest
from core.zoo.registry import CHECKPOINTS
from train.data.records import Record
from train.publish.model_card import results_table, seen_photos, write_card

FACTS = {
    "name": "some-tiny",
    "base": "tiny",
    "base_id": "0" * 16,
    "calibration": Calibration(1, 2, 3, 4),
    "categories": ["a", "b", "c"],
    "files": {},
    "stages": ["align", "instruct"],
    "training": {
        "base": "tiny",
        "variant": "full",
        "seed": 3,
        "align": {"steps": 0, "epochs": 1.0, "photos": 64},
        "instruct": {"steps": 7, "epochs": 1.0, "photos": 5},
    },
    "data": {"name": "birds", "sets": ["bird"], "photos": 90, "calibration_photos": 10, "hash": "0" * 64},
}
MEASURED = {"n": 2, "top1": 0.5, "top5": 1.0, "options4_ranking": 0.5, "open": 0.25, "ece": 0.125}
RESULTS = {
    "csv": "test.csv",
    "seed": 0,
    "sets": {"bird": MEASURED},
    "mean": {**MEASURED, **{f"top1_{score}_alone": 0.5 for score in SCORES}},
}


@pytest.fixture
def card_of(tmp_path, monkeypatch):
    """Write the card of a checkpoint with some facts changed, and return its text."""

    def write(results=None, **changes):
        manifest = CheckpointManifest(**{**FACTS, **changes})
        monkeypatch.setattr("train.publish.model_card.read_manifest", lambda folder: manifest)
        write_card(tmp_path, results)
        return (tmp_path / "README.md").read_text()

    return write


def test_photos_of_the_training_are_recognised(tmp_path, monkeypatch):
    photos = [Record(Path(f"{i}.jpg"), "Cedar Waxwing", "bird", f"{i}" * 64) for i in range(3)]
    manifest = CheckpointManifest(**{**FACTS, "data": {"seen": ["1" * 12, "7" * 12]}})
    monkeypatch.setattr("train.publish.model_card.read_manifest", lambda folder: manifest)
    assert seen_photos(tmp_path, photos) == [photos[1]]


def test_the_card_reports_what_was_measured_and_keeps_it(card_of):
    assert "Not measured yet" in card_of()
    card = card_of(RESULTS)
    assert results_table(RESULTS) in card
    assert "| bird | 2 | 50.0 | 100.0 | 50.0 |" in card
    assert "| description | 2.00 | 50.0 |" in card
    assert "- align: 1 epochs, 64 photos per step\n- instruct: 7 steps, 5 photos per step\n" in card
    assert "names 3 categories" in card
    assert card_of() == card  # written again, as after a change of its wording


def test_the_hub_reads_the_metadata(card_of):
    data = ModelCard(card_of(RESULTS)).data
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert data.datasets == ["birds"]
    assert (data.license, data.license_name, data.pipeline_tag) == ("other", "research-data", "image-text-to-text")
    assert data.license_link.endswith("#limits-and-licence")
    values = {(result.dataset_config, result.metric_name): result.metric_value for result in data.eval_results}
    assert values["bird", "top-1"] == 0.5
    assert values["mean", "free answer"] == 0.25
    assert len(values) == 8


def test_a_card_says_what_opens_the_checkpoint(card_of):
    needed = "must be opened by the classes of this repository"
    merged = {"base": MERGED, "base_id": ""}
    assert needed in card_of(**merged)
    assert needed not in card_of()
    other = {"training": {**FACTS["training"], "base": "HuggingFaceM4/idefics2-8b"}}
    assert ModelCard(card_of(**other)).data.library_name == "peft"
    assert ModelCard(card_of(**other, **merged)).data.library_name == "transformers"
    assert needed not in card_of(**other, **merged)


@pytest.mark.parametrize("folder", sorted(path.parent for path in CHECKPOINTS.glob("*/README.md")), ids=lambda p: p.name)
def test_the_committed_cards_are_those_of_their_manifests(folder, tmp_path, monkeypatch):
    from core.models.checkpoint import read_manifest

    manifest = read_manifest(folder)
    monkeypatch.setattr("train.publish.model_card.read_manifest", lambda _: manifest)
    if (folder / "results.json").exists():
        (tmp_path / "results.json").write_bytes((folder / "results.json").read_bytes())
    write_card(tmp_path)
    assert (tmp_path / "README.md").read_text() == (folder / "README.md").read_text()
