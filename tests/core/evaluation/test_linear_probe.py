"""Probes on made-up features whose separability is known."""

from statistics import NormalDist

import numpy as np
import pytest

from core.errors import UserError
from core.evaluation import linear_probe as probes
from core.evaluation.linear_probe import probe as steps_of
from core.progress import run


def probe(*args, **options):
    return run(steps_of(*args, **options))


def gaussians(n, distance, dimensions=4, seed=0):
    """Two unit Gaussians [n, D] whose centres are `distance` apart along one axis, and their classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    features = rng.normal(size=(n, dimensions))
    features[:, 0] += distance * labels
    return features, [f"class {label}" for label in labels]


@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0])
def test_the_accuracy_is_that_of_the_best_classifier(distance):
    best = NormalDist().cdf(distance / 2)  # Bayes: the classes overlap beyond the middle
    result = probe(*gaussians(2000, distance))
    assert result.mean == pytest.approx(best, abs=0.02)
    assert (result.chance, result.samples, result.classes, result.folds) == (0.5, 2000, 2, 5)
    assert 0 < result.spread < 0.04


def test_the_scale_and_place_of_features_do_not_matter():
    features, labels = gaussians(300, 2.0)
    assert probe(features * [1e4, 1e-3, 1, 1] + 7, labels).mean == pytest.approx(probe(features, labels).mean, abs=0.01)


def test_shuffled_labels_are_at_chance():
    features, labels = gaussians(600, 4.0)
    labels = np.random.default_rng(1).permutation(labels)
    assert probe(features, labels).mean == pytest.approx(0.5, abs=0.06)


def test_noise_in_many_dimensions_is_at_chance():
    """More features than samples separate any training set; chosen on the tested samples, C would gain from them."""
    results = [probe(*gaussians(40, 0.0, dimensions=100, seed=seed), seed=seed).mean for seed in range(10)]
    assert np.mean(results) == pytest.approx(0.5, abs=0.075)  # three standard errors of 400 guesses


def test_nothing_is_fitted_to_or_chosen_by_what_is_tested(monkeypatch):
    features, labels = gaussians(50, 1.0)
    row = {tuple(sample): i for i, sample in enumerate(features.astype(np.float32).tolist())}
    fitted, tested, original = [], [], probes._fitted

    def recorded(x, *rest):
        fitted.append({row[tuple(sample)] for sample in x.tolist()})
        pipeline = original(x, *rest)

        class Scored:
            def score(self, x, y):
                tested.append({row[tuple(sample)] for sample in x.tolist()})
                return pipeline.score(x, y)

        return Scored()

    monkeypatch.setattr(probes, "_fitted", recorded)
    probe(features, labels)
    assert [len(part) for part in tested] == [10] * 5
    assert set.union(*tested) == set(range(50))
    assert all(not a & b and len(a | b) == 50 for a, b in zip(fitted, tested, strict=True))


def test_groups_are_never_torn_apart():
    """A feature that tells the classes apart within each group, the other way round in the next, is worth nothing."""
    rng = np.random.default_rng(0)
    labels, groups = np.arange(400) % 2, np.arange(400) // 100
    features = rng.normal(size=(400, 2))
    features[:, 0] += 6 * labels * np.where(groups % 2, -1, 1)
    assert probe(features, labels, groups=groups).mean < 0.7
    assert probe(features, labels, groups=groups).folds == 4
    constant = features.copy()
    constant[:, 0] = rng.normal(size=400) + 6 * labels
    assert probe(constant, labels, groups=groups).mean > 0.98


def test_classes_that_are_too_small_are_left_out_and_counted():
    features, labels = gaussians(40, 6.0)
    labels = ["rare" if i < 4 else label for i, label in enumerate(labels)]
    result = probe(features, labels)
    assert (result.classes, result.left_out, result.samples) == (2, 1, 36)
    with pytest.raises(UserError, match="at least two categories with 5 samples each: there are 1"):
        probe(features[:14], ["a"] * 10 + ["b"] * 4)


def test_chance_is_the_share_of_the_largest_class():
    features, _ = gaussians(100, 0.0)
    assert probe(features, ["a"] * 80 + ["b"] * 20).chance == 0.8


def test_the_same_seed_gives_the_same_number():
    features, labels = gaussians(60, 1.0)
    assert probe(features, labels, seed=3) == probe(features, labels, seed=3)
    assert {probe(features, labels, seed=seed).mean for seed in (1, 2)} != {probe(features, labels, seed=0).mean}


def test_features_that_are_not_numbers_are_an_error():
    features, labels = gaussians(20, 1.0)
    features[3, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        probe(features, labels)
    with pytest.raises(ValueError, match="2 folds"):
        probe(features[:3], labels[:3], folds=2)
