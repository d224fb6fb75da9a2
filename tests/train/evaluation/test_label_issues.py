"""Labels swapped on purpose, on made-up features whose classes are separable."""

import numpy as np
import pytest

from train.evaluation.label_issues import FOLDS, find_label_issues


def clusters(classes=8, samples=30, distance=12.0, dimensions=16, seed=0):
    """Normalised features [N, D] of classes that are as far apart as `distance` standard deviations, and labels."""
    rng = np.random.default_rng(seed)
    centres = distance * np.eye(classes, dimensions) / np.sqrt(2)
    truth = np.repeat(np.arange(classes), samples)
    features = centres[truth] + rng.normal(size=(len(truth), dimensions))
    return features / np.linalg.norm(features, axis=1, keepdims=True), np.array([f"class {row}" for row in truth])


def swapped(labels, share=0.05, seed=0):
    """The labels with a share of them wrong, and which these are."""
    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(labels), round(share * len(labels)), replace=False)
    changed, names = labels.copy(), np.unique(labels)
    for row in wrong:
        changed[row] = rng.choice(names[names != labels[row]])
    return changed, set(wrong.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_most_swapped_labels_are_found_with_few_false_alarms(seed):
    features, truth = clusters(seed=seed)
    labels, wrong = swapped(truth, seed=seed)
    issues = find_label_issues(features, labels)
    found = {issue.sample for issue in issues.found}
    assert len(found & wrong) >= 0.8 * len(wrong)
    assert len(found - wrong) <= 0.01 * len(labels)
    assert all(issue.other == truth[issue.sample] for issue in issues.found if issue.sample in wrong)
    assert all(issue.given == labels[issue.sample] for issue in issues.found)
    assert (issues.judged, issues.left_out) == (len(labels), [])


def test_right_labels_give_next_to_no_alarm_and_the_surest_come_first():
    features, truth = clusters()
    assert len(find_label_issues(features, truth).found) <= 0.01 * len(truth)
    issues = find_label_issues(features, swapped(truth)[0]).found
    margins = [issue.other_probability - issue.given_probability for issue in issues]
    assert margins == sorted(margins, reverse=True)
    assert all(margin > 0 for margin in margins)


def test_no_sample_is_judged_by_a_classifier_that_saw_it(monkeypatch):
    from sklearn.linear_model import LogisticRegression

    features, truth = clusters(classes=3, samples=10)
    row = {tuple(sample): i for i, sample in enumerate(features.astype(np.float32).tolist())}
    fitted, judged, fit, predict = [], [], LogisticRegression.fit, LogisticRegression.predict_proba

    def recorded_fit(self, x, y):
        fitted.append({row[tuple(sample)] for sample in x.tolist()})
        return fit(self, x, y)

    def recorded_predict(self, x):
        judged.append({row[tuple(sample)] for sample in x.tolist()})
        return predict(self, x)

    monkeypatch.setattr("sklearn.preprocessing.Normalizer.transform", lambda self, x: x)
    monkeypatch.setattr(LogisticRegression, "fit", recorded_fit)
    monkeypatch.setattr(LogisticRegression, "predict_proba", recorded_predict)
    find_label_issues(features, truth)
    assert set.union(*judged) == set(range(30))
    assert len(fitted) == len(judged) == FOLDS
    assert all(not seen & asked and len(seen | asked) == 30 for seen, asked in zip(fitted, judged, strict=True))


def test_names_with_too_few_samples_are_left_out_and_told():
    features, labels = clusters(classes=4, samples=10)
    labels = np.array([f"rare {i}" if 26 <= i < 30 else label for i, label in enumerate(labels)])
    issues = find_label_issues(features, labels)
    assert issues.left_out == [f"rare {i}" for i in range(26, 30)]
    assert issues.judged == 36
    assert not {issue.sample for issue in issues.found} & set(range(26, 30))
    none = find_label_issues(features[:14], ["a"] * 10 + ["b"] * 4)
    assert (none.found, none.judged, none.left_out) == ([], 0, ["b"])


def test_the_positions_are_those_given_when_samples_are_left_out():
    features, truth = clusters(classes=4, samples=20)
    labels = truth.copy()
    labels[:3], labels[50] = "rare", "class 0"
    assert 50 in {issue.sample for issue in find_label_issues(features, labels).found}
