"""Attribute descriptions from a real server, `transformers serve`, with the embedded text model.

135 M parameters seldom write what is asked for: what counts here is that nothing is lost, repeated or let through.
"""

import json
import logging
import random
import re
import socket
from pathlib import Path

import pytest
from PIL import Image

from train.attributes.photo_files import load_descriptions
from train.cli import main

SEEN = {"cap": "red with white spots", "stem": "white and thick", "gills": "pale cream"}


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def endpoint(served, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", served)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work" / "mushroom"
    folder.mkdir(parents=True)
    marks = ", ".join([*SEEN, "ring", "flesh"])
    (folder / "super_category.yaml").write_text(f"noun: mushroom\nrank: species\nattributes: [{marks}]\n")
    return folder


def run(step: str, work: Path, *arguments: str) -> int:
    return main(["attributes", step, "--super-category", work.name, "--work", str(work.parent), *arguments])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_values_that_are_no_json_are_quarantined_and_not_asked_for_again(
    endpoint, text_model, work, tmp_path, monkeypatch, capsys
):
    rng = random.Random(0)
    for name in ("Fly_Agaric", "Death_Cap"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.frombytes("RGB", (64, 64), rng.randbytes(64 * 64 * 3)).save(tmp_path / "photos" / name / "0.png")
    arguments = ["--data", str(tmp_path / "photos"), "--vlm-model", text_model, "--max-tokens", "25", "--tries", "2"]
    assert run("extract", work, *arguments) == 1
    assert "None of 2 answers can be used" in capsys.readouterr().err
    assert all(entry["reason"].startswith("after 2 tries: ") for entry in lines(work / "quarantine.jsonl"))

    monkeypatch.setenv("OPENAI_BASE_URL", f"http://{free_address()}/v1")  # where nobody could be asked
    assert run("extract", work, *arguments) == 1
    assert "None of 2 answers can be used" in capsys.readouterr().err
    assert len(lines(work / "quarantine.jsonl")) == 2


def test_descriptions_are_kept_or_quarantined(endpoint, text_model, work, caplog):
    caplog.set_level(logging.INFO)
    categories = ["Fly Agaric", "Mushroom"]  # the second one cannot be described without being named
    photos = [{"sha256": f"{i:064x}", "category": c, "attributes": SEEN} for i, c in enumerate(categories)]
    (work / "values.jsonl").write_text("".join(json.dumps(photo) + "\n" for photo in photos))
    run("summarise", work, "--llm-model", text_model, "--max-tokens", "200", "--tries", "1", "--concurrency", "1")
    assert re.search(r"used [1-9]\d* tokens in, [1-9]\d* out", caplog.text)  # as the server counted them
    kept, refused = lines(work / "descriptions.jsonl"), lines(work / "quarantine.jsonl")
    assert sorted(entry["category"] for entry in (*kept, *refused)) == categories
    assert "Mushroom" in [entry["category"] for entry in refused]
    if kept:
        assert "mushroom" in load_descriptions(work / "descriptions.jsonl")[photos[0]["sha256"]].lower()


def test_a_model_that_is_not_served_stops_the_run(endpoint, work, capsys):
    (work / "super_category.yaml").unlink()
    assert run("discover", work, "--llm-model", "another") == 1
    assert "400: " in capsys.readouterr().err
    assert not (work / "quarantine.jsonl").exists()
