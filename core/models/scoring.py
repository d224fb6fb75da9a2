"""Score candidate names for a photo: by its image tokens, and by the likelihood of the names as answers."""

from collections.abc import Sequence

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
    """Return log p(answer, EOS | photo, question) [N] float32 of every answer, summed over its tokens.

    `image_tokens` [1, L, H] fill the prompt's placeholders. The key-value cache of the prompt is computed once and
    expanded for every batch of answers.
    """
    if not answers:
        raise ValueError("There are no answers to score.")
    cache = DynamicCache(config=mllm.text_model.config)
    first = log_probabilities(mllm, mllm.hidden_states([prompt], image_tokens, cache)[0, -1])  # [V]
    sequences = [mllm.answer_ids(answer) for answer in answers]
    scores = []
    for start in range(0, len(sequences), CANDIDATES_PER_BATCH):
        batch = sequences[start : start + CANDIDATES_PER_BATCH]
        expanded = expand_kv_cache(mllm, cache, len(batch))
        states = mllm.hidden_states([sequence[:-1] for sequence in batch], cache=expanded)  # [n, T, H]
        rows = torch.tensor([row for row, sequence in enumerate(batch) for _ in sequence[1:]], device=states.device)
        columns = [column for sequence in batch for column in range(len(sequence) - 1)]
        targets = torch.tensor([token for sequence in batch for token in sequence[1:]], device=states.device)
        follow = -F.cross_entropy(mllm.model.lm_head(states[rows, columns]).float(), targets, reduction="none")
        scores.append(first[[sequence[0] for sequence in batch]].index_add(0, rows, follow))
    return torch.cat(scores)


def expand_kv_cache(mllm: VisionLanguageModel, cache: DynamicCache, n: int) -> DynamicCache:
    """Return the key-value cache of one sequence expanded to `n` continuations of it; `cache` stays as it is."""
    expanded = DynamicCache(config=mllm.text_model.config)
    for layer, entry in enumerate(cache.layers):
        expanded.update(entry.keys.expand(n, -1, -1, -1), entry.values.expand(n, -1, -1, -1), layer)
    return expanded


def word_similarity(image_tokens: Tensor, words: Tensor, centre: Tensor) -> Tensor:
    """Return the mean cosine [B, N] of image tokens [B, L, H] with the words [N, L, H] at the same positions.

    Both are taken relative to `centre` [H]. Positions where `words` is zero hold no word and do not count.
    """
    present = words.abs().sum(dim=-1) > 0  # [N, L]
    directions = F.normalize(words - centre, dim=-1) * present[..., None]
    tokens = F.normalize(image_tokens.float() - centre, dim=-1)
    return torch.einsum("blh,nlh->bn", tokens, directions) / present.sum(dim=-1).clamp(min=1)


def mean_states(vision: VisionFeatures) -> Tensor:
    """Return the mean over the patches that are not padding: [B, D] float32."""
    weights = vision.mask.float()[..., None]
    return (vision.states.float() * weights).sum(dim=1) / weights.sum(dim=1)


def pooled_features(vision: VisionFeatures) -> Tensor:
    """Return `mean_states` [B, D], L2-normalised."""
    return F.normalize(mean_states(vision), dim=-1)


def log_probabilities(mllm: VisionLanguageModel, states: Tensor) -> Tensor:
    """Return the log-probabilities [..., V] float32 of the next token, from last hidden states [..., H]."""
    return mllm.model.lm_head(states).float().log_softmax(dim=-1)


def generation_loss(
    mllm: VisionLanguageModel, prompts: list[list[int]], answers: list[list[int]], image_tokens: Tensor
) -> Tensor:
    """Return L_gen: the mean cross-entropy over the answers' tokens; prompts and image tokens carry no loss."""
    return generation_losses(mllm, prompts, answers, image_tokens).sum() / sum(map(len, answers))


def generation_losses(
    mllm: VisionLanguageModel,
    prompts: list[list[int]],
    answers: list[list[int]],
    image_tokens: Tensor,
    first_weights: Sequence[float] | None = None,
) -> Tensor:
    """Return the cross-entropy [N] of every answer, summed over its tokens.

    The loss of each answer's first token is multiplied by its entry of `first_weights`.
    """
    sequences = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    states = mllm.hidden_states([sequence[:-1] for sequence in sequences], image_tokens)
    rows = [i for i, answer in enumerate(answers) for _ in answer]
    columns = [len(p) - 1 + k for p, a in zip(prompts, answers, strict=True) for k in range(len(a))]
    targets = torch.tensor([token for answer in answers for token in answer], device=states.device)
    losses = F.cross_entropy(mllm.model.lm_head(states[rows, columns]).float(), targets, reduction="none")
    first = first_weights or [1.0] * len(answers)
    weights = torch.tensor([first[i] if k == 0 else 1.0 for i, a in enumerate(answers) for k in range(len(a))])
    sums = torch.zeros(len(answers), device=losses.device)
    return sums.index_add(0, torch.tensor(rows, device=losses.device), losses * weights.to(losses.device))
