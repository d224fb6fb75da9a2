"""Measure the accuracy of a model per data set: ranking, multiple-choice questions, free answers, calibration."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch.nn import functional as F

from core.data.images import read_photo
from core.embeddings.metrics import modality_gap
from core.evaluation.outcomes import EvaluationPhoto, Outcome, measure
from core.models.calibration import SCORES
from core.progress import log_progress, run
from core.recognition.conclusion import SURE, Conclusion, conclude
from core.recognition.label_space import LabelSpace
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import Recogniser
from train.data.records import Record, by_data_set
from train.evaluation.conclusions import conclusion_shares
from train.evaluation.written_clauses import clause_summary, mean_of, written_clauses

log = logging.getLogger(__name__)

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Detail:
    """Measurements of a photo beside its `Outcome`."""

    embedding: torch.Tensor  # [H]
    auto: str | None  # the first name among everything the model knows; None: not measured
    auto_confidence: float  # its probability
    conclusion: Conclusion | None = None  # among the same names; None: not measured, or the photo is refused


@dataclass(frozen=True)
class MeasuredSet:
    """The photos of a data set, measured among the names of a label space."""

    space: LabelSpace
    outcomes: list[Outcome[Detail]]  # in the order of the photos

    @property
    def gap(self) -> float:
        """Return the modality gap between the photos and the names."""
        objects = F.normalize(torch.stack([outcome.detail.embedding for outcome in self.outcomes]), dim=-1)
        return modality_gap(objects.numpy(), self.space.names.numpy())


def evaluate(
    recogniser: Recogniser,
    records: list[Record],
    csv_name: str,
    seed: int = 0,
    among_all: bool = True,
    descriptions: int = 0,
) -> dict:
    """Return the results per data set and their unweighted mean; `pooled` has the calibration errors over all photos.

    `conclusions` tells what is said of the photos, among everything the model knows, where the name is not sure.
    `among_all=False` leaves out the ranking among everything the model knows, which doubles the time. So many
    `descriptions` per data set are written and compared with the tables (see `clause_summary`).
    """
    known = recogniser.label_space() if among_all else None
    measured, clauses = {}, {}
    for name, group in by_data_set(records).items():
        space = recogniser.label_space(sorted({record.category for record in group}))
        measured[name] = measure_set(recogniser, name, group, space, known, seed)
        if descriptions and (written := written_clauses(recogniser, group, descriptions, seed)):
            clauses[name] = clause_summary(written)
    sets = {name: {**summary(one.outcomes), "gap": one.gap} for name, one in measured.items()}
    everything = [outcome for one in measured.values() for outcome in one.outcomes]
    mean = {key: sum(result[key] for result in sets.values()) / len(sets) for key in next(iter(sets.values()))}
    mean["n"] = len(everything)
    if clauses:
        mean |= mean_of(list(clauses.values()))
    conclusions = {"sure": SURE, **conclusion_shares([(o.detail.conclusion, o.truth) for o in everything])}
    return {
        "model": recogniser.name,
        "csv": csv_name,
        "seed": seed,
        "sets": {name: _rounded(result | clauses.get(name, {})) for name, result in sets.items()},
        "mean": _rounded(mean),
        "pooled": _rounded(calibration_errors(everything)),
        **({"conclusions": conclusions} if known else {}),
    }


def measure_set(
    recogniser: Recogniser,
    data_set: str,
    records: list[Record],
    space: LabelSpace,
    known: LabelSpace | None = None,
    seed: int = 0,
) -> MeasuredSet:
    """Measure the photos of one data set among the names of `space`, and if given also among those of `known`."""
    steps = measure(recogniser, evaluation_photos(records), space, _inspector(recogniser, known), seed)
    return MeasuredSet(space, run(steps, log_progress(log, f"{data_set}: ")))


def evaluation_photos(records: Sequence[Record]) -> list[EvaluationPhoto]:
    """Return the photos of records, which are opened one by one, with their true names."""
    return [EvaluationPhoto(partial(_open, record), record.category) for record in records]


def _open(record: Record) -> Image.Image:
    return read_photo(record.image).image


def _rounded(result: dict) -> dict:
    return {key: round(value, 4) for key, value in result.items()}


def _inspector(recogniser: Recogniser, everything: LabelSpace | None) -> Callable[[PhotoEncoding], Detail]:
    """Return a function that measures the `Detail` of an encoded photo, with its rank in `everything` if given."""

    def inspect(encoding: PhotoEncoding) -> Detail:
        if everything is None:
            return Detail(encoding.embedding, None, 0.0)
        scores = recogniser.score(encoding, everything)
        ranking = recogniser.ranking(scores, everything)
        conclusion = conclude(ranking) if recogniser.knows(scores) else None
        return Detail(encoding.embedding, ranking[0].name, ranking[0].probability, conclusion)

    return inspect


def summary(outcomes: list[Outcome[Detail]]) -> dict[str, float]:
    """Return the shares of correct answers and the calibration error of one data set."""
    n = len(outcomes)
    return {
        "n": n,
        "top1": sum(o.rank == 0 for o in outcomes) / n,
        "top5": sum(o.rank < 5 for o in outcomes) / n,
        "options4_ranking": sum(o.closed.ranking for o in outcomes) / n,
        "options4_letter_logprob": sum(o.closed.letter for o in outcomes) / n,
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
