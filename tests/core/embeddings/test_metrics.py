import math
from dataclasses import replace

import numpy as np
import pytest

from core.embeddings.embedding_set import EmbeddingSet
from core.embeddings.metrics import alignment_numbers, modality_gap


def space(objects, names, truth, descriptions=None):
    objects, names = np.array(objects, np.float32), np.array(names, np.float32)
    return EmbeddingSet(
        objects=objects,
        vision=objects,
        names=names,
        descriptions=np.zeros_like(names) if descriptions is None else np.array(descriptions, np.float32),
        truth=np.array(truth),
        categories=[str(i) for i in range(len(names))],
        groups=[""] * len(names),
        photos=[str(i) for i in range(len(objects))],
        hashes=[str(i) for i in range(len(objects))],
        data_sets=[""] * len(objects),
        provenance={"model": "m"},
    )


def test_photos_on_their_names_are_perfectly_aligned():
    numbers = alignment_numbers(space([[1, 0], [1, 0], [0, 1], [0, 1]], [[1, 0], [0, 1]], [0, 0, 1, 1]))
    assert numbers["gap"] == numbers["alignment"] == 0
    assert numbers["recall_at_1"] == numbers["recall_at_5"] == numbers["mrr"] == numbers["silhouette"] == 1
    assert numbers["attribute_gap"] is None
    pairs = [1, math.exp(-4), math.exp(-4), math.exp(-4), math.exp(-4), 1]  # squared distances 0 and 2
    assert numbers["uniformity"] == pytest.approx(math.log(sum(pairs) / 6))


def test_opposite_clouds_have_the_largest_gap():
    assert modality_gap(np.array([[1.0, 0]]), np.array([[-1.0, 0]])) == 2


def test_ranks_count_ties_against_the_truth():
    names = [[1, 0], [1, 0], [0, 1]]
    numbers = alignment_numbers(space([[1, 0], [0, 1]], names, [0, 2]))
    assert numbers["recall_at_1"] == 0.5  # the first photo's name ties with another
    assert numbers["mrr"] == pytest.approx((1 / 2 + 1) / 2)


def test_the_gap_to_descriptions_is_measured_over_known_ones_alone():
    numbers = alignment_numbers(space([[1, 0], [1, 0]], [[1, 0], [0, 1]], [0, 1], [[0, 1], [0, 0]]))
    assert numbers["attribute_gap"] == pytest.approx(math.sqrt(2))


def test_photos_without_a_label_do_not_count():
    labelled = space([[1, 0], [0, 1]], [[1, 0], [0, 1]], [0, 1])
    more = space([[1, 0], [0, 1], [-1, 0]], [[1, 0], [0, 1]], [0, 1, -1])
    assert alignment_numbers(labelled) == alignment_numbers(more)
    nothing = alignment_numbers(replace(more, truth=np.array([-1, -1, -1])))
    assert set(nothing.values()) == {None}


def test_one_photo_is_measured_as_far_as_it_goes():
    numbers = alignment_numbers(space([[1, 0]], [[1, 0], [0, 1]], [0]))
    assert numbers["recall_at_1"] == 1
    assert numbers["uniformity"] is None
    assert numbers["silhouette"] is None
