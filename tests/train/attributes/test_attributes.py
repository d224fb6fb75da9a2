"""Attribute descriptions from models, against a real HTTP server that fails in every way an endpoint can."""

import argparse
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from PIL import Image

from core.errors import UserError
from core.taxonomy import categories as knowledge
from core.taxonomy.categories import SuperCategory, categories, find_category, super_categories
from core.taxonomy.descriptions import describe, parse_description
from train import attributes
from train.attributes.photo_files import load_descriptions
from train.attributes.validation import InvalidAnswer, clean, read_description, read_values, values_model

ROOT = Path(__file__).parents[3]
KEY = "sk-do-not-show-0123456789"
MARKS = ["cap", "gills", "stem", "ring", "flesh"]
VALUES = dict.fromkeys(MARKS, "red with white flakes")
TEXT = (
    "The cap is red with white flakes. Its gills are pale. The stem is white. A ring hangs from it. The flesh is white."
)
NAMES = ("Fly Agaric", "Death Cap")
PHOTOS = 8


def said(text: str, **message) -> dict:
    """A chat completion."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


class Server(ThreadingHTTPServer):
    """Answers with what `script` holds, in order, and then with what `reply(request)` returns.

    An answer is a text, a body, (status, body, headers), "drop", or a number of seconds before a good answer.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list = []
        self.reply = lambda request: good(request)
        self.requests: list[dict] = []
        self.times: list[float] = []
        self.active = self.most_active = 0
        self.lock = threading.Lock()

    def handle_error(self, request, client_address) -> None:
        """A client that hung up is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append(request)
            server.times.append(time.monotonic())
            server.active += 1
            server.most_active = max(server.most_active, server.active)
            answer = server.script.pop(0) if server.script else server.reply(request)
        if isinstance(answer, float):
            time.sleep(answer)
            answer = good(request)
        with server.lock:
            server.active -= 1
        if answer == "drop":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, body, headers = answer if isinstance(answer, tuple) else (200, answer, {})
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def question(request: dict) -> str:
    """The text of the first message."""
    content = request["messages"][0]["content"]
    return content if isinstance(content, str) else content[1]["text"]


def good(request: dict) -> dict:
    """What a capable model answers in each of the steps."""
    text = question(request)
    if text.startswith("You help"):
        return said(json.dumps({"attributes": MARKS}))
    return said(json.dumps(VALUES) if text.startswith("The photo shows") else TEXT)


@pytest.fixture
def server(monkeypatch):
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.02)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Class folders of mushrooms, which no table knows."""
    folder, rng = tmp_path_factory.mktemp("photos") / "mushrooms", random.Random(0)
    for i in range(PHOTOS):
        path = folder / NAMES[i % 2].replace(" ", "_") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (8, 8), rng.randbytes(192)).resize((64, 64)).save(path)
    return folder


@pytest.fixture
def work(tmp_path):
    """The folder of the mushrooms after discovery."""
    folder = tmp_path / "work" / "mushroom"
    folder.mkdir(parents=True)
    table = {"super_category": "mushroom", "noun": "mushroom", "rank": "species", "attributes": MARKS}
    (folder / "super_category.yaml").write_text(yaml.safe_dump(table))
    return folder


def step(name: str, work: Path, *arguments: str) -> None:
    parser = argparse.ArgumentParser()
    attributes.add_arguments(parser)
    attributes.run(
        parser.parse_args([name, "--super-category", work.name, "--work", str(work.parent), *map(str, arguments)])
    )


def extract(work: Path, photos: Path, *arguments: object) -> None:
    step("extract", work, "--vlm-model", "m", "--data", photos, *arguments)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def reasons(work: Path) -> list[str]:
    return [entry["reason"] for entry in lines(work / "quarantine.jsonl")]


