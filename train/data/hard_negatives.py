"""Hard negatives: the categories that look most like each one, by their descriptions, their photos, or both."""

import hashlib
import json

import numpy as np
from scipy.stats import rankdata

from core.errors import UserError
from core.storage.cache import cache_root
from core.storage.files import write_atomically
from core.taxonomy.categories import Category, find_category
from core.taxonomy.similarity import description_similarity, nearest

SOURCES = ("descriptions", "photos", "both")


def similarity(names: list[str], by: str, photo_means: np.ndarray | None = None) -> np.ndarray:
    """[N, N] symmetric similarity of categories, at most 1, by one of `SOURCES`.

    "descriptions": cosine of their attribute words. "photos": cosine of `photo_means` [N, D]. "both": the mean of the
    two after each is replaced by its rank among the pairs, scaled to (0, 1], because cosines of words and of photos do
    not have the same range. Raises `UserError` for fewer than two categories or another `by`, `ValueError` if photos
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
    unit = _normalised(photo_means)
    photos = unit @ unit.T
    return photos if by == "photos" else (_ranks(description_similarity(names)) + _ranks(photos)) / 2


def hard_negatives(
    names: list[str], groups: list[str], k: int, by: str = "descriptions", photo_means: np.ndarray | None = None
) -> list[list[int]]:
    """`nearest` by `similarity`, cached by the content of the inputs, the attribute values among them."""
    path = cache_root() / "negatives" / f"{_key(names, groups, k, by, photo_means)}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    negatives = nearest(similarity(names, by, photo_means), groups, k)
    write_atomically(path, json.dumps(negatives).encode())
    return negatives


def report(names: list[str], similarities: np.ndarray, groups: list[str], k: int) -> str:
    """One line per category: its look-alikes as `nearest` chooses them, with their similarities [N, N]."""
    return "\n".join(
        f"{name}: " + ", ".join(f"{names[j]} {similarities[i, j]:.2f}" for j in look_alikes)
        for i, (name, look_alikes) in enumerate(zip(names, nearest(similarities, groups, k), strict=True))
    )


def _normalised(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise ValueError("embeddings must be finite and not zero")
    return vectors / lengths


def _ranks(similarities: np.ndarray) -> np.ndarray:
    """Every pair's rank among all pairs of different categories, scaled to (0, 1]; 1 on the diagonal."""
    ranks = np.ones_like(similarities)
    pairs = ~np.eye(len(similarities), dtype=bool)
    ranks[pairs] = rankdata(similarities[pairs].round(9)) / pairs.sum()  # the same pair, rounded otherwise, is a tie
    return ranks


def _key(names: list[str], groups: list[str], k: int, by: str, photo_means: np.ndarray | None) -> str:
    known = [_content(category) if (category := find_category(name)) else None for name in names]
    content = hashlib.sha256(json.dumps([names, groups, known, k, by]).encode())
    if photo_means is not None:
        content.update(str(photo_means.shape).encode() + photo_means.astype(np.float64).tobytes())
    return content.hexdigest()[:16]


def _content(category: Category) -> list[object]:
    return [category.super_category.name, category.values]
