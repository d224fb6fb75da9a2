"""Confusions of a model whose names are known."""

from pathlib import Path

import numpy as np
import pytest

from train.data.records import Record
from train.evaluation.error_analysis import NamedPhoto, SetErrors, shown_order
from train.evaluation.label_issues import LabelIssues


def photo(truth, name, confidence=0.5):
    return NamedPhoto(Record(Path(f"{truth}.jpg"), truth, "birds", truth), name, confidence)


@pytest.fixture
def errors():
    photos = [
        *[photo("crow", "crow")] * 6,
        *[photo("crow", "rook")] * 2,
        photo("jay", "rook"),
        *[photo("jay", "jay")] * 3,
        photo("rook", "crow", 0.3),
        photo("rook", "crow", 0.9),
        photo("rook", "rook"),
        photo("rook", "jay"),
    ]
    return SetErrors("birds", photos, [], LabelIssues([], 0, []))


def test_the_matrix_counts_photos_by_true_and_given_name(errors):
    assert errors.names == ["crow", "jay", "rook"]
    assert errors.matrix.tolist() == [[6, 0, 2], [0, 3, 1], [2, 1, 1]]


def test_confusions_and_pairs_are_sorted_by_their_photos(errors):
    listed = [(one.truth, one.predicted, one.count, one.share) for one in errors.confusions()]
    assert listed == [
        ("rook", "crow", 2, 0.5),
        ("crow", "rook", 2, 0.25),
        ("jay", "rook", 1, 0.25),
        ("rook", "jay", 1, 0.25),
    ]
    assert errors.worst_pairs() == [("crow", "rook"), ("jay", "rook")]
    assert [one.confidence for one in errors.named("rook", "crow")] == [0.9, 0.3]


def test_confused_names_are_neighbours_and_the_others_are_not_shown():
    rng = np.random.default_rng(0)
    place = rng.permutation(40)
    matrix = 20 * np.eye(40, dtype=int)
    for first in range(0, 20, 2):  # ten pairs that are confused, in places at random
        matrix[place[first], place[first + 1]] = matrix[place[first + 1], place[first]] = 10
    order = shown_order(matrix, most=20)
    assert sorted(order) == sorted(place[:20])
    assert all(abs(order.index(place[i]) - order.index(place[i + 1])) == 1 for i in range(0, 20, 2))


@pytest.mark.parametrize("matrix", [[[3, 0], [0, 2]], [[0, 3], [2, 0]], np.eye(5, dtype=int)])
def test_every_matrix_has_an_order(matrix):
    assert sorted(shown_order(np.array(matrix))) == list(range(len(matrix)))