def test_three_steps_and_a_table_that_the_app_understands(server, photos, tmp_path, monkeypatch):
    work = tmp_path / "work" / "mushroom"
    step("discover", work, "--llm-model", "m", "--rank", "species")
    extract(work, photos)
    step("summarise", work, "--llm-model", "m")
    assert len(server.requests) == 1 + 2 * PHOTOS
    image = server.requests[1]["messages"][0]["content"][0]["image_url"]["url"]
    assert image.startswith("data:image/jpeg;base64,")
    schema = server.requests[1]["response_format"]["json_schema"]["schema"]
    assert (list(schema["properties"]), schema["required"], schema["additionalProperties"]) == (MARKS, MARKS, False)

    described = lines(work / "descriptions.jsonl")
    assert Counter(line["category"] for line in described) == dict.fromkeys(NAMES, PHOTOS // 2)
    assert all(line["attributes"] == VALUES and line["description"] == TEXT for line in described)
    assert load_descriptions(work / "descriptions.jsonl") == {line["sha256"]: TEXT for line in described}

    step("table", work, "--out", tmp_path / "tables" / "mushroom.yaml")
    monkeypatch.setattr(knowledge, "ATTRIBUTES_FOLDER", tmp_path / "tables")
    caches = (knowledge.categories, knowledge.super_categories, knowledge._by_spelling)
    for cached in caches:
        cached.cache_clear()
    try:
        assert list(super_categories()) == ["mushroom"]
        category = find_category("fly_agaric")
        assert (category.super_category.rank, category.values) == ("species", VALUES)
        assert parse_description(describe(category), category.super_category) == VALUES
    finally:
        for cached in caches:
            cached.cache_clear()


def test_backoff_after_429_500_timeout_and_a_dropped_connection(server, photos, work):
    server.script = [(429, {}, {"Retry-After": "0.4"}), (500, {}, {}), "drop", 1.5]
    extract(work, photos, "--limit", 1, "--concurrency", 1, "--timeout", 0.5)
    waits = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert waits[0] >= 0.4  # what the server asked for
    assert waits[1] >= 0.02 * 2 * 0.75  # exponential, less a quarter of jitter
    assert waits[2] >= 0.02 * 4 * 0.75
    assert waits[3] >= 0.5  # the time-out
    assert len(lines(work / "values.jsonl")) == 2
    assert not (work / "quarantine.jsonl").exists()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (said("Here you are: cap red"), "it holds no JSON object ('Here you are: cap red')"),
        (said('{"cap": "red",}'), "JSON: Invalid JSON"),
        (said(json.dumps({**VALUES, "hat": "red"})), "hat: Extra inputs are not permitted"),
        (said(json.dumps({"cap": "red"})), "gills: Field required"),
        (said(json.dumps({**VALUES, "cap": "x" * 500})), "cap: Value error, the value is longer than 80 characters"),
        (said(json.dumps({**VALUES, "cap": ["red"]})), "cap: Input should be a valid string"),
        (said(json.dumps({**VALUES, "cap": "that of a death-cap"})), "a value names the Death Cap"),
        (said(json.dumps(dict.fromkeys(MARKS, "Not clearly visible."))), "none of the attributes is visible"),
        (said("", refusal="I will not"), "refuses to answer (I will not)"),
        ({"choices": []}, "is not a chat completion"),
        ("<html>", "is not a chat completion"),
        ((200, "<html>", {"Content-Type": "text/html"}), "is not a chat completion"),
    ],
)
def test_a_bad_answer_is_asked_for_again_then_quarantined_and_the_run_goes_on(server, photos, work, answer, reason):
    server.script = [answer]
    extract(work, photos, "--limit", 1, "--concurrency", 1)
    assert not reasons(work)
    _, *told = server.requests[1]["messages"]
    assert not told or (told[0]["role"], reason in told[1]["content"]) == ("assistant", True)

    server.requests.clear()
    (work / "extract.jsonl").unlink()
    server.script = [answer] * 3
    extract(work, photos, "--limit", 1, "--concurrency", 1)
    (given,) = reasons(work)
    assert given.startswith("after 3 tries: ")
    assert reason in given
    assert [line["category"] for line in lines(work / "values.jsonl")] == [NAMES[0]]

    server.requests.clear()
    extract(work, photos, "--limit", 1)
    assert not server.requests  # neither the answered photo nor the quarantined one


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TEXT.replace("The cap", "The cap of this Death Cap"), "it names the Death Cap"),
        ("I'm sorry, but I can't help with that.", "it refuses"),
        ("- cap: red\n- gills: pale", "a list or a title"),
        ("A red cap.", "it has 1 complete sentences"),
        ("A red cap. " * 200, "longer than 1500"),
        (" \n ", "it is empty"),
    ],
)
def test_descriptions_that_are_none(text, reason):
    with pytest.raises(InvalidAnswer, match=reason):
        read_description(text, ("Death Cap", "Amanita phalloides"))


