"""Measure how a model names photos whose true names are known, in the same way for all evaluations."""

import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor

from core.models.vlm import VisionFeatures
from core.progress import Progress, count_progress
from core.recognition.label_space import LabelSpace
from core.recognition.multiple_choice import Correct, Options, answers_correctly
from core.recognition.photo_encoding import PhotoEncoding, tta_views
from core.recognition.recogniser import Recogniser
from core.taxonomy.categories import same_category
from core.taxonomy.prompts import open_question

BATCH = 16  # photos whose free answers are generated together

Detail = TypeVar("Detail")


@dataclass(frozen=True)
class EvaluationPhoto:
    """A photo and its true name, which is a label of the space that it is ranked in."""

    open: Callable[[], Image.Image]
    truth: str


@dataclass(frozen=True)
class Outcome(Generic[Detail]):
    """How one photo was named."""

    truth: str
    first: str  # the name that is ranked first
    rank: int  # of the true name, 0 = first
    confidence: float  # probability of the first name
    known: bool  # the photo was not rejected as unlike everything that the model knows
    alone: tuple[bool, ...]  # each of `core.recognition.recogniser.SCORES` alone ranks the true name first
    options: int  # of the multiple-choice question
    closed: Correct  # how the multiple-choice question is answered
    open: bool  # the free answer is the true name or an alias
    detail: Detail  # whatever else was measured


def measure(
    recogniser: Recogniser,
    photos: Sequence[EvaluationPhoto],
    space: LabelSpace,
    inspect: Callable[[PhotoEncoding], Detail],
    seed: int = 0,
) -> Generator[Progress, None, list[Outcome[Detail]]]:
    """Return the outcome of every photo, with progress after each.

    A photo is encoded once, in all its views; `inspect` measures more of the encoding. The multiple-choice question
    offers the true name and its look-alikes, shuffled by `seed`. Free answers are generated for `BATCH` photos at once.
    """
    rng, started = random.Random(seed), time.monotonic()
    outcomes: list[Outcome[Detail]] = []
    for start in range(0, len(photos), BATCH):
        batch = photos[start : start + BATCH]
        tokens, partial = [], []
        for photo in batch:
            encoding = recogniser.encode(photo.open())
            options = Options.with_distractors(photo.truth, space.labels, rng)
            partial.append(_ranked(recogniser, encoding, space, options) | {"detail": inspect(encoding)})
            tokens.append(encoding.tokens)
            yield count_progress(start + len(partial), len(photos), started)
        answers = recogniser.writer.answers(open_question(space.group), torch.cat(tokens))
        for photo, values, answer in zip(batch, partial, answers, strict=True):
            outcomes.append(Outcome(truth=photo.truth, open=same_category(answer, photo.truth), **values))
    return outcomes


def _ranked(recogniser: Recogniser, encoding: PhotoEncoding, space: LabelSpace, options: Options) -> dict:
    """Return the fields of an `Outcome` that the ranking and the multiple-choice question decide."""
    scores = recogniser.score(encoding, space, likelihoods=True)
    logits = recogniser.logits(scores)
    truth = space.labels.index(options.names[options.truth])
    return {
        "first": space.labels[int(logits.argmax())],
        "rank": rank_of(logits, truth),
        "confidence": logits.softmax(dim=0).max().item(),
        "known": recogniser.knows(scores),
        "alone": tuple(rank_of(row, truth) == 0 for row in scores.stack()),
        "options": len(options.names),
        "closed": answers_correctly(recogniser, encoding, scores, space, options),
    }


def rank_of(scores: Tensor, truth: int) -> int:
    """Return the rank of the truth among scores [N], 0 = first; ties count against it.

    Raises `ValueError` if a score is not finite.
    """
    if not scores.isfinite().all():
        raise ValueError("A score is not finite.")
    return int((scores >= scores[truth]).sum()) - 1


class SharedVisionEncoder:
    """Runs a photo through each vision encoder once: models with the very same encoder share its features."""

    def __init__(self, photo: Image.Image) -> None:
        self.photo = photo
        self._features: dict[tuple[int, ...], tuple[VisionFeatures, float]] = {}
        self._lock = threading.Lock()

    def encode(self, recogniser: Recogniser) -> tuple[PhotoEncoding, float]:
        """Return the photo's encoding by a model, and its seconds, those of the shared encoder included."""
        vlm = recogniser.mllm
        encoder = tuple(id(weights) for weights in vlm.model.model.vision_model.parameters())
        with self._lock:
            if encoder not in self._features:
                started = time.perf_counter()
                self._features[encoder] = vlm.vision_features(tta_views(self.photo)), time.perf_counter() - started
            features, seconds = self._features[encoder]
        started = time.perf_counter()
        encoding = recogniser.encode_features(features)
        return encoding, seconds + time.perf_counter() - started
