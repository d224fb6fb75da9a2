"""The parts of a checkpoint beside its weights: the embeddings of its categories, and the calibration of scores."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import ConfigDict
from torch import Tensor

SCORES = ("name", "description", "words", "encoder", "likelihood")  # what a name is ranked by
WordSource = Literal["attributes", "name", "codes"]  # codes: random words of the vocabulary


@dataclass(frozen=True)
class Calibration:
    """The weights that turn raw scores into probabilities, and the distance of unknown photos."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # where a manifest is read

    name_weight: float = 0.0  # of o.c, the object-name similarity
    description_weight: float = 0.0  # of o.a, the object-description similarity
    words_weight: float = 0.0  # of the image tokens' similarity with the words of name and attributes
    likelihood_weight: float = 1.0  # of the name's log-likelihood under the open-set question
    letter_weight: float = 1.0  # of an option's letter's log-likelihood under the closed-set question
    candidates: int = 1000  # names kept by the embeddings for scoring by likelihood
    unknown_distance: float = float("inf")  # a photo farther than this from every known category is unknown
    encoder_weight: float = 0.0  # of the fine-tuned vision encoder's own classifier, without the language model

    def __post_init__(self) -> None:
        """Raise `ValueError` for a number that is none."""
        if any(math.isnan(value) for value in vars(self).values()):
            raise ValueError("a number of the calibration is none")

    @property
    def fitted(self) -> bool:
        """Return whether it was fitted to photos: only then is there a distance beyond which a photo is unknown."""
        return self.unknown_distance < float("inf")

    def ranking_weights(self) -> Tensor:
        """Return the weights [5] in the order of `SCORES`."""
        similarities = self.name_weight, self.description_weight, self.words_weight
        return torch.tensor([*similarities, self.encoder_weight, self.likelihood_weight], dtype=torch.float32)


@dataclass(frozen=True)
class LabelBank:
    """Embeddings of the categories a checkpoint knows, and the statistics behind "unknown"."""

    categories: list[str]
    names: Tensor  # [C, H] float32
    descriptions: Tensor  # [C, H] float32
    feature_means: Tensor  # [C, D] float32: mean normalised vision feature of each category
    words: Tensor  # [C, L] token ids of the words that training drew the category's image tokens to; -1 for none
    words_from: WordSource = "attributes"  # name and attributes, the name alone (see `words_of`), or random words
    classifier: Tensor | None = None  # [C, D + 1] float32: weights and bias of the fine-tuned vision encoder's own