def test_text_of_a_model_is_cleaned(work):
    assert clean("a\x00\x1b[31m\u202eb\n\u200b c\u2019s") == "a [31m b c's"
    assert read_description(f"<think>Is it the Death Cap?</think>\n{TEXT}\x07", ("Death Cap",))["description"] == TEXT
    group = SuperCategory("m", "m", "kind", ("cap", "stem shape"))
    answer = '```json\n{"cap": "Is RED; with <b>white</b> flakes.", "stem shape": "n/a"}\n```'
    values = read_values(answer, values_model(group), ())
    assert values == {"cap": "red with b white /b flakes", "stem shape": "not visible"}


def test_a_stopped_run_continues_where_it_was(server, photos, work):
    server.script = [good({"messages": [{"content": "The photo shows"}]})] * 3 + [(401, {"error": "no"}, {})]
    with pytest.raises(UserError, match="does not accept the API key"):
        extract(work, photos, "--concurrency", 1)
    assert len(lines(work / "extract.jsonl")) == 3
    assert not reasons(work)
    asked = len(server.requests)
    with (work / "extract.jsonl").open("ab") as file:
        file.write(b'{"key": "half-written \xc3')
    extract(work, photos)
    assert len(server.requests) - asked == PHOTOS - 3
    assert len(lines(work / "extract.jsonl")) == len(lines(work / "values.jsonl")) == PHOTOS
    extract(work, photos)
    assert len(server.requests) - asked == PHOTOS - 3
    extract(work, photos, "--vlm-model", "another")
    assert len(server.requests) - asked == 2 * PHOTOS - 3


def test_what_is_under_way_when_a_run_stops_is_kept(server, photos, work):
    server.script = [0.5, (401, {"error": "no"}, {})]
    with pytest.raises(UserError, match="does not accept the API key"):
        extract(work, photos, "--concurrency", 2)
    assert len(server.requests) == 2
    assert len(lines(work / "extract.jsonl")) == 1


def test_a_killed_run_loses_nothing_and_repeats_no_answered_question(server, photos, work):
    server.reply = lambda request: 0.3
    arguments = ["--super-category", "mushroom", "--work", work.parent, "--vlm-model", "m", "--data", photos]
    script = (
        "import argparse, train.attributes as a; p = argparse.ArgumentParser(); a.add_arguments(p); "
        f"a.run(p.parse_args({['extract', *map(str, arguments), '--concurrency', '1']}))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    journal = work / "extract.jsonl"
    deadline = time.monotonic() + 60
    while len(lines(journal) if journal.exists() else []) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # until the server is done with the killed client's last request
    kept, asked = len(lines(journal)), len(server.requests)
    assert 3 <= kept < PHOTOS
    server.reply = good
    extract(work, photos)
    assert len(server.requests) - asked == PHOTOS - kept
    assert len({entry["key"] for entry in lines(journal)}) == len(lines(journal)) == PHOTOS


def test_a_damaged_line_is_named(server, photos, work):
    (work / "extract.jsonl").write_text('{"key": "1", "answer": {}}\nnonsense\n')
    with pytest.raises(UserError, match=r"extract\.jsonl, line 2 is damaged"):
        extract(work, photos)
    assert not server.requests


def test_no_more_questions_at_a_time_than_allowed(server, photos, work):
    server.reply = lambda request: 0.15
    extract(work, photos, "--concurrency", 3)
    assert server.most_active == 3


def test_an_item_that_fails_alone_is_quarantined(server, photos, work):
    good_answer = good({"messages": [{"content": "The photo shows"}]})
    server.script = [good_answer, (500, {"error": "out of cheese"}, {}), (400, {}, {}), (400, {}, {}), good_answer]
    extract(work, photos, "--concurrency", 1, "--retries", 0)
    assert len(lines(work / "values.jsonl")) == PHOTOS - 2
    assert ["500" in reason for reason in reasons(work)] == [True, False]
    (work / "quarantine.jsonl").unlink()
    server.reply = lambda request: (500, {"error": "out of cheese"}, {})
    extract(work, photos, "--retries", 0)  # only those two are left
    assert len(reasons(work)) == 2


def test_a_photo_that_cannot_be_read_is_told_and_left_out(server, photos, work, tmp_path, caplog):
    broken = tmp_path / "data"
    for path in photos.glob("*/*.png"):
        copy = broken / path.relative_to(photos)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes()[: 60 if path.stem == "0" else None])
    extract(work, broken)
    assert len(lines(work / "values.jsonl")) == PHOTOS - 1
    assert "0.png: The image file is damaged" in caplog.text
    assert f"1 of {PHOTOS} photos cannot be read and are left out." in caplog.text


