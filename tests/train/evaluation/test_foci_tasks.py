"""Controls, rotations and likelihoods, of models whose answers are known: one says B, one reads a photo's colour."""

import json
import random

import pytest
import torch
from PIL import Image

from core.errors import UserError
from core.evaluation.foci_answers import read_answers
from core.evaluation.foci_results import (
    COLUMNS,
    CONTROLS,
    GREY,
    LIKELIHOOD,
    LOGPROB,
    OTHER,
    RANKING,
    ROTATED,
    results_text,
)
from train.cli import main
from train.data.foci import find_photos, read_foci
from train.evaluation.foci import measure_foci
from train.evaluation.foci_tasks import Asking, control_tasks

COLOURS = {"cup": "red", "mug": "lime", "jar": "blue", "can": "yellow", "pot": "magenta", "pan": "cyan"}
NAMES = list(COLOURS)
LETTER_COLUMNS = ("generated_letter", "generated_letter_foci_rule", LOGPROB)
ASKING = Asking("known", "v1", 0, 10)


def options_of(question):
    return [line[3:] for line in question.splitlines() if line[1:3] == ". "]


class SaysB:
    """Prefers a letter whatever the options are, B by far, and a name by its place in the alphabet."""

    name = "known"

    def __init__(self):
        self.photos, self.prompts = [], []

    def ask(self, photo, question, max_tokens):
        self.photos.append(photo)
        return "B"

    def letter_scores(self, photo, question, count):
        self.prompts.append(question)
        return torch.tensor([-4.0, -1.0, -5.0, -6.0])

    def name_scores(self, photo, question, names):
        return self.reply_scores(photo, question, names)

    def reply_scores(self, photo, question, options):
        return torch.tensor([-float(NAMES.index(name)) for name in options])


class ReadsColour(SaysB):
    """Knows the name of a photo's colour, and likes the letter A somewhat; a colour of no option is A."""

    def right(self, photo, options):
        name = next(
            (name for name in options if Image.new("RGB", (1, 1), COLOURS[name]).getpixel((0, 0)) == photo), None
        )
        return torch.tensor([2.0 * (option == name) for option in options])

    def ask(self, photo, question, max_tokens):
        self.photos.append(photo)
        return "ABCD"[int(self.letter_scores(photo, question, 4).argmax())]

    def letter_scores(self, photo, question, count):
        self.prompts.append(question)
        return self.right(photo.getpixel((0, 0)), options_of(question)) + torch.tensor([1.0, 0, 0, 0])

    def reply_scores(self, photo, question, options):
        return self.right(photo.getpixel((0, 0)), options)


@pytest.fixture
def data(tmp_path):
    """Four photos of each of six things, each in its colour, and a question about each photo."""
    table, rng = {name: [] for name in NAMES}, random.Random(0)
    (tmp_path / "photos").mkdir()
    for name, entries in table.items():
        for i in range(4):
            Image.new("RGB", (20, 10 + i), COLOURS[name]).save(tmp_path / "photos" / f"{name}{i}.png")
            others = rng.sample([other for other in NAMES if other != name], 3)
            entries.append({"image": f"{name}{i}.png", "options": [name, *others], "groundtruth": name})
    (tmp_path / "things.json").write_text(json.dumps(table))
    return tmp_path


@pytest.fixture
def measured(data, monkeypatch):
    """Measure a model; return the results, and the last line of each question and control."""
    foci = read_foci(data / "things.json")
    photos = find_photos(data / "photos", foci)

    def measure(model, **flags):
        monkeypatch.setattr("train.evaluation.foci.open_model", lambda name: model)
        result = measure_foci(foci, photos, ASKING, data / "results", 1, "python -m train evaluate", **flags)
        text = (data / "results" / "known" / "things-seed0.jsonl").read_text()
        return result, list({row["key"]: row for row in map(json.loads, text.splitlines())}.values())

    return measure


def shares(rows):
    """How many of the questions have the truth at A and at B."""
    truths = [row["truth"] for row in rows if not row["control"]]
    return truths.count("A"), truths.count("B")


def test_a_model_that_says_b_is_right_where_b_is_with_any_photo(measured):
    model = SaysB()
    result, rows = measured(model, controls=True, rotations=True)
    at_a, at_b = shares(rows)
    assert {column: result.correct[column] for column in LETTER_COLUMNS} == dict.fromkeys(LETTER_COLUMNS, at_b)
    assert result.correct[ROTATED] == at_a  # all options are equal then: the first counts
    first = sum(min(row["options"], key=NAMES.index) == row["options"]["ABCD".index(row["truth"])] for row in rows[:24])
    assert result.correct[LIKELIHOOD] == result.correct[RANKING] == first
    for control in CONTROLS:
        assert result.controls[control].n == 24
        assert result.controls[control].correct == {**dict.fromkeys(LETTER_COLUMNS, at_b), ROTATED: at_a}
    assert (len(model.photos), len(model.prompts)) == (72, 288)


