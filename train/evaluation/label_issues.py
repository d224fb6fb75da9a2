"""Find photos whose label looks wrong, by a classifier that is fitted without them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FOLDS = 5
STRENGTH = 10.0  # C of the logistic regression, for features of length 1
ITERATIONS = 2_000


@dataclass(frozen=True)
class LabelIssue:
    """A sample whose label looks wrong: the classifier is sure of another name."""

    sample: int
    given: str
    other: str
    given_probability: float
    other_probability: float


@dataclass(frozen=True)
class LabelIssues:
    """The samples of `find_label_issues`, the surest first, and what it judged."""

    found: list[LabelIssue]
    judged: int  # samples
    left_out: list[str]  # names with fewer samples than folds


def find_label_issues(features: np.ndarray, labels: Sequence[str], seed: int = 0) -> LabelIssues:
    """Return the samples whose label looks wrong, from features [N, D] and labels [N].

    The probabilities are cross-fitted: logistic regression on normalised features, with `FOLDS` stratified folds,
    each judged by a classifier fitted to the others. Names with fewer samples than that are left out; if fewer than
    two remain, nothing is judged.

    The rule is confident learning's (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in
    Dataset Labels", J. Artif. Intell. Res. 70, section 3.1): the threshold of a name is the mean probability that the
    samples with this label have of it; the name that counts for a sample is the most probable of those that reach
    their threshold; a sample is an issue if that is not its label (an off-diagonal entry of the confident joint).
    """
    names, given, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    left_out = names[counts < FOLDS].tolist()
    kept = np.flatnonzero(counts[given] >= FOLDS)
    if len(names) - len(left_out) < 2:
        return LabelIssues([], 0, left_out)
    names, given = np.unique(names[given[kept]], return_inverse=True)
    probabilities = _cross_fitted(features[kept].astype(np.float32), given, seed)
    own = probabilities[np.arange(len(given)), given]
    thresholds = np.array([own[given == name].mean() for name in range(len(names))])
    confident = np.where(probabilities >= thresholds, probabilities, 0)
    other = confident.argmax(axis=1)
    issues = [
        LabelIssue(int(kept[row]), str(names[given[row]]), str(names[other[row]]), float(own[row]), float(sure))
        for row, sure in enumerate(confident.max(axis=1))
        if sure > 0 and other[row] != given[row]
    ]
    issues.sort(key=lambda issue: issue.given_probability - issue.other_probability)
    return LabelIssues(issues, len(kept), left_out)


def _cross_fitted(features: np.ndarray, classes: np.ndarray, seed: int) -> np.ndarray:
    """Return the probability [N, C] of every class, by classifiers that were fitted to other samples."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    classifier = make_pipeline(Normalizer(), LogisticRegression(C=STRENGTH, max_iter=ITERATIONS))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return cross_val_predict(classifier, features, classes, cv=folds, method="predict_proba")
