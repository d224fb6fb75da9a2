"""How a photo scores candidate names: by its image tokens, and by what the text model would answer."""

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from core.models.vlm import VisionFeatures, VisionLanguageModel

CANDIDATES_PER_BATCH = 24


@torch.no_grad()
def answer_log_likelihoods(
    mllm: VisionLanguageModel, prompt: list[int], image_tokens: Tensor, answers: list[str]
) -> Tensor:
    """[N] float32: log p(answer, EOS | photo, question) of every answer, summed over its tokens.

    `image_tokens` [1, L, H] fill the prompt's placeholders. The key-value cache of the prompt is computed once and
    branched for every batch of answers.
    """
    if not answers:
        raise ValueError("There are no answers to score.")
    cache = DynamicCache(config=mllm.text_model.config)
    first = log_probabilities(mllm, mllm.hidden_states([prompt], image_tokens, cache)[0, -1])  # [V]
    sequences = [mllm.answer_ids(answer) for answer in answers]
    scores = []
    for start in range(0, len(sequences), CANDIDATES_PER_BATCH):
        batch = sequences[start : start + CANDIDATES_PER_BATCH]
        branched = expand_kv_cache(mllm, cache, len(batch))
        states = mllm.hidden_states([sequence[:-1] for sequence in batch], cache=branched)  # [n, T, H]
        rows = torch.tensor([row for row, sequence in enumerate(batch) for _ in sequence[1:]], device=states.device)
        columns = [column for sequence in batch for column in range(len(sequence) - 1)]
        targets = torch.tensor([token for sequence in batch for token in sequence[1:]], device=states.device)
        follow = -F.cross_entropy(mllm.model.lm_head(states[rows, columns]).float(), targets, reduction="none")
        scores.append(first[[sequence[0] for sequence in batch]].index_add(0, rows, follow))
    return torch.cat(scores)


def expand_kv_cache(mllm: VisionLanguageModel, cache: DynamicCache, n: int) -> DynamicCache:
    """The key-value cache of one sequence for `n` continuations of it; `cache` itself stays as it is."""
    branched = DynamicCache(config=mllm.text_model.config)
    for layer, entry in enumerate(cache.layers):
        branched.update(entry.keys.expand(n, -1, -1, -1), entry.values.expand(n, -1, -1, -1), layer)
    return branched


def word_similarity(image_tokens: Tensor, words: Tensor, centre: Tensor) -> Tensor:
    """[B, N] in [-1, 1]: mean cosine of image tokens [B, L, H] with the words [N, L, H] at their places.

    Both are taken relative to `centre` [H]. Places where `words` is zero hold no word and do not count.
    """
    present = words.abs().sum(dim=-1) > 0  # [N, L]
    directions = F.normalize(words - centre, dim=-1) * present[..., None]
    tokens = F.normalize(image_tokens.float() - centre, dim=-1)
    return torch.einsum("blh,nlh->bn", tokens, directions) / present.sum(dim=-1).clamp(min=1)


def pooled_features(vision: VisionFeatures) -> Tensor:
    """[B, D] float32, L2-normalised: the mean over the patches that are not padding."""
    weights = vision.mask.float()[..., None]
    return F.normalize((vision.states.float() * weights).sum(dim=1) / weights.sum(dim=1), dim=-1)


def log_probabilities(mllm: VisionLanguageModel, states: Tensor) -> Tensor:
    """[..., V] float32 log-probabilities of the next token from last hidden states [..., H]."""
    return mllm.model.lm_head(states).float().log_softmax(dim=-1)
