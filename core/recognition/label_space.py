"""The names that a photo is ranked against, and the embeddings of these names."""

import logging
import unicodedata
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import UserError
from core.models.calibration import LabelBank
from core.models.vlm import VisionLanguageModel
from core.taxonomy.categories import (
    SuperCategory,
    canonical_name,
    distinct_names,
    dropped_sentence,
    in_super_category,
    name_key,
)
from core.taxonomy.descriptions import words_of
from core.taxonomy.prompts import question_subject

log = logging.getLogger(__name__)

MAX_LABELS = 2_000
MAX_LABEL_LENGTH = 100  # characters
MAX_LABEL_CHARACTERS = 30_000  # of all names together: a laptop embeds them in half a minute


@dataclass(frozen=True)
class Names:
    """The names that a photo is ranked against."""

    labels: list[str]  # as they were given
    categories: list[str]  # canonical names of the same categories: a label may be another spelling
    group: SuperCategory | None  # the kind that questions about the labels name; None: no common kind


@dataclass(frozen=True)
class LabelSpace(Names):
    """Names with their embeddings in the space of a model."""

    names: Tensor  # [N, H]
    descriptions: Tensor  # [N, H]; the name's embedding where no description is known
    words: Tensor  # [N, L, H] input embeddings of the words that image tokens are compared with; zeros: of none
    classifier: Tensor | None  # [N, D + 1] the vision encoder's weights and bias; None: it was not trained on all labels
    known: bool  # every label is a category that the checkpoint was trained on
    means: Tensor  # [M, D] mean vision features of the labels; where one is not known, of all known categories


class LabelSpaceBuilder:
    """Builds label spaces: trained categories come from the checkpoint's `LabelBank`, other names are embedded."""

    def __init__(self, mllm: VisionLanguageModel, bank: LabelBank) -> None:
        self._mllm = mllm
        self._bank = bank
        self._rows = {category: row for row, category in enumerate(bank.categories)}
        self._spellings = {name_key(category): category for category in bank.categories}

    def build(self, labels: list[str] | None = None, super_category: str | None = None) -> LabelSpace:
        """Build the label space of given names, of one super-category, or of all trained categories.

        Given names may be unknown to the checkpoint: the text model embeds them (zero-shot). Of several spellings of
        one name the first is kept, as it was given. Raises `UserError` for an unknown super-category, for fewer than
        two distinct names, and for names beyond `MAX_LABELS`, `MAX_LABEL_LENGTH` or `MAX_LABEL_CHARACTERS`.
        """
        if labels is not None:
            chosen = distinct_labels(labels)
        elif super_category:
            chosen = [c.name for c in in_super_category(super_category) if c.name in self._rows]
        else:
            chosen = list(self._bank.categories)
        check_labels(chosen)
        categories = [self._category(label) for label in chosen]
        names, descriptions = self._embeddings(categories)
        known = all(category in self._rows for category in categories)
        group = question_subject(categories)
        means = self._bank.feature_means
        classifier = None
        if known:
            rows = [self._rows[category] for category in categories]
            means = means[rows]
            classifier = None if self._bank.classifier is None else self._bank.classifier[rows]
        words = self._word_embeddings(categories)
        return LabelSpace(chosen, categories, group, names, descriptions, words, classifier, known, means)

    def _category(self, label: str) -> str:
        """Return the checkpoint's name for a label, or the canonical name of a label that it does not know."""
        return label if label in self._rows else self._spellings.get(name_key(label)) or canonical_name(label)

    def _embeddings(self, categories: list[str]) -> tuple[Tensor, Tensor]:
        """Return the embeddings of names [N, H] and of descriptions [N, H]."""
        new = [category for category in categories if category not in self._rows]
        embedded = dict(zip(new, self._mllm.embed_texts(new).cpu(), strict=True)) if new else {}

        def rows(bank: Tensor) -> Tensor:
            return torch.stack([bank[self._rows[c]] if c in self._rows else embedded[c] for c in categories])

        return rows(self._bank.names), rows(self._bank.descriptions)

    def _word_embeddings(self, categories: list[str]) -> Tensor:
        """Return the input embeddings [N, L, H] of each category's words.

        Random words were drawn for the trained categories alone: with another name among them, nobody has any (zeros).
        """
        bank = self._bank
        if bank.words_from == "codes" and not all(category in self._rows for category in categories):
            return self._mllm.word_embeddings(bank.words.new_full((len(categories), bank.words.shape[1]), -1))
        ids = self._mllm.word_ids([words_of(category, bank.words_from == "name") for category in categories])
        for row, category in zip(ids, categories, strict=True):
            if category in self._rows:  # the words of the training, even if the attribute tables have changed since
                row.copy_(bank.words[self._rows[category]])
        return self._mllm.word_embeddings(ids)


def distinct_labels(labels: list[str]) -> list[str]:
    """Return the labels without empty ones and without further spellings of a name, which the log tells."""
    kept, dropped = distinct_names(labels)
    if dropped:
        log.warning("%s", dropped_sentence(dropped))
    return kept


def check_labels(labels: list[str]) -> None:
    """Raise `UserError` for fewer than two labels, or labels beyond the limits of number and length."""
    if len(labels) < 2:
        raise UserError("Give at least two different candidate names.")
    if len(labels) > MAX_LABELS:
        raise UserError(f"There are {len(labels)} candidate names: the limit is {MAX_LABELS}.")
    if odd := [label for label in labels if _has_control(label)]:
        raise UserError(f"The name {odd[0][:30]!r} has characters that cannot be printed: remove them.")
    if too_long := [label for label in labels if len(label) > MAX_LABEL_LENGTH]:
        raise UserError(f"The name {too_long[0][:30]!r}... is longer than {MAX_LABEL_LENGTH} characters.")
    if sum(map(len, labels)) > MAX_LABEL_CHARACTERS:
        raise UserError(f"The candidate names have more than {MAX_LABEL_CHARACTERS} characters in all: give fewer.")


def _has_control(label: str) -> bool:
    """Return whether a label has control characters, which a terminal would obey, or halves of characters."""
    return any(unicodedata.category(sign) in ("Cc", "Cs") for sign in label.replace("\t", " "))
