"""Compare two models on many photos: which photos each names correctly, and how often."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from PIL import Image

from core.data.images import open_photo, to_jpeg
from core.data.photo_sets import LabelledPhoto
from core.errors import UserError
from core.evaluation.outcomes import SharedVisionEncoder
from core.progress import count_progress
from core.recognition.asked_model import AskedModel
from core.recognition.label_space import LabelSpace, Names
from core.recognition.recogniser import Recogniser
from core.taxonomy.categories import canonical_name, find_category, name_key, same_category
from core.taxonomy.prompts import open_question

PAIR = ("idefics2-tiny", "finedefics-tiny")  # the default models
EVERYTHING = "all"  # candidates: all categories of the checkpoint
OWN_LABELS = "labels"  # candidates: the labels of the photos
OTHER = "other"  # the data set of labels that belong to no super-category
THUMBNAIL = 96  # pixels of its longer side
MAX_LISTED = 5  # names that are not among the candidates


@dataclass(frozen=True)
class Verdict:
    """The result of one model for one photo. `seconds` includes the vision encoder's, also where models share it."""

    species: str  # the first of its ranking; of a model that ranks no names, its answer
    probability: float | None  # None where it ranks no names
    known: bool
    right: bool | None  # None where the true name is not given, or not among the candidates
    answer: str  # "" unless free answers are generated
    seconds: float
    said: str = ""  # instead of a name that is not sure: its group (see `Conclusion.phrase`)


@dataclass(frozen=True)
class StudyRow:
    """One photo of a study: a verdict of each model, or the error that prevents it."""

    name: str
    label: str = ""  # its true name, if known
    data_set: str = ""
    sha256: str = ""
    thumbnail: bytes = b""  # a JPEG
    verdicts: tuple[Verdict, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Accuracy:
    """How many of the labelled photos of a data set each model named correctly."""

    data_set: str
    photos: int
    right: tuple[int, ...]


FILTERS: dict[str, Callable[[StudyRow], bool]] = {
    "all": lambda row: True,
    "differ": lambda row: len({name_key(verdict.species) for verdict in row.verdicts}) > 1,
    "both wrong": lambda row: _right(row) == [False, False],
    "only A right": lambda row: _right(row) == [True, False],
    "only B right": lambda row: _right(row) == [False, True],
}


def _right(row: StudyRow) -> list[bool | None]:
    return [verdict.right for verdict in row.verdicts]


@dataclass
class Study:
    """A comparison that is running or finished: `rows` grows by one per photo."""

    models: tuple[str, ...]  # A and B
    candidates: str
    total: int
    rows: list[StudyRow] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def progress(self) -> str:
        """Return how many photos are done, and the time left at the pace so far."""
        return count_progress(len(self.rows), self.total, self.started).message

    def accuracy(self) -> list[Accuracy]:
        """Return the accuracy per data set, sorted by name, then over all photos if there are several data sets."""
        counted = [row for row in self.rows if row.label and row.verdicts and None not in _right(row)]
        names = sorted({row.data_set for row in counted})
        groups = [(name, [row for row in counted if row.data_set == name]) for name in names]
        if len(groups) > 1:
            groups.append(("all photos", counted))
        return [
            Accuracy(name, len(rows), tuple(sum(map(bool, column)) for column in zip(*map(_right, rows), strict=True)))
            for name, rows in groups
        ]

    def labels_not_among_candidates(self) -> list[str]:
        """Return the true name of every photo whose name is not among the candidates of both models."""
        return [row.label for row in self.rows if row.label and row.verdicts and None in _right(row)]

    def note(self) -> str:
        """Return a sentence about the photos that the accuracy does not count, or nothing."""
        labels = self.labels_not_among_candidates()
        if not labels:
            return ""
        names = list(dict.fromkeys(labels))
        more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
        return (
            f"Not counted, since the true name is not among the candidates: {len(labels)} photos "
            f"({', '.join(names[:MAX_LISTED])}{more})."
        )


def check_models(models: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the two models. Raises `UserError` unless they are two different ones."""
    if len(set(models)) != 2 or not all(models):
        raise UserError("Choose two different models.")
    return tuple(models)


def choose_candidates(items: list[LabelledPhoto], choice: str) -> tuple[list[str] | None, str | None]:
    """Return the arguments `labels` and `super_category` of `Recogniser.label_space` for a choice of candidates.

    The choice is `EVERYTHING`, `OWN_LABELS` or a super-category. Raises `UserError` if the labels are too few.
    """
    if choice == EVERYTHING:
        return None, None
    if choice != OWN_LABELS:
        return None, choice
    labels = list(dict.fromkeys(item.label for item in items if item.label))
    if len({name_key(label) for label in labels}) < 2:
        raise UserError("The photos have fewer than two different labels: choose other candidates.")
    return labels, None


def examine(
    items: list[LabelledPhoto], models: Sequence[tuple[Recogniser | AskedModel, Names]], ask: bool
) -> Iterator[StudyRow]:
    """Yield a row per photo, with the verdicts of the models. A duplicate or unusable photo gives a row with an error.

    With `ask`, the models answer the open question, too. Closing the iterator stops the work after the current photo.
    """
    first_names: dict[str, str] = {}  # by hash
    for item in items:
        label = canonical_name(item.label)
        category = find_category(label)
        kind = item.dataset or (category.super_category.name if category else OTHER if label else "")
        row = StudyRow(item.name, label, kind)
        try:
            data = item.read()
            digest = hashlib.sha256(data).hexdigest()
            if digest in first_names:
                raise UserError(f"The same photo as {first_names[digest]}: it counts once.")
            photo = open_photo(data).image
        except UserError as error:
            yield replace(row, error=str(error))
            continue
        first_names[digest] = item.name
        verdicts = tuple(_verdicts(photo, models, label, ask))
        yield replace(row, sha256=digest, thumbnail=to_jpeg(photo, THUMBNAIL, 75), verdicts=verdicts)


def _verdicts(
    photo: Image.Image, models: Sequence[tuple[Recogniser | AskedModel, Names]], label: str, ask: bool
) -> Iterator[Verdict]:
    encoder = SharedVisionEncoder(photo)
    for model, space in models:
        if isinstance(model, AskedModel):
            started, encoding_seconds = time.perf_counter(), 0.0
            states = model.stream(photo, space, top=1, describe=False)
            result = next(states)
            if ask or not result.species:
                *_, result = result, *states
        else:
            encoding, encoding_seconds = encoder.encode(model)
            started = time.perf_counter()
            result = next(model.stream(encoding, cast("LabelSpace", space), top=1))
            if ask:
                result = replace(result, answer=model.writer.answers(open_question(space.group), encoding.tokens)[0])
        ranked = bool(result.species)
        name, probability = (result.species[0].name, result.species[0].probability) if ranked else (result.named, None)
        possible = not ranked or any(same_category(label, candidate) for candidate in space.categories)
        right = same_category(name, label) if label and possible else None
        seconds = encoding_seconds + time.perf_counter() - started
        said = less.phrase if (less := result.backed_off()) else ""
        yield Verdict(name, probability, result.known, right, result.answer if ask else "", seconds, said)
