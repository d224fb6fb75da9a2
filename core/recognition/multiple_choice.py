"""Choose the options of multiple-choice questions about a photo, and check their answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from core.recognition.label_space import LabelSpace
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import Recogniser, Scores
from core.taxonomy.prompts import LETTERS, closed_question
from core.taxonomy.similarity import most_similar


@dataclass(frozen=True)
class Options:
    """The options of a question in the order of their letters, and the row of the true one."""

    names: list[str]
    truth: int

    @classmethod
    def shuffled(cls, truth: str, names: Sequence[str], rng: random.Random) -> "Options":
        """Return the names, the true one among them, in random order."""
        options = list(names)
        rng.shuffle(options)
        return cls(options, options.index(truth))

    @classmethod
    def with_distractors(cls, truth: str, labels: Sequence[str], rng: random.Random) -> "Options":
        """Return one of the labels and its `distractors` in random order."""
        return cls.shuffled(truth, [truth, *distractors(truth, labels)], rng)

    def is_correct(self, scores: Tensor) -> bool:
        """Return True if the true option has the highest of the scores [K]."""
        return int(scores.argmax()) == self.truth


def distractors(truth: str, labels: Sequence[str]) -> list[str]:
    """Return the labels, at most three, whose descriptions are most similar to that of the true one."""
    return [labels[i] for i in _most_similar(tuple(labels))[labels.index(truth)]]


@lru_cache(maxsize=32)
def _most_similar(labels: tuple[str, ...]) -> list[list[int]]:
    return most_similar(list(labels), len(LETTERS) - 1)


@dataclass(frozen=True)
class Correct:
    """Whether a question with options is answered correctly, by each way of answering it."""

    app: bool  # as the Compare tab chooses: ranking and letter together
    ranking: bool  # the option that the ranking prefers
    letter: bool  # the letter of the highest log-probability


def answers_correctly(
    recogniser: Recogniser, encoding: PhotoEncoding, scores: Scores, space: LabelSpace, options: Options
) -> Correct:
    """Return whether a question is answered correctly; `scores` are those of the photo over `space`."""
    question = closed_question(space.group, options.names)
    letters = recogniser.letter_scores(question, len(options.names), encoding.tokens)
    ranked = recogniser.logits(scores)[[space.labels.index(name) for name in options.names]]
    chosen = recogniser.choose(scores, space, options.names, letters)
    return Correct(options.is_correct(chosen), options.is_correct(ranked), options.is_correct(letters))
