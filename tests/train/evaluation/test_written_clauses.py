"""The share of right clauses, of descriptions whose right clauses are known."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from core.taxonomy.categories import categories, in_super_category
from core.taxonomy.descriptions import describe
from train.data.records import record
from train.evaluation.written_clauses import Written, clause_summary, mean_of, same_value, shares_a_word, written_clauses

WAXWING, OTHER, ALIKE = (categories()[name] for name in ("Cedar Waxwing", "Mallard", "Bohemian Waxwing"))


def written(right: int) -> Written:
    """A description with so many of nine clauses of the true table, the others made up."""
    values = {a: v if i < right else "as nowhere" for i, (a, v) in enumerate(WAXWING.values.items())}
    return Written(values, WAXWING, OTHER, ALIKE)


def test_values_agree_by_the_rule_for_names():
    assert same_value("Clean  white.", "clean white")
    assert not same_value("clean white", "white")
    assert shares_a_word("white and clean", "a white one")
    assert not shares_a_word("black and thin", "grey and thick")


def test_the_shares_and_their_errors_by_hand():
    result = clause_summary([written(9), written(3), written(0)])
    assert result["clauses_photos"] == 3
    assert result["clauses"] == pytest.approx((1 + 3 / 9 + 0) / 3)
    assert result["clauses_error"] == pytest.approx(0.2940, abs=1e-4)
    shared = sum(same_value(value, OTHER.values[attribute]) for attribute, value in WAXWING.values.items())
    assert clause_summary([written(9)])["clauses_chance"] == shared / 9
    assert "clauses_error" not in clause_summary([written(9)])
    assert clause_summary([Written({}, WAXWING, OTHER, ALIKE)])["clauses"] == 0
    assert result["clauses"] <= result["clauses_partial"]


def test_the_mean_of_data_sets_has_the_error_of_that_mean():
    one = {"clauses_photos": 10, "clauses": 0.4, "clauses_error": 0.03}
    other = {"clauses_photos": 5, "clauses": 0.8, "clauses_error": 0.04}
    assert mean_of([one, other]) == {"clauses_photos": 15, "clauses": pytest.approx(0.6), "clauses_error": 0.025}
    assert mean_of([one, {"clauses_photos": 1, "clauses": 0.8}]) == {"clauses_photos": 11, "clauses": pytest.approx(0.6)}


@pytest.fixture
def records(tmp_path):
    names = ["Cedar Waxwing", "Mallard", "Hooded Oriole", "no bird of a table"]
    made = []
    for i, name in enumerate(names):
        Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
        made.append(record(tmp_path / f"{i}.png", name, "bird"))
    return made


class Repeating:
    """Describes every photo with the clauses of one category, in the wording of the model."""

    def __init__(self, category):
        self.category, self.writer, self.asked = category, self, []

    def encode(self, photo):
        return SimpleNamespace(tokens=torch.zeros(1, 1, 1))

    def describe(self, question, attributes, tokens):
        self.asked.append((question, attributes))
        yield from describe(self.category).partition(" ")


def test_a_model_is_asked_about_photos_drawn_by_the_seed(records):
    model = Repeating(WAXWING)
    results = written_clauses(model, records, 10, seed=0)
    assert {one.true.name for one in results} == {"Cedar Waxwing", "Mallard", "Hooded Oriole"}
    assert model.asked[0] == ("Describe the bird in the image.", WAXWING.super_category.attributes)
    for one in results:
        assert one.clauses == WAXWING.values
        assert one.share(one.true, same_value) == 1 or one.true is not WAXWING
        assert one.true not in (one.other, one.look_alike)
        assert {one.other, one.look_alike} <= set(in_super_category("bird"))
    assert written_clauses(model, records, 10, seed=0) == results
    assert len(written_clauses(model, records, 2, seed=0)) == 2
    assert [one.true for one in written_clauses(model, records[3:], 5, seed=0)] == []
