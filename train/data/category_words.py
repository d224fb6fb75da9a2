"""Choose the words that the image tokens of a category are drawn to in the connector's warm-up."""

import random

import torch
from torch import Tensor

from core.models.vlm import VisionLanguageModel
from core.taxonomy.descriptions import words_of
from train.recipe import Recipe


def category_words(mllm: VisionLanguageModel, names: list[str], recipe: Recipe) -> Tensor:
    """Return the token ids [C, L] of the words of every category, as many as there are image tokens; -1 is padding.

    Random words say nothing of a category: a warm-up on them teaches the connector to tell categories apart, and no
    name or attribute.
    """
    if recipe.words == "codes":
        special = set(mllm.tokenizer.all_special_ids)
        vocabulary = [token for token in range(mllm.tokenizer.vocab_size) if token not in special]
        count = mllm.processor.image_seq_len
        return torch.tensor([random.Random(f"{recipe.seed} {name}").sample(vocabulary, count) for name in names])
    return mllm.word_ids([words_of(name, recipe.words == "name") for name in names])
