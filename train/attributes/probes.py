"""Find the clauses of a category's description that each single photo of it supports, by probes on vision features.

A probe is logistic regression from a photo's frozen vision features to whether a word stands in an attribute's value
("black" in the crown's). The words are probed, not the values: hardly any two categories share a value word for word.

Which photos a probe has seen decides what it measures. Here it has seen **no photo of the category that it is asked
about**, nor the category's table: the folds are of categories. Only then is its answer evidence of the photo. A probe
that has seen other photos of the category recognises the category and repeats its table, whatever this photo shows.
Measured with the rule below on 727 photos of 20 flowers and 709 of 20 birds, with the encoder of `assets/training` (in
brackets: with the embedded model's own), in per cent:

| probes have seen | clauses supported, own | another category's | pairs of photos of a category that differ |
|---|---:|---:|---:|
| other categories alone | flower 39 (39), bird 54 (56) | 17 (18), 15 (16) | 75 (77), 67 (69) |
| its other photos, too | 99 (91), 98 (94) | 18 (18), 15 (15) | 11 (48), 17 (39) |

A limit remains: a photo that resembles another category is given that one's words, so that part of the evidence is of
the category's likeness to others, not of the single clause.
"""

import logging
from collections.abc import Collection, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.models.base_models import open_base
from core.models.embedded import EMBEDDED
from core.models.scoring import pooled_features
from core.taxonomy.categories import SuperCategory
from core.taxonomy.descriptions import content_words
from train.attributes.photo_files import PhotoValues
from train.attributes.prompts import NOT_VISIBLE
from train.data.feature_cache import PHOTOS_AT_ONCE, cache_features
from train.data.records import Record
from train.loop.encoder import load_encoder

log = logging.getLogger(__name__)

FOLDS = 10  # of categories
COMPONENTS = 64  # of the features, with unit variance
STRENGTH = 0.1  # C
ITERATIONS = 1_000
FEWEST_CATEGORIES = 2  # whose values have a word, and whose values lack it, among those that a probe is fitted to
LEAST_EVIDENCE = float(np.log(2))  # the odds of a clause's words are doubled
FEWEST_CLAUSES = 3  # of a description


def photo_features(records: Sequence[Record], encoder_file: Path | None) -> np.ndarray:
    """Return the pooled vision features [N, D] of photos, which are cached while they are computed.

    The encoder is the embedded model's, with the fine-tuned weights of `encoder_file` if it is given. Raises
    `UserError` for another kind of file.
    """
    mllm = open_base(EMBEDDED)
    if encoder_file:
        load_encoder(mllm, encoder_file)
    cache = cache_features(mllm, list(records), views=1, seed=0)
    parts = []
    for start in range(0, len(records), PHOTOS_AT_ONCE):
        rows = list(range(start, min(start + PHOTOS_AT_ONCE, len(records))))
        parts.append(pooled_features(cache.get(rows, [0] * len(rows), mllm.device)).cpu().numpy())
    return np.concatenate(parts)


def keep_supported(photos: Sequence[PhotoValues], group: SuperCategory, features: np.ndarray) -> list[PhotoValues]:
    """Return photos, given with their categories' values, with "not visible" for the clauses that they do not support.

    `features` [N, D] are the photos'. A clause is supported if probes that have seen no photo of the category put the
    odds of its words (their geometric mean) at least twice as high as the words' share among the photos that they were
    fitted to. Where fewer than `FEWEST_CLAUSES` are supported, those with most evidence are kept; a clause none of whose
    words is probed has none. Logs how many are kept, and as a control how often the same photos support the clauses of
    another category. Raises `UserError` if no clause can be probed.
    """
    tables = {photo.category: photo.attributes for photo in photos}
    clauses = clause_evidence([photo.category for photo in photos], tables, group, features)
    own = np.stack([clauses[photo.category][i] for i, photo in enumerate(photos)])
    if np.isnan(own).all():
        raise UserError(
            f"The photos are of {len(tables)} categories: too few share a word of their attributes for probes. Add "
            "photos of more categories, or take the values of the tables with --vlm-model knowledge."
        )
    kept = [_kept(photo, group, row) for photo, row in zip(photos, own, strict=True)]
    _report(kept, own, np.stack(_of_another(photos, clauses)))
    return kept


def clause_evidence(
    labels: Sequence[str], tables: dict[str, dict[str, str]], group: SuperCategory, features: np.ndarray
) -> dict[str, np.ndarray]:
    """Return for every category of `tables` the evidence [N, attributes] that photos give for its clauses.

    It is the mean over a clause's words; NaN where none of them is probed. `labels` [N] are the photos' categories.
    """
    holders: dict[tuple[str, str], set[str]] = {}
    for name, values in tables.items():
        for attribute in _described(values, group):
            for word in content_words(values[attribute]):
                holders.setdefault((attribute, word), set()).add(name)
    words = {term: frozenset(names) for term, names in holders.items()}
    evidence = word_evidence(features, labels, set(words.values()))
    return {
        name: np.stack(
            [
                _mean([evidence[words[attribute, word]] for word in _words(values, attribute)], len(labels))
                for attribute in group.attributes
            ],
            axis=1,
        )
        for name, values in tables.items()
    }


