"""`python -m train bench`: measure speed, memory, and the rejection of pictures that show none of the categories."""

import importlib.util
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from core.data.images import open_photo
from core.errors import UserError
from core.evaluation.outcomes import SharedVisionEncoder
from core.evaluation.side_by_side import side_by_side
from core.evaluation.sides import Local, empty_output
from core.models.scoring import answer_log_likelihoods, generation_loss
from core.recognition.recogniser import Recogniser
from core.taxonomy.categories import categories, super_categories
from core.taxonomy.prompts import open_question
from core.zoo.registry import load_recogniser
from train.evaluation.throughput import throughput

NAMES = 20
REPEATS = 5
COMPARISONS = 3
PICTURES = {  # folders of installed packages with pictures of all sorts of things
    "skimage": "data",
    "sklearn": "datasets/images",
    "gradio": "media_assets/images",
}
CAT = "chelsea.png"
IN_CATEGORY = {CAT, "flower.jpg"}  # of these, what is no picture of another thing


@torch.no_grad()
def separate_passes(recogniser: Recogniser, photo: Image.Image, question: str, names: list[str]) -> Tensor:
    """Return log-likelihoods [N], each from a forward pass of its own over photo, question and name."""
    mllm, scores = recogniser.mllm, []
    for name in names:
        tokens = mllm.image_tokens(mllm.vision_features([photo]))
        answer = mllm.answer_ids(name)
        scores.append(-generation_loss(mllm, [mllm.question_ids(question)], [answer], tokens) * len(answer))
    return torch.stack(scores)


@torch.no_grad()
def shared_prefix(recogniser: Recogniser, photo: Image.Image, question: str, names: list[str]) -> Tensor:
    """Return log-likelihoods [N], with the photo and the question computed once."""
    mllm = recogniser.mllm
    tokens = mllm.image_tokens(mllm.vision_features([photo]))
    return answer_log_likelihoods(mllm, mllm.question_ids(question), tokens, names)


def prefix_speed(recogniser: Recogniser, photo: Image.Image) -> dict:
    """Return the median seconds of both ways on one picture, their ratio, and whether they rank the names alike.

    In float32 they do. In bfloat16 the two ways round differently, by up to a few tenths, so that names whose
    log-likelihoods are closer than `largest_difference` may change places.
    """
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


def latency(recogniser: Recogniser, photo: Image.Image) -> dict:
    """Return the median seconds from the photo to the species, the first attribute word, and the end (warm model)."""
    times: dict[str, list[float]] = {"species": [], "first_attribute_word": [], "all": []}
    for repeat in range(REPEATS + 1):
        started = time.perf_counter()
        reached: dict[str, float] = {}
        for result in recogniser.stream(photo):
            reached.setdefault("species", time.perf_counter() - started)
            if result.attributes:  # a value has begun
                reached.setdefault("first_attribute_word", time.perf_counter() - started)
        reached["all"] = time.perf_counter() - started
        if repeat:  # the first one warms up
            for part, value in reached.items():
                times[part].append(value)
    return {part: round(statistics.median(values), 3) for part, values in times.items()}


def comparison(models: list[Recogniser], photo: Image.Image) -> dict:
    """Return the median seconds of two warm models on one photo, alone and side by side, and the ratio."""
    spaces = [model.label_space() for model in models]
    alone: list[list[float]] = [[] for _ in models]
    together: list[float] = []
    for _ in range(COMPARISONS + 1):
        for model, space, times in zip(models, spaces, alone, strict=True):
            times.append(_seconds(model.stream(photo, space)))
        encoder = SharedVisionEncoder(photo)
        sides = [Local(model, space, encoder) for model, space in zip(models, spaces, strict=True)]
        outputs = [empty_output(side.name) for side in sides]
        together.append(_seconds(side_by_side(sides, outputs, lambda side, output: side.identify(output))))
    single, both = [statistics.median(times[1:]) for times in alone], statistics.median(together[1:])  # warm
    return {
        "alone": {model.name: round(seconds, 2) for model, seconds in zip(models, single, strict=True)},
        "together": round(both, 2),
        "ratio_to_slower": round(both / max(single), 2),
    }


def _seconds(work: Iterator) -> float:
    started = time.perf_counter()
    for _ in work:
        pass
    return time.perf_counter() - started


def picture_files() -> dict[str, Path]:
    """Return the files in the `PICTURES` folders of installed packages, by file name."""
    files: dict[str, Path] = {}
    for package, folder in PICTURES.items():
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            files |= {
                path.name: path for path in sorted((Path(spec.origin).parent / folder).iterdir()) if path.is_file()
            }
    return files


def package_pictures() -> dict[str, Image.Image]:
    """Return the readable pictures of non-categories that come with installed packages, by file name."""
    pictures = {}
    for name, path in picture_files().items():
        if name not in IN_CATEGORY:
            with suppress(UserError):  # a text
                pictures[name] = open_photo(path.read_bytes()).image
    return pictures


def unknown_share(recogniser: Recogniser) -> dict:
    """Return how many pictures of non-categories are rejected as unknown, and which are not."""
    space = recogniser.label_space()
    pictures = package_pictures()
    missed = [
        name
        for name, picture in pictures.items()
        if recogniser.knows(recogniser.compare(recogniser.encode(picture), space))
    ]
    return {"pictures": len(pictures), "detected": round(1 - len(missed) / len(pictures), 3), "missed": missed}


def bench(names: list[str]) -> dict:
    """Return all measurements of the first model, and the peak memory of all of them together."""
    models = [load_recogniser(name) for name in names]
    photo = open_photo(picture_files()[CAT].read_bytes()).image
    return {
        "model": names[0],
        "prefix": prefix_speed(models[0], photo),
        "seconds": latency(models[0], photo),
        **({"comparison": comparison(models[:2], photo)} if len(models) > 1 else {}),
        "unknown": unknown_share(models[0]),
        "training": throughput(),
        "loaded": names,
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
