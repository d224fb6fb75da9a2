"""Answers and attribute descriptions from a real server, `transformers serve`, with the embedded text model.

135 M parameters seldom write what is asked for: what counts here is that nothing is lost, repeated or let through.
"""

import json
import logging
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image
from reduced_models import save_reduced
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from core.data.images import open_photo, to_jpeg
from core.evaluation.sides import Asked, Remote, empty_output
from core.models.embedded import load_mllm
from core.models.endpoint_questions import EndpointQuestions
from core.models.openai_endpoint import PHOTO_SIDE, Endpoint, EndpointSettings, Limits
from core.taxonomy.prompts import closed_question
from core.zoo.registry import load
from train.attributes.photo_files import load_descriptions
from train.cli import main

START_SECONDS = 180  # the most that the server may take on a slow machine
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SEEN = {"cap": "red with white spots", "stem": "white and thick", "gills": "pale cream"}


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    """The embedded text model as a folder of its own."""
    folder = tmp_path_factory.mktemp("text-model")
    save_text_model(folder)
    yield str(folder)
    shutil.rmtree(folder)  # half a gigabyte


def save_text_model(folder):
    mllm = load_mllm(torch.float32)
    with torch.device("meta"):  # its weights are those of the base, not a copy of half a gigabyte
        model = LlamaForCausalLM(mllm.model.config.text_config)
    model.model = mllm.text_model
    model.tie_weights()
    model.generation_config.repetition_penalty = 1.15  # so small a model goes round in circles without
    model.save_pretrained(folder)
    names = {name: getattr(mllm.tokenizer, name) for name in ("bos_token", "eos_token", "pad_token")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=mllm.tokenizer.backend_tokenizer, **names)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)


@contextmanager
def serving(model, log):
    """The address of a server of a model's folder, which writes its log to a file."""
    host = "127.0.0.1"
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = str(probe.getsockname()[1])
    command = [Path(sys.executable).with_name("transformers"), "serve", model, "--host", host, "--port", port]
    with log.open("w") as file:
        server = subprocess.Popen([*command, "--device", "cpu"], stdout=file, stderr=file, env=os.environ)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"http://{host}:{port}/health", timeout=2).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.skip(f"transformers serve does not start here: {log.read_text()[-300:]}")
                time.sleep(0.2)
        yield f"http://{host}:{port}/v1"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def served(text_model, tmp_path_factory):
    """The address of the server of the text model."""
    with serving(text_model, tmp_path_factory.mktemp("serve") / "log.txt") as address:
        yield address


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


def test_a_real_server_answers(served, text_model):
    """It serves a text model, which reads the question and is not shown the photo."""
    endpoint = Endpoint(EndpointSettings(model=text_model, base_url=served, key=""), Limits(tokens=8))
    seen = list(endpoint.stream_reply("Say a word.", Image.new("RGB", (64, 64))))
    assert seen[-1].text.strip()
    assert seen[-1].tokens > 0
    assert [len(reply.text) for reply in seen] == sorted(len(reply.text) for reply in seen)


def test_unusable_values_are_quarantined_and_not_asked_for_again(
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


def test_a_model_of_the_hub_answers_through_a_server_as_in_process(tmp_path):
    """Its stand-in tokenizer writes bytes; a stream holds those back that are no whole character yet."""
    model = str(save_reduced("llava", tmp_path / "llava"))
    noise = Image.frombytes("RGB", (80, 60), random.Random(0).randbytes(80 * 60 * 3))
    photo = open_photo(to_jpeg(noise, PHOTO_SIDE, 85)).image  # as it is sent
    here = load(model)
    questions = [closed_question(None, ["a crow", "a wren"]), "What is it?", "What is in the image?"]
    with serving(model, tmp_path / "log.txt") as address:
        settings = EndpointSettings(model=model, base_url=address, key="")
        there = EndpointQuestions("endpoint:llava", settings)
        for question in questions:
            assert there.ask(noise, question, 8) == here.model.ask(photo, question, 8).rstrip("\ufffd")
        remote = Remote(Endpoint(settings, Limits(tokens=24, greedy=True)), noise, None)
        *_, answered = remote.identify(empty_output("there"))
    *_, own = Asked(here, here.label_space(), photo).identify(empty_output("here"))
    assert answered.result.answer == own.result.answer.rstrip("\ufffd")