def word_evidence(
    features: np.ndarray, labels: Sequence[str], holders: Collection[frozenset[str]]
) -> dict[frozenset[str], np.ndarray]:
    """Return, for every set of categories that hold a word, how far each photo [N] raises the logarithm of its odds.

    The probes of a photo are fitted to photos of other categories. NaN where these are too few with the word or without.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names = np.asarray(labels)
    evidence = {held: np.full(len(names), np.nan) for held in holders}
    if len(set(labels)) <= 2 * FEWEST_CATEGORIES:
        return evidence
    for fitted, asked in GroupKFold(min(FOLDS, len(set(labels)))).split(features, groups=names):
        components = min(COMPONENTS, len(fitted), features.shape[1])
        scale = make_pipeline(StandardScaler(), PCA(components, whiten=True, random_state=0)).fit(features[fitted])
        x, asked_x, seen = scale.transform(features[fitted]), scale.transform(features[asked]), set(names[fitted])
        for held, values in evidence.items():
            if min(len(held & seen), len(seen - held)) < FEWEST_CATEGORIES:
                continue
            has = np.isin(names[fitted], list(held))
            probe = LogisticRegression(C=STRENGTH, max_iter=ITERATIONS).fit(x, has)
            values[asked] = probe.decision_function(asked_x) - np.log(has.mean() / (1 - has.mean()))
    return evidence


def _described(values: dict[str, str], group: SuperCategory) -> list[str]:
    return [attribute for attribute in group.attributes if values[attribute] != NOT_VISIBLE]


def _words(values: dict[str, str], attribute: str) -> list[str]:
    return sorted(content_words(values[attribute])) if values[attribute] != NOT_VISIBLE else []


def _mean(rows: list[np.ndarray], photos: int) -> np.ndarray:
    """Return the mean [photos] over the rows that are not NaN, NaN where all are."""
    if not rows:
        return np.full(photos, np.nan)
    probed = ~np.isnan(rows)
    count = probed.sum(axis=0)
    return np.where(count, np.nansum(rows, axis=0) / np.maximum(count, 1), np.nan)


def _kept(photo: PhotoValues, group: SuperCategory, evidence: np.ndarray) -> PhotoValues:
    """Return a photo with the values of its supported clauses, at least the first few by evidence."""
    strength = dict(zip(group.attributes, np.nan_to_num(evidence, nan=-np.inf), strict=True))
    ordered = sorted(_described(photo.attributes, group), key=lambda attribute: -strength[attribute])
    kept = {a for i, a in enumerate(ordered) if i < FEWEST_CLAUSES or strength[a] >= LEAST_EVIDENCE}
    values = {a: photo.attributes[a] if a in kept else NOT_VISIBLE for a in group.attributes}
    return PhotoValues(sha256=photo.sha256, category=photo.category, attributes=values)


def _of_another(photos: Sequence[PhotoValues], clauses: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return each photo's evidence [attributes] for the clauses of another category, drawn with a fixed seed."""
    rng, names = np.random.default_rng(0), list(clauses)
    shifts = rng.integers(1, max(len(names), 2), len(photos))
    others = [names[(names.index(p.category) + shift) % len(names)] for p, shift in zip(photos, shifts, strict=True)]
    return [clauses[other][i] for i, other in enumerate(others)]


def _report(photos: list[PhotoValues], own: np.ndarray, other: np.ndarray) -> None:
    chosen = [frozenset(a for a, value in photo.attributes.items() if value != NOT_VISIBLE) for photo in photos]
    by_category: dict[str, list[frozenset[str]]] = {}
    for photo, kept in zip(photos, chosen, strict=True):
        by_category.setdefault(photo.category, []).append(kept)
    pairs = [one != another for group in by_category.values() for one, another in combinations(group, 2)]
    filled = np.mean((own >= LEAST_EVIDENCE).sum(axis=1) < FEWEST_CLAUSES)
    shares = [
        (rows[~np.isnan(rows)] >= LEAST_EVIDENCE).mean() if (~np.isnan(rows)).any() else 0 for rows in (own, other)
    ]
    log.info(
        "%d photos of %d categories: %.1f clauses kept per photo, filled up to %d in %.0f %%; kept clauses differ in "
        "%.0f %% of pairs of photos of one category; %.0f %% of clauses are probed, of these %.0f %% are supported, and "
        "%.0f %% of those of another category",
        len(photos),
        len(by_category),
        np.mean([len(kept) for kept in chosen]),
        FEWEST_CLAUSES,
        100 * filled,
        100 * np.mean(pairs) if pairs else 0,
        100 * np.mean(~np.isnan(own)),
        100 * shares[0],
        100 * shares[1],
    )
