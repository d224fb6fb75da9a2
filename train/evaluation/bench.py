"""`python -m train bench`: speed, memory, and what becomes of pictures of other things."""

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
from core.evaluation.side_by_side import Local, SharedVisionEncoder, empty_output, side_by_side
from core.models.scoring import answer_log_likelihoods
from core.recognition.recogniser import Recogniser
from core.taxonomy.categories import categories, super_categories
from core.taxonomy.prompts import open_question
from core.zoo.registry import load
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


def prefix_speed(recogniser: Recogniser, photo: Image.Image) -> dict:
    """Median seconds of both ways on one picture, their ratio, and whether they rank alike."""
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
    """Median seconds from the photo to the species, the first word of the attributes, and the end (warm model)."""
    times: dict[str, list[float]] = {"species": [], "first_attribute_word": [], "all": []}
    for repeat in range(REPEATS + 1):
        started = time.perf_counter()
        seen: dict[str, float] = {}
        for result in recogniser.stream(photo):
            seen.setdefault("species", time.perf_counter() - started)
            if result.attributes:  # a value has begun
                seen.setdefault("first_attribute_word", time.perf_counter() - started)
        seen["all"] = time.perf_counter() - started
        if repeat:  # the first one warms up
            for part, value in seen.items():
                times[part].append(value)
    return {part: round(statistics.median(values), 3) for part, values in times.items()}


def comparison(models: list[Recogniser], photo: Image.Image) -> dict:
    """Median seconds that two warm models take with one photo, alone and side by side, and what this costs."""
    spaces = [model.label_space() for model in models]
    alone: list[list[float]] = [[] for _ in models]
    together: list[float] = []
    for _ in range(COMPARISONS + 1):
        for model, space, times in zip(models, spaces, alone, strict=True):
            times.append(_seconds(model.stream(photo, space)))
        eyes = SharedVisionEncoder(photo)
        sides = [Local(model, space, eyes) for model, space in zip(models, spaces, strict=True)]
        columns = [empty_output(side.name) for side in sides]
        together.append(_seconds(side_by_side(sides, columns, lambda side, said: side.identify(said))))
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
    """Files in the `PICTURES` folders of installed packages, by file name."""
    files: dict[str, Path] = {}
    for package, folder in PICTURES.items():
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            files |= {
                path.name: path for path in sorted((Path(spec.origin).parent / folder).iterdir()) if path.is_file()
            }
    return files


def package_pictures() -> dict[str, Image.Image]:
    """Readable pictures of non-categories that come with installed packages, by file name."""
    pictures = {}
    for name, path in picture_files().items():
        if name not in IN_CATEGORY:
            with suppress(UserError):  # a text
                pictures[name] = open_photo(path.read_bytes()).image
    return pictures


def unknown_share(recogniser: Recogniser) -> dict:
    """How many pictures of non-categories are refused as unknown, and which are not."""
    space = recogniser.label_space()
    pictures = package_pictures()
    missed = [
        name
        for name, picture in pictures.items()
        if recogniser.knows(recogniser.compare(recogniser.encode(picture), space))
    ]
    return {"pictures": len(pictures), "detected": round(1 - len(missed) / len(pictures), 3), "missed": missed}


def bench(names: list[str]) -> dict:
    """All measurements: of the first named model, and of the memory that all of them take together."""
    models = [load(name) for name in names]
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
