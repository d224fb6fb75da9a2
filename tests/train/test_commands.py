"""The commands of `python -m train`, from labelled pictures to a checkpoint and its results."""

import csv
import json
import random
from dataclasses import replace

import pytest
from PIL import Image

from core.checkpoints import read_card
from train.__main__ import main
from train.recipe import Recipe, Stage

STAGE = Stage(2, 6, connector_lr=1e-3, adapter_lr=1e-3, warmup_steps=1)
RECIPE = replace(
    Recipe(), views=1, groups_per_batch=1, hard_negatives=2, closed_photos=2, warmup=STAGE, stage1=STAGE, stage2=STAGE
)
PHOTOS = {"Cedar_Waxwing": 22, "Bohemian_Waxwing": 22, "Downy_Woodpecker": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Noise of three colours, two pictures of each category in the test part."""
    folder = tmp_path_factory.mktemp("data") / "bird"
    rng = random.Random(0)
    rows = {"train.csv": [], "test.csv": []}
    for shade, (name, count) in enumerate(PHOTOS.items()):
        for i in range(count):
            path = folder / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = Image.frombytes("RGB", (8, 8), rng.randbytes(192)).resize((64, 64))
            Image.blend(noise, Image.new("RGB", (64, 64), ("red", "green", "blue")[shade]), 0.6).save(path)
            rows["test.csv" if i < 2 else "train.csv"].append((path.relative_to(folder), name))
    for file, listed in rows.items():
        with (folder / file).open("w", newline="") as stream:
            csv.writer(stream).writerows([("image_path", "label"), *listed])
    return folder.parent


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder of the checkpoints after a run of two steps per stage."""
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.recipe.Recipe", lambda seed: replace(RECIPE, seed=seed))
        patch.setattr("train.features.cache_root", lambda: out / "cache")
        assert main(["run", "--data", str(data), "--work", str(out / "work"), "--out", str(out / "checkpoints")]) == 0
    return out / "checkpoints"


def test_both_checkpoints_say_how_they_were_made(trained):
    full, tuned = (read_card(trained / name) for name in ("finedefics-tiny", "idefics2-tiny"))
    assert full["stages"] == ["warmup", "stage1", "stage2"]
    assert tuned["stages"] == ["warmup", "stage2"]
    assert full["data"] == tuned["data"]
    assert len(full["data"]["seen"]) == sum(PHOTOS.values()) - 6
    assert full["data"]["sets"] == ["bird"]
    assert full["categories"] == ["Bohemian Waxwing", "Cedar Waxwing", "Downy Woodpecker"]


def test_results_are_printed_and_put_into_the_card(trained, data, monkeypatch, capsys):
    monkeypatch.setattr("core.models.CHECKPOINTS", trained)
    assert main(["evaluate", "--data", str(data), "--json", "--card"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert set(results["sets"]) == {"bird"}
    assert results["mean"]["n"] == 6
    assert results["seen"] == 0
    assert {"top1", "top5", "closed4", "open", "top1_auto", "refused", "ece", "ece_auto"} <= set(results["mean"])
    assert all(0 <= value <= 1 for key, value in results["mean"].items() if key != "n")
    assert results["mean"]["top5"] == 1
    assert "| bird | 6 |" in (trained / "finedefics-tiny" / "README.md").read_text()
    assert main(["evaluate", "--data", str(data)]) == 0
    assert "mean" in capsys.readouterr().out


def test_no_card_from_photos_that_were_trained_on(trained, data, monkeypatch, capsys):
    monkeypatch.setattr("core.models.CHECKPOINTS", trained)
    assert main(["evaluate", "--data", str(data), "--csv", "train.csv", "--card"]) == 1
    assert "has seen 42 of these 42 photos" in capsys.readouterr().err
    few = "Cedar_Waxwing/5.png,Cedar_Waxwing\nDowny_Woodpecker/0.png,Downy_Woodpecker\n"
    (data / "bird" / "few.csv").write_text(f"image_path,label\n{few}")
    assert main(["evaluate", "--data", str(data), "--csv", "few.csv", "--json"]) == 0
    captured = capsys.readouterr()
    assert "has seen 1 of these 2 photos" in captured.err
    assert json.loads(captured.out)["seen"] == 1


def test_a_test_photo_among_the_training_photos_stops_the_run(data, tmp_path, capsys):
    listed = (data / "bird" / "test.csv").read_text()
    (data / "bird" / "leaky.csv").write_text(listed)
    try:
        assert main(["run", "--data", str(data), "--csv", "leaky.csv", "--work", str(tmp_path / "work")]) == 1
    finally:
        (data / "bird" / "leaky.csv").unlink()
    assert "6 test photos are also training photos" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
