"""Linear probes: how well a linear classifier separates categories by the features of a model."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.progress import Progress

FOLDS = 5
INNER_FOLDS = 3
STRENGTHS = np.logspace(-4, 0, 5)  # of C; features are standardised
ITERATIONS = 2_000


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy of a probe on samples that it was not fitted to, in [0, 1]."""

    mean: float  # over the folds
    spread: float  # standard deviation over the folds
    chance: float  # accuracy of always naming the largest class, on the same samples
    samples: int
    classes: int
    folds: int
    left_out: int = 0  # classes with fewer samples than folds


def probe(
    features: np.ndarray, labels: Sequence[str], folds: int = FOLDS, seed: int = 0, groups: Sequence[int] | None = None
) -> Generator[Progress, None, ProbeResult]:
    """Return the accuracy of logistic regression on standardised features [N, D] of samples with `labels` [N].

    Everything that is fitted (mean and scale of the features, the weights, and by a cross-validation of its own the
    strength C of the regularisation) is fitted to the other folds than the one that is tested. The folds are drawn at
    random with every class in each; with `groups` [N], every group is a fold instead. Classes with fewer samples than
    folds are left out and counted. Progress comes after every fold but the last. Raises `UserError` if fewer than two
    classes remain, `ValueError` for fewer than three folds or features that are not finite.
    """
    folds = len(set(groups)) if groups is not None else folds
    if folds < 3:
        raise ValueError(f"{folds} folds leave none to choose C by.")
    if not np.isfinite(features).all():
        raise ValueError("A feature is not finite.")
    names, counts = np.unique(np.asarray(labels), return_counts=True)
    kept = np.isin(labels, names[counts >= folds])
    classes = int((counts >= folds).sum())
    if classes < 2:
        raise UserError(f"A probe needs at least two categories with {folds} samples each: there are {classes}.")
    x, y = features[kept].astype(np.float32), np.unique(np.asarray(labels)[kept], return_inverse=True)[1]
    of = None if groups is None else np.asarray(groups)[kept]
    accuracies = []
    for train, test in _splits(y, of, folds, seed):
        inner = None if of is None else of[train]
        accuracies.append(_fitted(x[train], y[train], inner, seed).score(x[test], y[test]))
        if len(accuracies) < folds:
            yield Progress(len(accuracies) / folds, f"Fold {len(accuracies)} of {folds}")
    return ProbeResult(
        mean=float(np.mean(accuracies)),
        spread=float(np.std(accuracies, ddof=1)),
        chance=float(np.bincount(y).max() / len(y)),
        samples=len(y),
        classes=classes,
        folds=folds,
        left_out=len(names) - classes,
    )


def _splits(y: np.ndarray, groups: np.ndarray | None, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold

    if groups is not None:
        return list(LeaveOneGroupOut().split(y, y, groups))
    return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y))


def _fitted(x: np.ndarray, y: np.ndarray, groups: np.ndarray | None, seed: int):  # noqa: ANN202 - sklearn's Pipeline
    """Return the classifier fitted to samples x [n, D] of classes y [n], with C chosen by folds of these."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inner = _splits(y, groups, min(INNER_FOLDS, int(np.bincount(y).min())), seed)
    classifier = LogisticRegressionCV(
        Cs=STRENGTHS, l1_ratios=(0,), cv=inner, scoring="accuracy", max_iter=ITERATIONS, use_legacy_attributes=False
    )
    return make_pipeline(StandardScaler(), classifier).fit(x, y)
