"""Accuracy of a model on labelled photos, per data set: ranking, closed-set questions, free answers, calibration."""

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from core.data.images import read_photo
from core.embeddings.metrics import modality_gap
from core.errors import UserError
from core.recognition.label_space import LabelSpace
from core.recognition.multiple_choice import answered, names_category
from core.recognition.recogniser import SCORES, Recogniser
from core.taxonomy.prompts import open_question
from core.taxonomy.similarity import most_similar
from train.data.official import ClosedQuestion
from train.data.records import Record

log = logging.getLogger(__name__)

CALIBRATION_BINS = 15
PHOTOS_PER_BATCH = 16  # of free answers


@dataclass(frozen=True)
class Outcome:
    """What happened to one photo."""

    rank: int  # of the truth in the ranking, 0 = first
    confidence: float  # probability of the first name
    closed: bool  # the closed-set question was answered rightly
    letter: bool  # the letter alone would have answered it rightly
    open: bool  # the free answer names the truth or an alias of it
    known: bool
    alone: tuple[bool, ...]  # each of `SCORES` alone would have ranked the truth first
    auto: bool | None  # the truth is first among everything the model knows; None: not measured
    auto_confidence: float  # probability of the first name there
    embedding: torch.Tensor  # [H] of the photo


def evaluate(
    recogniser: Recogniser, records: list[Record], csv_name: str, seed: int = 0, among_all: bool = True
) -> dict:
    """Results per data set and their unweighted mean, as plain data; `pooled` has the errors over all photos.

    `among_all=False` leaves out the ranking among everything the model knows, which takes as long as all the rest.
    """
    by_set: dict[str, list[Record]] = {}
    for record in records:
        by_set.setdefault(record.data_set, []).append(record)
    known = recogniser.label_space() if among_all else None
    sets, everything = {}, []
    for name, records in by_set.items():
        space = recogniser.label_space(sorted({record.category for record in records}))
        outcomes = []
        for outcome in outcomes_of(recogniser, records, space, known, seed):
            outcomes.append(outcome)
            if len(outcomes) % 50 == 0:
                log.info("%s: %d of %d photos", name, len(outcomes), len(records))
        objects = F.normalize(torch.stack([outcome.embedding for outcome in outcomes]), dim=-1)
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


def _rounded(result: dict) -> dict:
    return {key: round(value, 4) for key, value in result.items()}


def outcomes_of(
    recogniser: Recogniser, records: list[Record], space: LabelSpace, everything: LabelSpace | None, seed: int
) -> Iterator[Outcome]:
    """One outcome per record; `space` are the records' categories, `everything` (for `auto`) all that is known."""
    labels = space.labels
    look_alikes = most_similar(labels, 3)
    rng = random.Random(seed)
    for start in range(0, len(records), PHOTOS_PER_BATCH):
        batch = records[start : start + PHOTOS_PER_BATCH]
        looks = [recogniser.encode(read_photo(record.image).image) for record in batch]
        answers = recogniser.writer.answers(
            open_question(space.group), torch.cat([encoding.tokens for encoding in looks])
        )
        for record, encoding, answer in zip(batch, looks, answers, strict=True):
            scores = recogniser.score(encoding, space)
            auto: bool | None = None
            auto_confidence = 0.0
            if everything:
                among = recogniser.logits(recogniser.score(encoding, everything)).softmax(dim=0)
                auto = everything.labels[int(among.argmax())] == record.category
                auto_confidence = among.max().item()
            probabilities = recogniser.logits(scores).softmax(dim=0)
            truth = labels.index(record.category)
            options = [labels[i] for i in (truth, *look_alikes[truth])]
            rng.shuffle(options)
            closed, letter = answered(recogniser, encoding, scores, space, options, record.category)
            yield Outcome(
                rank=rank_of(recogniser.logits(scores), truth),
                confidence=probabilities.max().item(),
                closed=closed,
                letter=letter,
                open=names_category(answer, record.category),
                known=recogniser.knows(scores),
                alone=tuple(rank_of(row, truth) == 0 for row in scores.stack()),
                auto=auto,
                auto_confidence=auto_confidence,
                embedding=encoding.embedding,
            )


def foci_accuracy(
    recogniser: Recogniser, questions: list[ClosedQuestion], folder: Path, seed: int = 0
) -> dict[str, float]:
    """Shares of FOCI questions answered rightly, in the columns of `summary`; `n` of them have a photo in `folder`.

    Raises `UserError` if none has one, or if two photos there share a name.
    """
    photos: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and photos.setdefault(path.name, path) != path:
            raise UserError(f"{photos[path.name]} and {path} share a name: name the folder of one split.")
    rng = random.Random(seed)
    rights = []
    for question in questions:
        options = rng.sample(question.options, len(question.options))
        if question.image not in photos:
            continue
        encoding, space = recogniser.encode(read_photo(photos[question.image]).image), recogniser.label_space(options)
        rights.append(answered(recogniser, encoding, recogniser.score(encoding, space), space, options, question.answer))
    if not rights:
        raise UserError(f"None of the {len(questions)} photos that are asked about is in {folder}.")
    closed, letter = (sum(column) / len(rights) for column in zip(*rights, strict=True))
    return _rounded({"n": len(rights), "closed4": closed, "closed4_letter_alone": letter})


def rank_of(scores: torch.Tensor, truth: int) -> int:
    """Rank of the truth, 0 = first; ties count against it. Raises `ValueError` if a score is not finite."""
    if not scores.isfinite().all():
        raise ValueError("A score is not finite.")
    return int((scores >= scores[truth]).sum()) - 1


def summary(outcomes: list[Outcome]) -> dict[str, float]:
    """Shares of right answers and the calibration error of one data set."""
    n = len(outcomes)
    return {
        "n": n,
        "top1": sum(o.rank == 0 for o in outcomes) / n,
        "top5": sum(o.rank < 5 for o in outcomes) / n,
        "closed4": sum(o.closed for o in outcomes) / n,
        "closed4_letter_alone": sum(o.letter for o in outcomes) / n,
        "open": sum(o.open for o in outcomes) / n,
        **({} if outcomes[0].auto is None else {"top1_auto": sum(bool(o.auto) for o in outcomes) / n}),
        "refused": sum(not o.known for o in outcomes) / n,
        **calibration_errors(outcomes),
        **{f"top1_{score}_alone": sum(o.alone[i] for o in outcomes) / n for i, score in enumerate(SCORES)},
    }


def calibration_errors(outcomes: list[Outcome]) -> dict[str, float]:
    """The calibration error within the data set's categories and, if measured, among everything the model knows."""
    errors = {"ece": expected_calibration_error([o.confidence for o in outcomes], [o.rank == 0 for o in outcomes])}
    if outcomes[0].auto is not None:
        confidences, rights = [o.auto_confidence for o in outcomes], [bool(o.auto) for o in outcomes]
        errors["ece_auto"] = expected_calibration_error(confidences, rights)
    return errors


def expected_calibration_error(confidences: list[float], rights: list[bool]) -> float:
    """Mean |accuracy - confidence| over `CALIBRATION_BINS` equal bins of confidence, weighted by their photos."""
    confidence, right = torch.tensor(confidences), torch.tensor(rights, dtype=torch.float32)
    bins = (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    gaps = [(right[bins == b] - confidence[bins == b]).sum().abs() for b in range(CALIBRATION_BINS)]
    return (torch.stack(gaps).sum() / len(confidences)).item()
