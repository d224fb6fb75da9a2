"""Which photos `python -m train evaluate` counts, by what the model was trained on."""

from pathlib import Path

import pytest

from core.errors import UserError
from train.cli.evaluate import measurable
from train.data.records import Record


def records(*categories, data_set="birds"):
    return [Record(Path(f"{i}.jpg"), category, data_set, str(i)) for i, category in enumerate(categories)]


def test_names_that_the_model_was_not_trained_on_are_told_and_not_counted(capsys):
    given = records("Crow", "jay", "Phoenix", "Phoenix", "Roc")
    known, unknown = measurable("m", given, ["Crow", "Jay"])
    assert (known, unknown) == (given[:2], given[2:])
    told = "3 of 5 photos are not counted: m was not trained on their names (Phoenix, Roc).\n"
    assert capsys.readouterr().err == told


def test_known_names_alone_need_no_word(capsys):
    given = records("Crow", "Jay")
    assert measurable("m", given, ["Crow", "Jay", "Owl"]) == (given, [])
    assert capsys.readouterr().err == ""


def test_a_set_of_unknown_names_is_measured_zero_shot_and_said_to_be(capsys):
    given = records("Phoenix", "Roc")
    assert measurable("m", given, ["Crow", "Jay"]) == (given, given)
    assert "zero-shot" in capsys.readouterr().err


def test_one_known_name_is_nothing_to_choose_from():
    with pytest.raises(UserError, match="knows Crow alone of the names in birds"):
        measurable("m", records("Crow", "Phoenix"), ["Crow", "Jay"])