@pytest.mark.parametrize("status", [500, 429, 403, 400])
def test_an_endpoint_that_fails_every_time_stops_the_run(server, photos, work, status):
    server.reply = lambda request: (status, {"error": {"message": "closed today"}}, {})
    with pytest.raises(UserError, match=f"{status}.*closed today"):
        extract(work, photos, "--retries", 0)
    assert not reasons(work)
    assert len(server.requests) <= 2 * PHOTOS
    with pytest.raises(UserError, match="closed today"):
        extract(work, photos, "--retries", 0, "--limit", 1)
    assert not reasons(work)


def test_a_model_that_does_not_exist_stops_the_run(server, photos, work):
    server.reply = lambda request: (404, {"error": {"message": "no model m"}}, {})
    with pytest.raises(UserError, match="no model m"):
        extract(work, photos, "--concurrency", 1)
    assert len(server.requests) == 1


def test_an_address_where_nothing_listens_stops_the_run(server, photos, work, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://{address}/v1")
    with pytest.raises(UserError, match=f"^m at {address} cannot be reached"):
        extract(work, photos, "--retries", 1)
    assert not reasons(work)


def test_a_password_in_the_address_is_refused_and_not_shown(server, photos, work, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://user:hidden-word@127.0.0.1:{server.server_address[1]}/v1")
    with pytest.raises(UserError, match="must have no user name, password") as error:
        extract(work, photos)
    assert "hidden-word" not in str(error.value)
    assert not server.requests


def test_without_endpoint_or_key_one_sentence_says_so(photos, work, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(UserError, match="set OPENAI_API_KEY, and OPENAI_BASE_URL"):
        extract(work, photos)
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    with pytest.raises(UserError, match="must look like http"):
        extract(work, photos)


def test_when_no_answer_can_be_used_the_exit_status_says_so(server, photos, work, capsys):
    from train.cli import main

    server.reply = lambda request: said("no")
    arguments = ["--super-category", "mushroom", "--work", str(work.parent), "--vlm-model", "m", "--data", str(photos)]
    assert main(["attributes", "extract", *arguments, "--tries", "1"]) == 1
    assert f"None of {PHOTOS} answers can be used" in capsys.readouterr().err
    assert len(reasons(work)) == PHOTOS
    assert main(["attributes", "extract", *arguments, "--tries", "1"]) == 1
    assert len(server.requests) == PHOTOS
    (work / "quarantine.jsonl").unlink()
    server.reply = good
    assert main(["attributes", "extract", *arguments]) == 0


def test_a_model_that_cannot_do_it_is_not_asked_for_ever(server, photos, work, monkeypatch):
    monkeypatch.setattr("train.attributes.runner.UNUSABLE_ITEMS", 3)
    server.reply = lambda request: said("no")
    with pytest.raises(UserError, match="None of the first 3 answers"):
        extract(work, photos, "--tries", 1, "--concurrency", 1)
    assert len(server.requests) <= 5


def test_the_key_is_shown_and_written_nowhere(server, photos, work, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    server.script = [
        said(f"your key is {KEY}"),
        said(json.dumps({**VALUES, "cap": KEY})),
        (400, {"error": {"message": f"bad key {KEY}"}}, {}),
        (400, {"error": {"message": f"bad key {KEY}"}}, {}),
    ]
    extract(work, photos, "--concurrency", 1, "--tries", 1)
    server.reply = lambda request: (500, {"error": {"message": f"Bearer {KEY} has no credit"}}, {})
    with pytest.raises(UserError) as error:
        step("summarise", work, "--llm-model", "m", "--retries", 1)
    shown = capfd.readouterr()
    files = [path.read_text() for path in work.rglob("*") if path.is_file()]
    assert len(reasons(work)) == 2
    for text in (str(error.value), caplog.text, shown.out, shown.err, *files):
        assert KEY not in text
    assert "[key] has no credit" in str(error.value)


def test_a_server_that_refuses_schemas_is_asked_without(server, photos, work):
    server.reply = lambda request: (400, {"error": "schema"}, {}) if "response_format" in request else good(request)
    extract(work, photos, "--concurrency", 1)
    assert len(lines(work / "values.jsonl")) == PHOTOS
    assert len(server.requests) == PHOTOS + 1


def test_a_dry_run_shows_the_prompt_and_the_estimate_and_asks_nothing(
    server, photos, tmp_path, work, capsys, monkeypatch
):
    monkeypatch.delenv("OPENAI_API_KEY")
    before = sorted(work.rglob("*"))
    extract(work, photos, "--dry-run", "--price-in", 100, "--price-out", 200)
    out = capsys.readouterr().out
    assert f"{PHOTOS} calls, roughly" in out
    assert "costing 1" in out
    assert "The photo shows a mushroom." in out
    assert '{"cap": "...", "gills": "...", "stem": "...", "ring": "...", "flesh": "..."}' in out
    step("discover", tmp_path / "none" / "mushroom", "--llm-model", "m", "--dry-run")
    assert "Which visual attributes of a mushroom" in capsys.readouterr().out
    assert not server.requests
    assert sorted(work.rglob("*")) == before
    assert not (tmp_path / "none").exists()


def test_two_commands_do_not_ask_the_same_at_once(server, photos, work):
    from filelock import FileLock

    with FileLock(work / ".lock"), pytest.raises(UserError, match="Another command is at work"):
        extract(work, photos)
    assert not server.requests


def test_discovery_is_checked_and_kept(server, photos, tmp_path):
    work = tmp_path / "work" / "mushroom"
    with pytest.raises(UserError, match=r"run `python -m train attributes discover` first"):
        extract(work, photos)
    server.script = [said('{"attributes": ["cap", "cap", "gills"]}'), said('{"attributes": ["1", "2", "3", "4", "5"]}')]
    step("discover", work, "--llm-model", "m")
    asked = [request["messages"][2]["content"] for request in server.requests[1:]]
    assert "2 different attributes instead of 5 to 12" in asked[0]
    assert "'1' is not an attribute's name" in asked[1]
    table = yaml.safe_load((work / "super_category.yaml").read_text())
    assert table == {"super_category": "mushroom", "noun": "mushroom", "rank": "kind", "attributes": MARKS}
    step("discover", work, "--llm-model", "m")
    assert len(server.requests) == 3
    (work / "super_category.yaml").write_text("attributes: [cap]")
    with pytest.raises(UserError, match="does not hold noun, rank and 5 to 12 attributes"):
        extract(work, photos)


def test_a_name_cannot_lead_out_of_the_folder(tmp_path):
    with pytest.raises(UserError, match="letters, digits, spaces"):
        step("discover", tmp_path / "x" / "..", "--llm-model", "m")


@pytest.fixture
def waxwings(tmp_path):
    """Pictures under the names of two birds that the tables know, and of a dog, which is left out."""
    for i, name in enumerate(["Cedar_Waxwing", "Bohemian_Waxwing", "beagle"]):
        path = tmp_path / "birds" / name / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (64, 64), (i * 80, 120, 60)).save(path)
    return tmp_path / "birds"


def test_descriptions_from_the_knowledge_tables_need_no_endpoint(waxwings, tmp_path):
    work = tmp_path / "work" / "bird"
    step("extract", work, "--vlm-model", "knowledge", "--data", waxwings)
    step("summarise", work, "--llm-model", "template")
    described = {line["category"]: line for line in lines(work / "descriptions.jsonl")}
    assert set(described) == {"Cedar Waxwing", "Bohemian Waxwing"}
    for name, line in described.items():
        assert line["attributes"] == categories()[name].values
        assert line["description"] == describe(categories()[name])
    assert len(load_descriptions(work / "descriptions.jsonl")) == 2


def test_a_model_of_the_zoo_reads_the_values_in_process(waxwings, tmp_path, recogniser, monkeypatch):
    monkeypatch.setattr("train.attributes.answerers.load", lambda name: recogniser)
    work = tmp_path / "work" / "bird"
    step("extract", work, "--vlm-model", "zoo:finedefics-tiny", "--data", waxwings)
    read = lines(work / "values.jsonl")
    assert len(read) == 2
    assert all(list(line["attributes"]) == list(super_categories()["bird"].attributes) for line in read)

    def unwanted(name: str) -> None:
        raise AssertionError("everything is known")

    monkeypatch.setattr("train.attributes.answerers.load", unwanted)
    step("extract", work, "--vlm-model", "zoo:finedefics-tiny", "--data", waxwings)
    with pytest.raises(UserError, match="There is no model 'none'"):
        step("extract", work, "--vlm-model", "zoo:none", "--data", waxwings)


def test_the_table_has_the_most_frequent_values(work, tmp_path):
    caps = ["red", "brown", "red", "not visible", "brown", "not visible", "not visible"]
    with (work / "values.jsonl").open("w") as file:
        for i, cap in enumerate(caps):
            values = {**VALUES, "cap": cap, "ring": "not visible"}
            file.write(json.dumps({"sha256": f"{i:064x}", "category": "Death Cap", "attributes": values}) + "\n")
    out = tmp_path / "mushroom.yaml"
    step("table", work, "--out", out)
    values = yaml.safe_load(out.read_text())["categories"]["Death Cap"]["values"]
    assert values == {**VALUES, "cap": "brown", "ring": "not visible"}  # of two equally frequent ones, by the alphabet
    with pytest.raises(UserError, match="exists already: give --force"):
        step("table", work, "--out", out)
    step("table", work, "--out", out, "--force")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "12"}, "line 2: sha256: "),
        ({"description": " "}, "line 2: description: "),
        ({"attributes": {}}, "line 2: attributes: "),
        ({"price": 1}, "line 2: price: "),
        ({"sha256": "0" * 64}, "line 2: the photo 000000000000 is listed twice"),
        ({"description": "A Death Cap."}, "the photo 111111111111 is unfit: it names the Death Cap"),
    ],
)
def test_a_bad_line_of_descriptions_is_named(tmp_path, change, message):
    first = {"sha256": "0" * 64, "category": "Death Cap", "attributes": {"cap": "green"}, "description": TEXT}
    path = tmp_path / "descriptions.jsonl"
    path.write_text("\n".join(map(json.dumps, [first, {**first, "sha256": "1" * 64, **change}])))
    with pytest.raises(UserError, match=message):
        load_descriptions(path)


@pytest.mark.parametrize(
    ("text", "message"), [("", "lists no photos"), ("{", "line 1: JSON: "), (None, "cannot be read")]
)
def test_no_descriptions_at_all(tmp_path, text, message):
    path = tmp_path / "descriptions.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_descriptions(path)
