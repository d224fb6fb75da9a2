"""Measuring photos, by a scripted model whose scores are known."""

from types import SimpleNamespace

import pytest
import torch

from core.evaluation.outcomes import BATCH, EvaluationPhoto, SharedVisionEncoder, measure, rank_of
from core.progress import run
from core.recognition.multiple_choice import Correct

LABELS = ["Cedar Waxwing", "Bohemian Waxwing", "Downy Woodpecker"]
SPACE = SimpleNamespace(labels=LABELS, group=None)


class Scripted:
    """Encodes a photo as the row of the name that it puts first, and answers every question with that name."""

    def __init__(self):
        self.encoded, self.batches = [], []
        self.writer = self

    def encode(self, photo):
        self.encoded.append(photo)
        return SimpleNamespace(first=photo, tokens=torch.tensor([[[float(photo)]]]))

    def score(self, encoding, space, likelihoods):
        assert likelihoods  # each score is measured alone, too
        scores = torch.zeros(len(LABELS))
        scores[encoding.first] = 1.0
        return SimpleNamespace(values=scores, stack=lambda: scores.expand(4, -1))

    def logits(self, scores):
        return scores.values

    def knows(self, scores):
        return True

    def letter_scores(self, question, count, tokens):
        return torch.tensor([float(f"{letter}. {LABELS[0]}\n" in question) for letter in "ABCD"[:count]])

    def choose(self, scores, space, options, letters):
        return scores.values[[space.labels.index(option) for option in options]]

    def answers(self, question, tokens):
        self.batches.append(len(tokens))
        return [LABELS[int(row)] for row in tokens.flatten()]


def photos(*rows, truth=0):
    return [EvaluationPhoto(lambda row=row: row, LABELS[truth]) for row in rows]


def test_each_photo_is_encoded_once_and_answers_are_batched():
    model, seen = Scripted(), []
    outcomes = run(measure(model, photos(*[0] * (BATCH + 2)), SPACE, lambda encoding: encoding.first), seen.append)
    assert len(outcomes) == len(model.encoded) == len(seen) == BATCH + 2
    assert model.batches == [BATCH, 2]
    assert seen[0].message.startswith(f"1 of {BATCH + 2} photos")


def test_what_is_measured_of_a_photo():
    right, wrong = run(measure(Scripted(), photos(0, 2), SPACE, lambda encoding: f"saw {encoding.first}"))
    assert (right.first, wrong.first) == (LABELS[0], LABELS[2])
    assert (right.rank, right.closed, right.open, right.options) == (0, Correct(True, True, True), True, 3)
    assert (wrong.rank, wrong.closed, wrong.open) == (2, Correct(app=False, ranking=False, letter=True), False)
    assert right.confidence == pytest.approx(wrong.confidence)
    assert right.confidence == pytest.approx(torch.tensor([1.0, 0, 0]).softmax(0)[0].item())
    assert (right.alone, wrong.alone) == ((True,) * 4, (False,) * 4)
    assert (right.truth, right.detail, wrong.detail) == (LABELS[0], "saw 0", "saw 2")


def test_closing_stops_before_the_next_photo():
    model = Scripted()
    steps = measure(model, photos(0, 1, 2), SPACE, lambda encoding: None)
    next(steps)
    steps.close()
    assert model.encoded == [0]


def test_ties_count_against_the_truth_and_scores_must_be_finite():
    assert rank_of(torch.tensor([0.5, 0.9, 0.1]), 0) == 1
    assert rank_of(torch.tensor([0.5, 0.5, 0.5]), 1) == 2
    with pytest.raises(ValueError, match="not finite"):
        rank_of(torch.tensor([torch.nan, 1.0]), 0)


def test_models_with_one_encoder_run_it_once(monkeypatch):
    monkeypatch.setattr("core.evaluation.outcomes.tta_views", lambda photo: [photo])
    runs, shared, other = [], torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

    def model(name, encoder):
        inner = SimpleNamespace(model=SimpleNamespace(vision_model=encoder))
        vlm = SimpleNamespace(model=inner, vision_features=lambda views: runs.append(name) or views)
        return SimpleNamespace(mllm=vlm, encode_features=lambda features: (name, features))

    encoder = SharedVisionEncoder("photo")
    for name, weights in (("a", shared), ("b", shared), ("c", other), ("a", shared)):
        encoding, seconds = encoder.encode(model(name, weights))
        assert encoding == (name, ["photo"])
        assert seconds > 0
    assert runs == ["a", "c"]
