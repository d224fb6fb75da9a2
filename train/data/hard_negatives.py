"""Find the hard negatives of every category: those most similar by their descriptions, their photos, or both."""

import json
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from core.embeddings.embedding_set import l2_normalise
from core.errors import UserError
from core.storage.cache import cached, entry_path, fingerprint
from core.storage.files import write_atomically
from core.taxonomy.categories import Category, find_category
from core.taxonomy.similarity import description_similarity, nearest

SOURCES = ("descriptions", "photos", "both")
VERSION = 1  # of the cached lists: raise when the same inputs give others


def similarity(names: list[str], by: str, photo_means: np.ndarray | None = None) -> np.ndarray:
    """Return the symmetric similarity [N, N] of categories, at most 1, by one of `SOURCES`.

    "descriptions": cosine of their attribute words. "photos": cosine of `photo_means` [N, D]. "both": the mean of the
    two after each is replaced by its rank among the pairs, scaled to (0, 1], because cosines of words and of photos
    have different ranges. Raises `UserError` for fewer than two categories or another `by`, `ValueError` if photos
    are asked for and `photo_means` is missing or of another shape.
    """
    if len(names) < 2:
        raise UserError("Look-alikes need at least two categories.")
    if by not in SOURCES:
        raise UserError(f"Categories cannot be compared by {by!r}: choose one of {', '.join(SOURCES)}.")
    if by == "descriptions":
        return description_similarity(names)
    if photo_means is None or photo_means.ndim != 2 or len(photo_means) != len(names):
        raise ValueError(f"by={by!r} needs photo_means [{len(names)}, D]")
    if not (np.isfinite(photo_means).all() and photo_means.any(axis=-1).all()):
        raise ValueError("photo_means must be finite and have no row of zeros")
    unit = l2_normalise(photo_means.astype(np.float64))
    photos = unit @ unit.T
    return photos if by == "photos" else (_ranks(description_similarity(names)) + _ranks(photos)) / 2


def hard_negatives(
    names: list[str], groups: list[str], k: int, by: str = "descriptions", photo_means: np.ndarray | None = None
) -> list[list[int]]:
    """Return `nearest` by `similarity`, cached by the content of the inputs, the attribute values among them."""
    known = [_content(category) if (category := find_category(name)) else None for name in names]
    means = None if photo_means is None else photo_means.astype(np.float64)
    return cached(
        entry_path("negatives", VERSION, fingerprint(names, groups, known, k, by, means), ".json"),
        lambda: nearest(similarity(names, by, photo_means), groups, k),
        lambda negatives, path: write_atomically(path, json.dumps(negatives).encode()),
        lambda path: _read(path, len(names)),
    )


def _read(path: Path, count: int) -> list[list[int]]:
    negatives = json.loads(path.read_text(encoding="utf-8"))
    if len(negatives) != count:
        raise ValueError(f"{len(negatives)} categories instead of {count}")
    return negatives


def _content(category: Category) -> list[object]:
    return [category.super_category.name, category.values]


def report(names: list[str], similarities: np.ndarray, groups: list[str], k: int) -> str:
    """Return one line per category: its hard negatives as `nearest` chooses them, with their similarities [N, N]."""
    return "\n".join(
        f"{name}: " + ", ".join(f"{names[j]} {similarities[i, j]:.2f}" for j in negatives)
        for i, (name, negatives) in enumerate(zip(names, nearest(similarities, groups, k), strict=True))
    )


def _ranks(similarities: np.ndarray) -> np.ndarray:
    """Return every pair's rank among all pairs of different categories, scaled to (0, 1]; 1 on the diagonal."""
    ranks = np.ones_like(similarities)
    pairs = ~np.eye(len(similarities), dtype=bool)
    ranks[pairs] = rankdata(similarities[pairs].round(9)) / pairs.sum()  # rounding errors must not break ties
    return ranks
