"""Endpoints that fail in every way they can: answers are kept, the rest is told."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attribute_server import (
    KEY,
    MARKS,
    NAMES,
    PHOTOS,
    VALUES,
    extract,
    good,
    lines,
    reasons,
    said,
    step,
)

from core.errors import UserError

ROOT = Path(__file__).parents[3]


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
        (said("Here you are: cap red"), "it contains no JSON object ('Here you are: cap red')"),
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
    monkeypatch.setattr("train.attributes.runner.MAX_UNUSABLE", 3)
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


def test_a_server_that_refuses_the_newer_token_limit_is_asked_by_the_older(server, photos, work):
    newer = "max_completion_tokens"
    refusal = (422, {"detail": [{"loc": ["body", newer]}]}, {})
    server.reply = lambda request: refusal if newer in request else good(request)
    extract(work, photos, "--concurrency", 1)
    assert len(lines(work / "values.jsonl")) == PHOTOS
    assert len(server.requests) == PHOTOS + 1
    assert {request["max_tokens"] for request in server.requests[1:]} == {server.requests[0][newer]}
    assert all("response_format" in request for request in server.requests)


@pytest.mark.parametrize(
    "content",
    [
        'The user wants {"cap": ...} or {colour}.\n</think>\n\n%s',
        '<think>{"cap": "x"}?</think>```json\n%s\n```',
        [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "%s"}],
    ],
    ids=["half think", "think", "parts"],
)
def test_answers_of_models_that_think_are_read(server, photos, work, content):
    values = json.dumps(VALUES)
    parts = content.replace("%s", values) if isinstance(content, str) else [content[0], {**content[1], "text": values}]
    server.reply = lambda request: said(parts)
    extract(work, photos, "--limit", 1, "--tries", 1)
    assert {json.dumps(line["attributes"]) for line in lines(work / "values.jsonl")} == {values}
