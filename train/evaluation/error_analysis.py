"""Analyse the errors of a model on labelled photos: which names it confuses, and which labels look wrong."""

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.metrics import confusion_matrix

from core.evaluation.outcomes import measure
from core.progress import log_progress, run
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import Recogniser
from train.data.photo_array import distinct_photos
from train.data.records import Record, by_data_set
from train.evaluation.accuracy import evaluation_photos
from train.evaluation.label_issues import LabelIssues, find_label_issues

log = logging.getLogger(__name__)

MATRIX_NAMES = 25  # of a confusion matrix that is shown


@dataclass(frozen=True)
class NamedPhoto:
    """A labelled photo and what the model named it."""

    record: Record
    name: str
    confidence: float  # probability of that name

    @property
    def right(self) -> bool:
        """Return whether the model named it as its label does."""
        return self.name == self.record.category


@dataclass(frozen=True)
class Confusion:
    """A name that photos of another one were given."""

    truth: str
    predicted: str
    count: int
    share: float  # of the photos of the true name


@dataclass(frozen=True)
class SetErrors:
    """The errors on one data set. `issues` refers to `judged` by position."""

    data_set: str
    photos: list[NamedPhoto]
    judged: list[NamedPhoto]  # distinct by content
    issues: LabelIssues

    @cached_property
    def names(self) -> list[str]:
        """The names of the data set, sorted; a photo is named by one of them."""
        return sorted({photo.record.category for photo in self.photos})

    @cached_property
    def matrix(self) -> np.ndarray:
        """The confusion matrix [C, C]: photos by true name (row) and by the name that the model gave (column)."""
        truths = [photo.record.category for photo in self.photos]
        return confusion_matrix(truths, [photo.name for photo in self.photos], labels=self.names)

    def confusions(self) -> list[Confusion]:
        """Return the entries off the diagonal that are not zero, the largest first."""
        totals = self.matrix.sum(axis=1)
        found = [
            Confusion(self.names[row], self.names[column], int(count), float(count / totals[row]))
            for (row, column), count in np.ndenumerate(self.matrix)
            if row != column and count
        ]
        return sorted(found, key=lambda one: (-one.count, -one.share, one.truth, one.predicted))

    def worst_pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of names by the number of photos of either that were given the other's, the largest first."""
        counts: dict[tuple[str, str], int] = {}
        for one in self.confusions():
            first, second = sorted((one.truth, one.predicted))
            counts[first, second] = counts.get((first, second), 0) + one.count
        return sorted(counts, key=lambda pair: -counts[pair])

    def named(self, truth: str, name: str) -> list[NamedPhoto]:
        """Return the photos of one name that the model gave another (or the same), the most confident first."""
        found = [photo for photo in self.photos if (photo.record.category, photo.name) == (truth, name)]
        return sorted(found, key=lambda photo: -photo.confidence)


def analyse(recogniser: Recogniser, records: list[Record], seed: int = 0) -> list[SetErrors]:
    """Return the errors per data set; photos are ranked among the names of their data set.

    Labels are judged by the vision encoder's features, a photo that is there twice once.
    """
    return [_analyse_set(recogniser, name, group, seed) for name, group in by_data_set(records).items()]


def _analyse_set(recogniser: Recogniser, name: str, records: list[Record], seed: int) -> SetErrors:
    space = recogniser.label_space(sorted({record.category for record in records}))
    steps = measure(recogniser, evaluation_photos(records), space, _vision_features, seed)
    outcomes = run(steps, log_progress(log, f"{name}: "))
    named = [NamedPhoto(record, o.first, o.confidence) for record, o in zip(records, outcomes, strict=True)]
    rows = {record.sha256: row for row, record in enumerate(records)}
    judged = [rows[digest] for digest in distinct_photos(records)]
    log.info("%s: fitting classifiers that judge the labels of %d photos", name, len(judged))
    issues = find_label_issues(
        np.stack([outcomes[row].detail for row in judged]), [records[row].category for row in judged], seed
    )
    return SetErrors(name, named, [named[row] for row in judged], issues)


def _vision_features(encoding: PhotoEncoding) -> np.ndarray:
    """Return the pooled vision features [D] of a photo."""
    return encoding.features.numpy()


def shown_order(matrix: np.ndarray, most: int = MATRIX_NAMES) -> list[int]:
    """Return the rows of a confusion matrix [C, C] to show: the most confused, such that confused ones are neighbours.

    They are the leaves, in their optimal order (Bar-Joseph et al. 2001), of a hierarchical clustering by the share of
    photos that are confused.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    wrong = matrix * (1 - np.eye(len(matrix), dtype=int))
    shown = np.sort(np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:most])
    shares = (wrong / matrix.sum(axis=1, keepdims=True))[np.ix_(shown, shown)]
    distances = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distances, 0)
    return shown[leaves_list(linkage(squareform(distances), "average", optimal_ordering=True))].tolist()
