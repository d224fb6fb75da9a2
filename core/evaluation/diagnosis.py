"""The measurements of one model's three capabilities, and how strong each capability is.

The capabilities are those of the method's analysis (arXiv 2501.15140): object information extraction, category
knowledge reserve, object-category alignment.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from core.embeddings.embedding_set import EmbeddingSet
from core.evaluation.linear_probe import ProbeResult

OBJECT, KNOWLEDGE, ALIGNMENT = "object information", "category knowledge", "object-category alignment"
ENCODER, TEXT_ENCODER, LLM, WORDS = "vision encoder", "text encoder", "LLM", "words alone"

ProbeKey = tuple[str, str, str]  # capability, part of the model, features

# Strengths are normalised accuracies: 0 is chance, 1 is perfect.
PRESENT = 0.8  # a capability of at least this strength is present
PARTIAL = 0.4  # below it, a capability is missing
MIN_MARGIN = 0.15  # the weakest capability stands out if the others exceed it by more, and by more than chance explains
ERRORS = 2  # standard errors of a difference that chance explains


@dataclass(frozen=True)
class Questions:
    """Shares of the questions that were answered correctly; None where the model does not answer in that way."""

    photos: int
    closed: float | None  # four options, by ranking and letter together as the app answers them
    ranking: float | None  # four options, by the ranking alone
    letter: float | None  # four options, by the letter of the highest log-probability
    open: float | None  # free answers
    chance: float  # of a guess among the options


@dataclass(frozen=True)
class Measured:
    """What was measured of a model before the probes, which are fitted to its features."""

    features: dict[ProbeKey, np.ndarray]  # of the photos and, where there are some, of the descriptions
    embeddings: EmbeddingSet
    questions: Questions


@dataclass(frozen=True)
class Strength:
    """The strength of a capability, a share of the way from chance to perfect, and its standard error."""

    capability: str
    share: float
    error: float

    @property
    def state(self) -> str:
        """Return the strength in words: "there", "there in part" or "missing"."""
        return "there" if self.share >= PRESENT else "there in part" if self.share >= PARTIAL else "missing"


@dataclass(frozen=True)
class Diagnosis:
    """The measurements of one model on one set of photos."""

    model: str
    probes: dict[ProbeKey, ProbeResult]
    alignment: dict[str, float | None]  # `core.embeddings.metrics.alignment_numbers`
    questions: Questions
    photos: int
    categories: int
    skipped: int  # files that cannot be read as a photo, or are duplicates
    without_label: int
    trained_on: int  # of the photos, with their names
    provenance: dict  # seed, date, hash of the photos

    @property
    def has_llm(self) -> bool:
        """Whether features of an LLM were probed; a contrastive model has two encoders instead."""
        return any(part == LLM for _, part, _ in self.probes)

    def best(self, capability: str) -> ProbeResult | None:
        """Return the better of the probes on the LLM's features, or on an encoder's without an LLM; None without any."""
        parts = (LLM,) if self.has_llm else (ENCODER, TEXT_ENCODER)
        found = [result for (kind, part, _), result in self.probes.items() if kind == capability and part in parts]
        return max(found, key=lambda result: result.mean, default=None)

    def strengths(self) -> list[Strength]:
        """Return the strengths of the capabilities that were measured, in the order of the method: a, b, c."""
        found = []
        for capability in (OBJECT, KNOWLEDGE):
            if result := self.best(capability):
                error = result.spread / sqrt(result.folds) / (1 - result.chance)
                found.append(Strength(capability, above_chance(result.mean, result.chance), error))
        recall, chance = self.alignment["recall_at_1"], 1 / self.categories
        assert recall is not None  # every photo here has a label
        error = sqrt(recall * (1 - recall) / self.photos) / (1 - chance)
        return [*found, Strength(ALIGNMENT, above_chance(recall, chance), error)]

    def weakest(self) -> Strength | None:
        """Return the capability that is weaker than all others by more than chance explains, or None.

        The difference must also exceed `MIN_MARGIN`.
        """
        first, *others = sorted(self.strengths(), key=lambda strength: strength.share)
        for other in others:
            margin = max(MIN_MARGIN, ERRORS * sqrt(first.error**2 + other.error**2))
            if other.share - first.share <= margin:
                return None
        return first


def above_chance(accuracy: float, chance: float) -> float:
    """Return an accuracy rescaled so that 0 is chance (or less) and 1 is perfect."""
    return max(0.0, (accuracy - chance) / (1 - chance))
