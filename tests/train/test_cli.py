"""The commands of `python -m train`, from labelled pictures to a checkpoint and its results."""

import csv
import json
import random
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from core.data.images import read_photo
from core.models.checkpoint import open_checkpoint, read_manifest
from core.recognition.recogniser import Recogniser
from train.cli import main

ROOT = Path(__file__).parents[2]
STAGE = {"steps": 2, "photos": 6, "connector_lr": 1e-3, "adapter_lr": 1e-3, "warmup_steps": 1}
PRESET = {
    "adapter": {"rank": 2, "alpha": 4, "dropout": 0.0, "on_connector": False},
    "views": 1,
    "balance": 0.5,
    "negatives_from_memory": True,
    "groups_per_batch": 1,
    "categories_per_group": 2,
    "described_share": 0.2,
    "warmup": STAGE,
    "align": STAGE,
    "instruct": STAGE,
}
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
def trained(data, reduced_idefics2, tmp_path_factory):
    """The folder of the checkpoints after a run of two steps per stage on a reduced model."""
    out = tmp_path_factory.mktemp("out")
    (out / "small.yaml").write_text(yaml.safe_dump({**PRESET, "base": str(reduced_idefics2)}))
    common = ["run", "--data", str(data), "--work", str(out / "work"), "--out", str(out / "checkpoints")]
    common += ["--preset", str(out / "small.yaml")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.storage.cache.cache_root", lambda: out / "cache")
        assert main([*common, "--name", "finedefics-tiny"]) == 0
        assert main([*common, "--name", "idefics2-tiny", "--variant", "finetune"]) == 0
    return out / "checkpoints"


def test_both_checkpoints_say_how_they_were_made(trained):
    full, tuned = (read_manifest(trained / name) for name in ("finedefics-tiny", "idefics2-tiny"))
    assert full.stages == ["warmup", "align", "instruct"]
    assert tuned.stages == ["warmup", "instruct"]
    assert full.data == tuned.data
    assert len(full.data.seen) == sum(PHOTOS.values()) - 6
    assert full.data.sets == ["bird"]
    assert full.categories == ["Bohemian Waxwing", "Cedar Waxwing", "Downy Woodpecker"]


def test_a_new_checkpoint_is_listed_without_a_change_of_code(trained, monkeypatch, capsys):
    from core.cli.models import run as models

    shutil.copytree(trained / "finedefics-tiny", trained / "my-birds")
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", trained)
    assert models(Namespace(json=False)) == 0
    assert any(line.startswith("my-birds") and "ready" in line for line in capsys.readouterr().out.splitlines())
    shutil.rmtree(trained / "my-birds")


def test_a_merged_checkpoint_answers_as_the_adapter_does(trained, tmp_path, monkeypatch, data):
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", trained)
    assert main(["export", "--model", "finedefics-tiny", "--out", str(tmp_path / "whole")]) == 0
    assert main(["export", "--model", "finedefics-tiny", "--out", str(tmp_path / "whole")]) == 1
    adapted = Recogniser("a", *open_checkpoint(trained / "finedefics-tiny", dtype=torch.float32))
    merged = Recogniser("b", *open_checkpoint(tmp_path / "whole", dtype=torch.float32))
    for path in sorted(data.glob("bird/*/*.png"))[::6]:
        photo = read_photo(path).image
        scores = [r.score(r.encode(photo), r.label_space()) for r in (adapted, merged)]
        assert torch.allclose(scores[0].stack()[:3], scores[1].stack()[:3], atol=1e-3)
        assert scores[0].stack()[0].argmax() == scores[1].stack()[0].argmax()


def test_a_folder_that_cannot_be_written_is_told_before_the_merge(trained, monkeypatch, capsys):
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", trained)
    monkeypatch.setattr("train.publish.export.open_checkpoint", lambda *_: pytest.fail("the model was loaded"))
    assert main(["export", "--model", "finedefics-tiny", "--out", f"{__file__}/whole"]) == 1
    assert "is not a folder" in capsys.readouterr().err


def test_a_dry_run_shows_batches_and_writes_nothing(data, tmp_path, capsys):
    arguments = ["run", "--data", str(data), "--work", str(tmp_path / "w"), "--out", str(tmp_path / "o")]
    assert main([*arguments, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "answer (carries the loss): 'Bill is" in shown
    assert "What is the" in shown
    assert "M parameters trained; about" in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "huge"], "no preset 'huge': choose one of"),
        (["--set", "align.stepz=1"], "align.stepz is not a setting"),
        (["--base", "/nowhere"], "/nowhere is neither a folder nor in the hub's cache"),
        (["--name", "../evil"], "cannot name a checkpoint"),
        (["--name", ""], "cannot name a checkpoint"),
        (["--name", "finedefics-8b"], "is a model of the hub"),
        (["--data", "hf:nobody/nothing"], "nobody/nothing"),
    ],
)
def test_wrong_options_are_one_sentence(options, message, data, tmp_path, capsys):
    assert main(["run", "--data", str(data), "--name", "x", "--work", str(tmp_path), *options]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--variant", "half"],
        ["run", "--seed", "-1"],
        ["ablation", "--variants", "full", "half"],
        ["ablation", "--arms", "few-shot-5"],
        ["negatives", "--by", "colour"],
        ["negatives", "--top", "-1"],
        ["evaluate", "--seed", "one"],
    ],
)
def test_values_that_no_option_takes_are_refused_by_the_parser(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--data", "nowhere"])
    assert stopped.value.code == 2
    assert f"argument {command[1]}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["run"], "needs a name"),
        (["run", "--name", "my birds"], "cannot name a checkpoint"),
        (["run", "--name", "x", "--base", "/nowhere"], "/nowhere is neither"),
        (["run", "--name", "x", "--set", "views=many"], "views is 'many'"),
        (["ablation", "--preset", "huge"], "no preset 'huge'"),
        (["ablation", "--arms", "unseen", "--set", "start_file=x", "--set", "warmup=null"], "leave start_file out"),
        (["ablation", "--out", f"{__file__}/out"], "is not a folder"),
        (["negatives", "--set", "views=many"], "views is 'many'"),
        (["negatives", "--by", "photos", "--set", "base=/nowhere"], "/nowhere is neither"),
        (["run", "--name", "x", "--out", f"{__file__}/out"], "is not a folder"),
        (["run", "--name", "x", "--work", __file__], "is not a folder"),
        (["run", "--name", "my/birds", "--dry-run"], "cannot name a checkpoint"),
        (["evaluate", "--model", "nope"], "no model 'nope'"),
        (["errors", "--out", "out", "--model", "nope"], "no model 'nope'"),
        (["errors", "--out", f"{__file__}/out"], "is not a folder"),
        (["find-object", "--model", "nope"], "no model 'nope'"),
        (["find-object", "--boxes", "none.csv"], "none.csv is no CSV"),
        (["evaluate", "--foci", "f.json", "--card"], "leave out --csv and --card"),
        (["evaluate", "--foci", "f.json", "--csv", "test.csv"], "leave out --csv and --card"),
        (["evaluate", "--foci", "f.json", "--descriptions", "2"], "not for descriptions"),
    ],
)
def test_options_are_checked_before_a_photo_is_read(command, message, data, monkeypatch, capsys):
    monkeypatch.setattr("train.data.source.open_photo_set", lambda *_: pytest.fail("photos were read"))
    assert main([*command, "--data", str(data)]) == 1
    assert message in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from train.cli import main\n"
        "try:\n    main(['run', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'numpy', 'pydantic', 'yaml'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_look_alikes_are_printed(data, capsys):
    assert main(["negatives", "--data", str(data), "--top", "1"]) == 0
    assert "Cedar Waxwing: Bohemian Waxwing" in capsys.readouterr().out


