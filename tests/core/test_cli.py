import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sklearn

from core.cli import main

FLOWER = str(Path(sklearn.__file__).parent / "datasets/images/flower.jpg")


def test_help_is_instant():
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "core", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3


def test_models_are_listed_with_their_state(capsys):
    assert main(["models"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    embedded = ["finedefics-tiny", "idefics2-tiny", "object-category-tiny"]
    assert [line.split()[0] for line in lines] == [*embedded, "idefics2-8b", "finedefics-8b"]
    assert all(line.endswith("ready") for line in lines[:3])


def test_models_of_the_hub_are_listed_with_licence_memory_and_command(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "licence: Apache-2.0; memory: 18.8 GB (bf16) or 8.4 GB (4-bit)" in out
    assert "HF_HUB_OFFLINE=0 .venv/bin/hf download StevenHH2000/Finedefics --revision main" in out


def test_json_has_one_line_per_photo(capsys):
    assert main(["identify", FLOWER, FLOWER, "--json", "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    result = json.loads(lines[0])
    assert list(result) == [
        "photo",
        "model",
        "known",
        "calibrated",
        "species",
        "answer",
        "attributes",
        "description",
        "seconds",
    ]
    assert result["photo"] == FLOWER
    assert len(result["species"]) == 3
    assert set(result["species"][0]) == {"name", "probability"}


def test_nothing_needs_the_network(capsys, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert main(["identify", FLOWER]) == 0
    assert "%" in capsys.readouterr().out


def test_a_missing_checkpoint_is_said(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", tmp_path)
    assert main(["models"]) == 0
    assert capsys.readouterr().out.count("missing or incomplete") == 3
    assert main(["identify", FLOWER]) == 1
    assert "The checkpoint finedefics-tiny is missing or incomplete" in capsys.readouterr().err


def test_text_names_species_and_attributes(capsys):
    assert main(["identify", FLOWER, "--super-category", "flower"]) == 0
    out = capsys.readouterr().out
    assert "%" in out
    assert "Free answer:" in out


def test_labels_come_from_a_file(capsys, tmp_path):
    (tmp_path / "names.txt").write_text("red rose\nsteam engine\n\n")
    assert main(["identify", FLOWER, "--labels", str(tmp_path / "names.txt"), "--json"]) == 0
    names = {species["name"] for species in json.loads(capsys.readouterr().out)["species"]}
    assert names == {"red rose", "steam engine"}


def test_a_bad_photo_does_not_stop_the_others(capsys, tmp_path):
    (tmp_path / "bad.jpg").write_text("no picture")
    assert main(["identify", str(tmp_path / "bad.jpg"), str(tmp_path / "none.jpg"), FLOWER, "--json"]) == 1
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(line["photo"]).name for line in lines] == ["bad.jpg", "none.jpg", "flower.jpg"]
    assert ["error" in line for line in lines] == [True, True, False]
    errors = [line for line in captured.err.splitlines() if str(tmp_path) in line]
    assert "not a readable image" in errors[0]
    assert "cannot be read" in errors[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "gpt"], "no model 'gpt'"),
        (["--super-category", "fish"], "choose one of"),
        (["--labels", "/no/such/file"], "cannot be read"),
    ],
)
def test_wrong_arguments_are_one_sentence(capsys, arguments, message):
    assert main(["identify", FLOWER, *arguments]) == 1
    assert message in capsys.readouterr().err
