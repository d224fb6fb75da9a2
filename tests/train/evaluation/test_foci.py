"""Asking FOCI's questions: of a scripted model, of one behind an endpoint, and of the default checkpoint's classes."""

import json
import threading

import pytest
import torch
from chat_server import chunk
from PIL import Image

from core.errors import UserError
from core.evaluation.foci_results import read_results, results_text
from core.models.endpoint_questions import EndpointQuestions
from core.models.openai_endpoint import EndpointError, EndpointSettings, ReplyError
from core.progress import run
from train.cli import main
from train.data.foci import find_photos, read_foci
from train.evaluation.foci import AnswerFile, ask_all, measure_foci
from train.evaluation.foci_tasks import Asking, tasks_of

OPTIONS = ["rose", "sunflower", "lotus", "azalea"]
ASKING = Asking("scripted", "v1", 0, 10)


@pytest.fixture
def data(tmp_path):
    """Six questions, of which the photos of five are there."""
    entries = [{"image": f"images/image_{i}.jpg", "options": OPTIONS, "groundtruth": "rose"} for i in range(6)]
    (tmp_path / "questions.json").write_text(json.dumps({"rose": entries}))
    (tmp_path / "photos").mkdir()
    for i in range(5):
        Image.new("RGB", (16, 16), (i, 0, 0)).save(tmp_path / "photos" / f"image_{i}.jpg")
    return tmp_path


class Scripted:
    """Replies with the letters of its script, "{truth}" standing for the right one, and counts its questions."""

    name = "scripted"

    def __init__(self, *script, scores=True):
        self.script, self.scores, self.asked, self.lock = script, scores, [], threading.Lock()

    def ask(self, photo, question, max_tokens):
        with self.lock:
            reply = self.script[len(self.asked) % len(self.script)]
            self.asked.append((question, max_tokens))
        if isinstance(reply, Exception):
            raise reply
        truth = next(line[0] for line in question.splitlines() if line.endswith(". rose"))
        return reply.format(truth=truth)

    def letter_scores(self, photo, question, count):
        return torch.tensor([-1.0, -2, -3, -4])[:count] if self.scores else None

    def reply_scores(self, photo, question, options):
        return self.name_scores(photo, question, options)

    def name_scores(self, photo, question, names):
        return torch.tensor([float(name == "rose") for name in names]) if self.scores else None


@pytest.fixture
def measured(data, monkeypatch):
    """Measure a scripted model; return the results and the lines of its answers."""
    foci = read_foci(data / "questions.json")
    photos = find_photos(data / "photos", foci)

    def measure(model, asking=ASKING, concurrency=1):
        monkeypatch.setattr("train.evaluation.foci.open_model", lambda name: model)
        result = measure_foci(foci, photos, asking, data / "results", concurrency, "python -m train evaluate")
        (file,) = (data / "results" / asking.model).glob(f"*-seed{asking.seed}.jsonl")
        return result, [json.loads(line) for line in file.read_text().splitlines()]

    return measure


def test_replies_without_a_letter_are_counted_and_wrong(measured):
    model = Scripted("{truth}", "The answer is {truth}.", "A flower", "", ReplyError("it refuses"))
    result, rows = measured(model)
    assert (result.n, result.official, result.failures) == (5, 6149, 3)
    assert result.correct["generated_letter"] == 2
    assert result.correct["generated_letter_foci_rule"] == 1 + (rows[2]["truth"] == "A")
    assert result.correct["letter_logprob"] == sum(row["truth"] == "A" for row in rows)
    assert result.correct["ranking"] == 5
    assert result.standard_error("generated_letter") == pytest.approx((0.4 * 0.6 / 5) ** 0.5)
    assert rows[1]["reply"] == f"The answer is {rows[1]['truth']}."
    assert [row["letter"] for row in rows] == [rows[0]["truth"], rows[1]["truth"], None, None, None]
    assert rows[4]["error"] == "it refuses"
    assert rows[0]["options"][ord(rows[0]["truth"]) - ord("A")] == "rose"
    question, tokens = model.asked[0]
    assert tokens == 10
    assert question.startswith("Which of these flowers is shown in the image?\nChoices:\nA. ")
    assert question.endswith("\nAnswer with the letter from the given choices directly.")


def test_a_seed_gives_all_models_the_same_options(measured):
    _, first = measured(Scripted("A"))
    _, second = measured(Scripted("B", scores=False), Asking("another", "v2", 0, 64), concurrency=4)
    assert {r["question"]: r["options"] for r in first} == {r["question"]: r["options"] for r in second}
    _, other = measured(Scripted("A"), Asking("scripted", "v1", 1, 10))
    assert {r["question"]: r["options"] for r in first} != {r["question"]: r["options"] for r in other}


def test_a_model_without_scores_has_no_such_columns(measured):
    result, rows = measured(Scripted("A", scores=False))
    assert set(result.correct) == {"generated_letter", "generated_letter_foci_rule"}
    assert (rows[0]["letter_scores"], rows[0]["ranking"]) == (None, None)


def test_a_model_that_does_not_write_has_no_failures(measured):
    model = Scripted("A")
    model.ask = lambda *_: None
    result, _ = measured(model)
    assert set(result.correct) == {"letter_logprob", "names_likelihood", "ranking"}
    assert result.failures == 0
    assert "replies" not in results_text(result)


