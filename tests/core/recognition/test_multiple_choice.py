"""The options of multiple-choice questions, and which answer is correct."""

import random

import pytest
import torch

from core.recognition.multiple_choice import Options, distractors
from core.taxonomy.categories import in_super_category, same_category
from core.taxonomy.similarity import most_similar

BIRDS = [category.name for category in in_super_category("bird")]


def test_distractors_are_the_most_similar_labels():
    row = BIRDS.index("Cedar Waxwing")
    assert distractors("Cedar Waxwing", BIRDS) == [BIRDS[i] for i in most_similar(BIRDS, 3)[row]]
    assert distractors("a", ["a", "b"]) == ["b"]


def test_the_draws_are_those_of_the_published_results():
    """The numbers of the model cards were measured with the options in this order."""
    rng, reference = random.Random(0), random.Random(0)
    for truth in BIRDS:
        names = [truth, *distractors(truth, BIRDS)]
        reference.shuffle(names)
        options = Options.with_distractors(truth, BIRDS, rng)
        assert (options.names, options.names[options.truth]) == (names, truth)


def test_the_true_option_must_be_first():
    options = Options(["a", "b", "c"], truth=1)
    assert options.is_correct(torch.tensor([0.1, 0.5, 0.4]))
    assert not options.is_correct(torch.tensor([0.6, 0.5, 0.4]))
    with pytest.raises(ValueError, match="not in list"):
        Options.shuffled("d", ["a", "b"], random.Random(0))


def test_free_answers_count_with_their_aliases():
    assert same_category("cedar waxwing.", "Cedar Waxwing")
    assert same_category("Cairn", "Cairn Terrier")
    assert not same_category("Waxwing", "Cedar Waxwing")
    assert not same_category("", "Cedar Waxwing")
