"""Measure the accuracy of a model per data set: ranking, multiple-choice questions, free answers, calibration."""

import logging
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional as F

from core.data.images import read_photo
from core.embeddings.metrics import modality_gap
from core.errors import UserError
from core.evaluation.outcomes import EvaluationPhoto, Outcome, measure
from core.progress import Progress, count_progress, log_progress, run
from core.recognition.label_space import LabelSpace
from core.recognition.multiple_choice import Options, answers_correctly
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import SCORES, Recogniser
from train.data.official import ClosedQuestion
from train.data.records import Record

log = logging.getLogger(__name__)

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Detail:
    """Measurements of a photo beside its `Outcome`."""

    embedding: torch.Tensor  # [H]
    auto: str | None  # the first name among everything the model knows; None: not measured
    auto_confidence: float  # its probability


def evaluate(
    recogniser: Recogniser, records: list[Record], csv_name: str, seed: int = 0, among_all: bool = True
) -> dict:
    """Return the results per data set and their unweighted mean; `pooled` has the calibration errors over all photos.

    `among_all=False` leaves out the ranking among everything the model knows, which doubles the time.
    """
    by_set: dict[str, list[Record]] = {}
    for record in records:
        by_set.setdefault(record.data_set, []).append(record)
    known = recogniser.label_space() if among_all else None
    sets, everything = {}, []
    for name, records in by_set.items():
        space = recogniser.label_space(sorted({record.category for record in records}))
        photos = [EvaluationPhoto(partial(_open, record), record.category) for record in records]
        steps = measure(recogniser, photos, space, _inspector(recogniser, known), seed)
        outcomes = run(steps, log_progress(log, f"{name}: "))
        objects = F.normalize(torch.stack([outcome.detail.embedding for outcome in outcomes]), dim=-1)
        gap = modality_gap(objects.numpy(), space.names.numpy())
        sets[name] = {**summary(outcomes), "gap": gap}
        everything += outcomes
    mean = {key: sum(result[key] for result in sets.values()) / len(sets) for key in next(iter(sets.values()))}
    mean["n"] = len(everything)
    return {
        "model": recogniser.name,
        "csv": csv_name,
        "seed": seed,
        "sets": {name: _rounded(result) for name, result in sets.items()},
        "mean": _rounded(mean),
        "pooled": _rounded(calibration_errors(everything)),
    }


def _open(record: Record) -> Image.Image:
    return read_photo(record.image).image


def _rounded(result: dict) -> dict:
    return {key: round(value, 4) for key, value in result.items()}


def _inspector(recogniser: Recogniser, everything: LabelSpace | None) -> Callable[[PhotoEncoding], Detail]:
    """Return a function that measures the `Detail` of an encoded photo, with its rank in `everything` if given."""

    def inspect(encoding: PhotoEncoding) -> Detail:
        if everything is None:
            return Detail(encoding.embedding, None, 0.0)
        among = recogniser.logits(recogniser.score(encoding, everything)).softmax(dim=0)
        return Detail(encoding.embedding, everything.labels[int(among.argmax())], among.max().item())

    return inspect


def foci_accuracy(
    recogniser: Recogniser, questions: list[ClosedQuestion], folder: Path, seed: int = 0
) -> dict[str, float]:
    """Return the shares of FOCI questions answered correctly, with the keys of `summary`.

    `n` is the number of questions whose photo is in `folder`. Raises `UserError` if it is 0, or if two photos there
    share a name.
    """
    photos: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and photos.setdefault(path.name, path) != path:
            raise UserError(f"{photos[path.name]} and {path} share a name: name the folder of one split.")
    rng = random.Random(seed)
    shuffled = [(question, rng.sample(question.options, len(question.options))) for question in questions]
    answerable = [
        (photos[question.image], Options(names, names.index(question.answer)))
        for question, names in shuffled
        if question.image in photos
    ]
    if not answerable:
        raise UserError(f"None of the {len(questions)} photos that are asked about is in {folder}.")
    correct = run(_answer(recogniser, answerable), log_progress(log, "FOCI: "))
    closed, letter = (sum(column) / len(correct) for column in zip(*correct, strict=True))
    return _rounded({"n": len(correct), "closed4": closed, "closed4_letter_alone": letter})


def _answer(
    recogniser: Recogniser, questions: list[tuple[Path, Options]]
) -> Generator[Progress, None, list[tuple[bool, bool]]]:
    """Return `answers_correctly` for every photo and its options."""
    started = time.monotonic()
    correct: list[tuple[bool, bool]] = []
    for path, options in questions:
        encoding, space = recogniser.encode(read_photo(path).image), recogniser.label_space(options.names)
        scores = recogniser.score(encoding, space)
        correct.append(answers_correctly(recogniser, encoding, scores, space, options))
        yield count_progress(len(correct), len(questions), started, "questions")
    return correct


def summary(outcomes: list[Outcome[Detail]]) -> dict[str, float]:
    """Return the shares of correct answers and the calibration error of one data set."""
    n = len(outcomes)
    return {
        "n": n,
        "top1": sum(o.rank == 0 for o in outcomes) / n,
        "top5": sum(o.rank < 5 for o in outcomes) / n,
        "closed4": sum(o.closed for o in outcomes) / n,
        "closed4_letter_alone": sum(o.letter for o in outcomes) / n,
        "open": sum(o.open for o in outcomes) / n,
        **({} if outcomes[0].detail.auto is None else {"top1_auto": sum(_auto_correct(o) for o in outcomes) / n}),
        "refused": sum(not o.known for o in outcomes) / n,
        **calibration_errors(outcomes),
        **{f"top1_{score}_alone": sum(o.alone[i] for o in outcomes) / n for i, score in enumerate(SCORES)},
    }


def _auto_correct(outcome: Outcome[Detail]) -> bool:
    return outcome.detail.auto == outcome.truth


def calibration_errors(outcomes: list[Outcome[Detail]]) -> dict[str, float]:
    """Return the calibration error within the data set's categories and, if measured, among all the model knows."""
    errors = {"ece": expected_calibration_error([o.confidence for o in outcomes], [o.rank == 0 for o in outcomes])}
    if outcomes[0].detail.auto is not None:
        confidences, correct = [o.detail.auto_confidence for o in outcomes], [_auto_correct(o) for o in outcomes]
        errors["ece_auto"] = expected_calibration_error(confidences, correct)
    return errors


def expected_calibration_error(confidences: list[float], correct: list[bool]) -> float:
    """Return the mean |accuracy - confidence| over `CALIBRATION_BINS` equal bins, weighted by their photos."""
    confidence, right = torch.tensor(confidences), torch.tensor(correct, dtype=torch.float32)
    bins = (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    gaps = [(right[bins == b] - confidence[bins == b]).sum().abs() for b in range(CALIBRATION_BINS)]
    return (torch.stack(gaps).sum() / len(confidences)).item()