def test_an_ablation_holds_out_the_share_of_its_recipe(data, monkeypatch, capsys):
    held_out = []
    monkeypatch.setattr(
        "train.evaluation.ablation.ablate", lambda arm, *_: held_out.append(len(arm.split.held_out)) or []
    )
    monkeypatch.setattr("train.evaluation.ablation_report.write_report", lambda *_: "")
    for share in ("0.1", "0.5"):
        assert main(["ablation", "--data", str(data), "--seeds", "0", "--set", f"held_out_share={share}"]) == 0
    assert held_out[-1] > 3 * held_out[0]


def test_results_are_printed_and_put_into_the_card(trained, data, monkeypatch, capsys):
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", trained)
    assert main(["evaluate", "--data", str(data), "--json", "--card"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert set(results["sets"]) == {"bird"}
    assert results["mean"]["n"] == 6
    assert results["seen"] == 0
    assert {
        "top1",
        "top5",
        "options4_ranking",
        "options4_letter_logprob",
        "open",
        "top1_auto",
        "refused",
        "ece",
        "ece_auto",
    } <= set(results["mean"])
    assert all(0 <= value <= 2 for key, value in results["mean"].items() if key != "n")
    assert results["mean"]["top5"] == 1
    assert "| bird | 6 |" in (trained / "finedefics-tiny" / "README.md").read_text()
    assert main(["evaluate", "--data", str(data), "--descriptions", "2"]) == 0
    ranking, clauses, conclusions = capsys.readouterr().out.split("\n\n")
    assert "| name or group | " in conclusions
    assert clauses.split()[:3] == ["clauses_photos", "clauses", "clauses_chance"]
    assert clauses.splitlines()[1].split()[:4:2] == ["bird", "0.0"]
    assert clauses.count("±") == 12
    header, *rows = (line.split() for line in ranking.splitlines())
    assert header == list(results["mean"])
    assert rows[-1][0] == "mean"


def test_errors_are_written_with_labels_that_look_wrong(trained, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", trained)
    names = list(PHOTOS)
    listed = [(f"{name}/{i}.png", names[0] if (name, i) == (names[1], 7) else name) for name in names for i in range(12)]
    listed = [row for row in listed if (data / "bird" / row[0]).is_file()]
    (data / "bird" / "swapped.csv").write_text("\n".join(",".join(row) for row in [("image_path", "label"), *listed]))
    out = tmp_path / "out"
    assert main(["errors", "--data", str(data), "--csv", "swapped.csv", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    summary, *files = captured.out.splitlines()
    assert f"of {len(listed)} photos are named wrongly" in summary
    assert "not judged, with fewer than 5 different photos: Downy Woodpecker." in summary
    assert "has seen 22 of these 28 photos" in captured.err
    assert sorted(map(Path, files)) == sorted(out.iterdir())
    with (out / "label_issues.csv").open(encoding="utf-8-sig", newline="") as stream:
        issues = [(Path(row["photo"]).parent.name, Path(row["photo"]).name) for row in csv.DictReader(stream)]
    assert (names[1], "7.png") in issues
    assert "has seen 22 of these 28 photos" in (out / "errors.html").read_text(encoding="utf-8")


def test_errors_are_not_written_among_the_photos(data, monkeypatch, capsys):
    monkeypatch.setattr("train.data.source.open_photo_set", lambda *_: pytest.fail("photos were read"))
    assert main(["errors", "--data", str(data), "--out", str(data / "errors")]) == 1
    assert "name a folder outside it" in capsys.readouterr().err


def test_foci_questions_are_asked_of_the_photos_that_are_there(trained, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", trained)
    names = [*PHOTOS, "Baltimore_Oriole"]
    asked = {
        name: [{"image": f"x/{name}_{i}.png", "options": names, "groundtruth": name} for i in (0, 5)] for name in PHOTOS
    }
    (tmp_path / "foci.json").write_text(json.dumps(asked))
    for name in PHOTOS:
        (tmp_path / "photos" / name).mkdir(parents=True)
        shutil.copy(data / "bird" / name / "0.png", tmp_path / "photos" / name / f"{name}_0.png")
    seen = "Cedar_Waxwing"
    shutil.copy(data / "bird" / seen / "5.png", tmp_path / "photos" / seen / f"{seen}_5.png")
    command = ["evaluate", "--foci", str(tmp_path / "foci.json"), "--results", str(tmp_path / "results"), "--data"]
    assert main([*command, str(tmp_path / "photos"), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert (results["n"], results["official"], results["seen"], results["seed"]) == (4, 5794, 1, 0)
    columns = {"generated_letter", "generated_letter_foci_rule", "letter_logprob", "names_likelihood", "ranking"}
    assert set(results["correct"]) == columns
    (answers,) = (tmp_path / "results" / "finedefics-tiny").glob("bird-200-seed0.jsonl")
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    assert all(len(row["letter_scores"]) == len(row["ranking"]) == 4 for row in rows)
    assert all(isinstance(row["reply"], str) and row["seconds"] > 0 for row in rows)
    monkeypatch.setattr("train.evaluation.foci.open_model", lambda _: pytest.fail("asked again"))
    assert main([*command, str(tmp_path / "photos")]) == 0
    assert "1 of the questions are about photos that it was trained on" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "nowhere")]) == 1
    assert "None of the 6 photos that are asked about" in capsys.readouterr().err


def test_no_card_from_photos_that_were_trained_on(trained, data, monkeypatch, capsys):
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", trained)
    assert main(["evaluate", "--data", str(data), "--csv", "train.csv", "--card"]) == 1
    assert "has seen 42 of these 42 photos" in capsys.readouterr().err
    few = "Cedar_Waxwing/5.png,Cedar_Waxwing\nDowny_Woodpecker/0.png,Downy_Woodpecker\n"
    (data / "bird" / "few.csv").write_text(f"image_path,label\n{few}")
    assert main(["evaluate", "--data", str(data), "--csv", "few.csv", "--json"]) == 0
    captured = capsys.readouterr()
    assert "has seen 1 of these 2 photos" in captured.err
    assert json.loads(captured.out)["seen"] == 1


def test_a_test_part_that_cannot_be_read_stops_the_run(data, tmp_path, capsys):
    copy = tmp_path / "bird"
    shutil.copytree(data / "bird", copy)
    (copy / "test.csv").write_text("image_path,label\nmissing.png,Cedar_Waxwing\n")
    assert main(["run", "--data", str(copy), "--name", "x", "--work", str(tmp_path / "work")]) == 1
    assert "test.csv lists 'missing.png', which is not among the photos" in capsys.readouterr().err


def test_a_test_photo_among_the_training_photos_stops_the_run(data, tmp_path, capsys):
    listed = (data / "bird" / "test.csv").read_text()
    (data / "bird" / "leaky.csv").write_text(listed)
    try:
        assert (
            main(["run", "--data", str(data), "--name", "x", "--csv", "leaky.csv", "--work", str(tmp_path / "work")])
            == 1
        )
    finally:
        (data / "bird" / "leaky.csv").unlink()
    assert "6 test photos are also training photos" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_an_object_cannot_be_looked_for_without_photos(capsys):
    assert main(["find-object"]) == 1
    assert "give --data, --boxes, or both" in capsys.readouterr().err
