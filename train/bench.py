"""`python -m train bench`: what computing the photo's prefix once is worth when names are scored."""

import time

import torch
from PIL import Image
from torch import Tensor

from core.identify import Recogniser
from core.knowledge import categories, super_categories
from core.prompts import open_question
from core.scoring import answer_log_likelihoods

NAMES = 20
REPEATS = 5


@torch.no_grad()
def separate_passes(recogniser: Recogniser, photo: Image.Image, question: str, names: list[str]) -> Tensor:
    """[N] log-likelihoods, each from a forward pass of its own over photo, question and name."""
    mllm, scores = recogniser.mllm, []
    for name in names:
        tokens = mllm.image_tokens(mllm.vision_features([photo]))
        answer = mllm.answer_ids(name)
        scores.append(-mllm.generation_loss([mllm.question_ids(question)], [answer], tokens) * len(answer))
    return torch.stack(scores)


@torch.no_grad()
def shared_prefix(recogniser: Recogniser, photo: Image.Image, question: str, names: list[str]) -> Tensor:
    """[N] log-likelihoods, with the photo and the question computed once."""
    mllm = recogniser.mllm
    tokens = mllm.image_tokens(mllm.vision_features([photo]))
    return answer_log_likelihoods(mllm, mllm.question_ids(question), tokens, names)


def bench(recogniser: Recogniser) -> dict:
    """Median seconds of both ways on one picture, their ratio, and whether they rank alike."""
    photo = Image.effect_noise((320, 320), 80).convert("RGB")
    names = [c.name for c in categories().values() if c.super_category.name == "dog"][:NAMES]
    question = open_question(super_categories()["dog"])
    results, seconds = {}, {}
    for way in (separate_passes, shared_prefix):
        way(recogniser, photo, question, names)
        times = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            results[way.__name__] = way(recogniser, photo, question, names)
            times.append(time.perf_counter() - started)
        seconds[way.__name__] = sorted(times)[REPEATS // 2]
    separate, shared = results.values()
    return {
        "names": NAMES,
        "seconds_separate": round(seconds["separate_passes"], 3),
        "seconds_shared": round(seconds["shared_prefix"], 3),
        "speedup": round(seconds["separate_passes"] / seconds["shared_prefix"], 1),
        "largest_difference": round((separate - shared).abs().max().item(), 4),
        "same_ranking": separate.argsort().tolist() == shared.argsort().tolist(),
    }