def test_a_model_that_reads_the_photo_is_right_with_it_alone(measured):
    result, rows = measured(ReadsColour(), controls=True, rotations=True)
    at_a, _ = shares(rows)
    assert result.correct == dict.fromkeys([*LETTER_COLUMNS, ROTATED, LIKELIHOOD, RANKING], 24)
    for control in CONTROLS:
        assert result.controls[control].correct == dict.fromkeys([*LETTER_COLUMNS, ROTATED], at_a)
    text = results_text(result)
    grey = "  with a grey photo".ljust(len(COLUMNS[ROTATED]) + 2)
    assert text.count(f"{grey}{result.controls[GREY].text(LOGPROB)} (24)\n") == 4
    assert text.count("with another category's photo") == 4
    assert "likelihood of the names after the closed prompt" in text


def test_the_rotations_give_every_option_every_letter_once(measured):
    model = ReadsColour()
    _, rows = measured(model, rotations=True)
    assert len(set(model.prompts[1:5])) == 4  # the first is of the reply
    for place in range(4):
        assert sorted(options_of(prompt)[place] for prompt in model.prompts[1:5]) == sorted(rows[0]["options"])
    for row in rows:
        right = [2.25 if letter == row["truth"] else 0.25 for letter in "ABCD"]
        assert row["rotated"] == right


def test_control_photos_are_grey_or_of_none_of_the_options(measured, data):
    model = SaysB()
    _, rows = measured(model, controls=True)
    by_control = {control: [row for row in rows if row["control"] == control] for control in ("", GREY, OTHER)}
    for photo, row in zip(model.photos[24:48], by_control[GREY], strict=True):
        with Image.open(row["photo"]) as own:
            assert photo.size == own.size
        assert photo.getcolors() == [(photo.width * photo.height, (127, 127, 127))]
    for own, row in zip(by_control[""], by_control[OTHER], strict=True):
        assert (row["question"], row["options"]) == (own["question"], own["options"])
        assert row["photo"].rsplit("/", 1)[1][:3] not in row["options"]
    assert len({row["photo"] for row in by_control[OTHER]}) > 6
    assert all("ranking" not in row for row in by_control[OTHER])
    answers = read_answers(data / "results" / "known" / "things-seed0.jsonl")
    assert [answer.photo for answer in answers.values()] == [row["photo"] for row in by_control[""]]


def test_controls_and_rotations_are_added_to_a_run_that_has_none(measured):
    plain, _ = measured(SaysB())
    assert plain.controls == {}
    assert ROTATED not in plain.correct
    model = SaysB()
    rotated, _ = measured(model, rotations=True)
    assert (len(model.photos), len(model.prompts)) == (0, 72)
    controlled, _ = measured(SaysB(), controls=True)
    assert {control: counted.n for control, counted in controlled.controls.items()} == {GREY: 24, OTHER: 24}
    assert ROTATED not in controlled.controls[GREY].correct
    idle = SaysB()
    again, _ = measured(idle)
    assert not idle.photos
    assert (again.correct, again.controls) == (rotated.correct, controlled.controls)


def test_what_an_answer_of_an_earlier_version_lacks_is_asked(measured, data):
    whole, rows = measured(SaysB())
    file = data / "results" / "known" / "things-seed0.jsonl"
    file.write_text("".join(f"{json.dumps({k: v for k, v in row.items() if k != 'likelihood'})}\n" for row in rows))
    model = SaysB()
    again, _ = measured(model)
    assert (len(model.photos), again.correct) == (0, whole.correct)


def test_a_control_needs_photos_of_a_fifth_category(data):
    for name in ("pot", "pan"):
        for photo in (data / "photos").glob(f"{name}*"):
            photo.unlink()
    entries = {name: [{"image": f"{name}0.png", "options": NAMES[:4], "groundtruth": name}] for name in NAMES[:4]}
    (data / "four.json").write_text(json.dumps(entries))
    foci = read_foci(data / "four.json")
    with pytest.raises(UserError, match="add photos of a fifth category, or leave out --controls"):
        control_tasks(foci, find_photos(data / "photos", foci), ASKING)


def test_controls_are_of_questions(capsys):
    assert main(["evaluate", "--data", "photos", "--controls"]) == 1
    assert "name the questions with --foci" in capsys.readouterr().err
