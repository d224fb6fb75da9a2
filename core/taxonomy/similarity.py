"""Measure which categories look alike by their descriptions."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from core.taxonomy.categories import find_category
from core.taxonomy.names import normalise


def description_similarity(names: list[str]) -> np.ndarray:
    """Return the [N, N] cosine similarity in [0, 1] of categories by their attribute values (TF-IDF over words).

    Categories of one super-category share the vocabulary of its attributes; those of different super-categories
    share nothing. A category without known attributes is compared by the words of its name.
    """
    matrix = TfidfVectorizer(analyzer=str.split, sublinear_tf=True).fit_transform([_terms(name) for name in names])
    similarities: np.ndarray = (matrix @ matrix.T).toarray()
    return similarities


def _terms(name: str) -> str:
    category = find_category(name)
    if category is None:
        return normalise(name) or name
    group = category.super_category.name
    return " ".join(
        f"{group}/{attribute}/{word}".replace(" ", "_")
        for attribute, value in category.values.items()
        for word in value.split()
    )


def nearest(similarities: np.ndarray, groups: list[str], k: int) -> list[list[int]]:
    """Return, for each of N categories, the indices of its at most k most similar others of the same group.

    The best comes first, ties are in list order. Raises `ValueError` for k < 1.
    """
    if k < 1:
        raise ValueError(f"k={k}")
    chosen = []
    for i, row in enumerate(similarities):
        alike = np.array([j for j, group in enumerate(groups) if j != i and group == groups[i]], dtype=int)
        chosen.append(alike[np.argsort(-row[alike], kind="stable")[:k]].tolist())
    return chosen


def most_similar(names: list[str], k: int) -> list[list[int]]:
    """Return, for each name, the indices of its k most similar others by their descriptions, best first."""
    return nearest(description_similarity(names), [""] * len(names), k)