def test_a_killed_run_continues_behind_its_last_whole_line(measured, data):
    whole, _ = measured(Scripted("{truth}"))
    file = data / "results" / "scripted" / "flower-102-seed0.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    model = Scripted("{truth}")
    again, rows = measured(model)
    assert len(model.asked) == 3
    assert [row["question"] for row in rows] == [json.loads(line)["question"] for line in lines]
    assert again.correct == whole.correct
    unused = Scripted("A")
    measured(unused)
    assert not unused.asked


@pytest.mark.parametrize("part", [{"key": []}, {"letter": "E"}, {"seconds": "long"}, {"ranking": []}, {"truth": None}])
def test_a_damaged_answer_is_one_sentence(measured, data, part):
    measured(Scripted("A"))
    file = data / "results" / "scripted" / "flower-102-seed0.jsonl"
    first, *others = file.read_text().splitlines()
    file.write_text("".join(line + "\n" for line in (json.dumps(json.loads(first) | part), *others)))
    with pytest.raises(UserError, match="line 1 is damaged: delete that line"):
        measured(Scripted("A"))


def test_answers_of_other_weights_are_not_continued(measured):
    measured(Scripted("A"))
    for other in (Asking("scripted", "v2", 0, 10), Asking("scripted", "v1", 0, 64)):
        with pytest.raises(UserError, match="other weights, questions or reply tokens"):
            measured(Scripted("A"), other)


def test_one_process_at_a_time_writes_a_file(measured, data):
    foci = read_foci(data / "questions.json")
    held = AnswerFile(data / "results" / "scripted" / "flower-102-seed0.jsonl", foci, ASKING)
    with pytest.raises(UserError, match="Another run writes"):
        measured(Scripted("A"))
    held.close()
    measured(Scripted("A"))


def test_a_question_that_an_endpoint_fails_on_is_asked_again_by_the_next_run(measured):
    with pytest.raises(UserError, match=r"2 questions have no reply yet \(busy\.\)"):
        measured(Scripted("A", EndpointError("busy.")))
    model = Scripted("A")
    result, rows = measured(model)
    assert (len(model.asked), result.n, len(rows)) == (2, 5, 5)


def test_a_wrong_key_stops_at_once(measured):
    model = Scripted(EndpointError("wrong key.", final=True))
    with pytest.raises(UserError, match="wrong key. The answers so far are saved"):
        measured(model)
    assert len(model.asked) == 1


def test_a_photo_that_cannot_be_read_is_left_out(measured, data, caplog):
    (data / "photos" / "image_3.jpg").write_bytes(b"no photo")
    result, _ = measured(Scripted("A"))
    assert result.n == 4
    assert "Left out: " in caplog.text


def test_progress_tells_the_time_left(data):
    foci = read_foci(data / "questions.json")
    tasks = tasks_of(foci, find_photos(data / "photos", foci), ASKING)
    answers, seen = AnswerFile(data / "answers.jsonl", foci, ASKING), []
    run(ask_all(Scripted("A"), tasks, answers, 10, 2), seen.append)
    answers.close()
    assert [round(step.fraction, 1) for step in seen] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert seen[0].message.startswith("1 of 5 questions, about ")


def test_an_endpoint_is_asked_greedily_with_the_photo(chat_server):
    chat_server.answer = [chunk("B"), chunk("", "length")]
    model = EndpointQuestions("endpoint:m", EndpointSettings(model="m", base_url=chat_server.url))
    photo = Image.new("RGB", (1000, 500))
    assert model.ask(photo, "Which?", 10) == "B"  # cut off at 10 tokens, as FOCI does
    (request,) = chat_server.requests
    assert (request["model"], request["temperature"], request["max_completion_tokens"]) == ("m", 0, 10)
    assert request["messages"][0]["content"][1]["text"] == "Which?"
    assert model.letter_scores(photo, "Which?", 4) is None
    assert model.name_scores(photo, "Which?", ["a", "b"]) is None


def test_the_command_measures_a_model_behind_an_endpoint(data, chat_server, monkeypatch, capsys):
    chat_server.answer = [chunk("The answer"), chunk(" is A."), chunk("", "stop"), "data: [DONE]\n\n"]
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    command = ["evaluate", "--foci", str(data / "questions.json"), "--data", str(data / "photos")]
    command += ["--results", str(data / "results"), "--model", "endpoint:org/m", "--reply-tokens", "64"]
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert main(command) == 1
    assert "set OPENAI_BASE_URL" in capsys.readouterr().err
    monkeypatch.setenv("OPENAI_BASE_URL", chat_server.url)
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "1 of 6 questions are about photos that are not there" in err
    assert "endpoint:org/m, flower-102: 5 of 6149 questions, seed 0" in out
    assert "generated letter, FOCI's rule" in out
    assert "at most 64 tokens" in out
    (result,) = read_results(data / "results")
    assert (result.reply_tokens, result.failures, len(chat_server.requests)) == (64, 0, 5)
    assert "--model endpoint:org/m --seed 0 --reply-tokens 64" in result.command
    assert (data / "results" / "endpoint_org_m" / "flower-102-seed0.jsonl").exists()
