"""Compute one map, or place new points in one, in the child process of `core.embeddings.projection`.

Embeddings are prepared in the same way for every method: with the cosine metric rows are scaled to length one, where
|x - y|² = 2 (1 - cos(x, y)), so that Euclidean neighbours are cosine neighbours (a row of zeros stays as it is);
t-SNE and UMAP then see the first 50 principal components, which loses little and saves most of the time. Both start
from the first two or three components, so that the large-scale arrangement does not depend on the seed.
"""

import io
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from core.embeddings.embedding_set import l2_normalise
from core.worker_process import Message, Report, serve

COMPONENTS = 50  # principal components given to t-SNE and UMAP
MIN_DISTINCT = 4  # points; with fewer, t-SNE and UMAP mean nothing
TRUST_SAMPLE = 3000  # points; more are sampled, since the distances of all pairs are needed
TRUST_NEIGHBOURS = 5
LABELS = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}
TSNE_ITERATIONS = 1000


class _Steps(io.TextIOBase):
    """Replaces the standard output of a library: calls `on_step` with the number of every step that it prints."""

    def __init__(self, pattern: str, on_step: Callable[[int], None]) -> None:
        self.pattern, self.on_step, self.rest = re.compile(pattern), on_step, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for match in filter(None, map(self.pattern.search, lines)):
            self.on_step(int(match[1]))
        return len(text)


def scaled(matrix: np.ndarray, metric: str) -> np.ndarray:
    """Return points [N, H] as the metric compares them: normalised rows for the cosine, unchanged for Euclidean."""
    return matrix if metric == "euclidean" else l2_normalise(matrix)


def principal(points: np.ndarray, components: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the projection [M, H] -> [M, components] onto the principal components of points [N, H].

    Where there are fewer, the rest are zeros.
    """
    from sklearn.decomposition import PCA

    pca = PCA(min(components, *points.shape), random_state=0).fit(points)

    def onto(new: np.ndarray) -> np.ndarray:
        coordinates = pca.transform(new)
        return np.pad(coordinates, ((0, 0), (0, components - coordinates.shape[1]))).astype(np.float32)

    return onto


def _reduction(points: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return principal(points, COMPONENTS) if points.shape[1] > COMPONENTS else lambda new: new


def _neighbour_search(points: np.ndarray, settings: dict) -> Any:
    """Return the exact search for the nearest points, whose result UMAP is given.

    UMAP's own search is approximate, and compiling it takes more than a minute.
    """
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=min(settings["neighbours"], len(points) - 1), algorithm="brute").fit(points)


def _umap(settings: dict, search: Any, points: np.ndarray, **options: Any) -> Any:
    import umap
    from umap import umap_

    for slowest in (umap_.smooth_knn_dist, umap_.compute_membership_strengths):
        slowest.enable_caching()  # compiled once per installation, not per map
    distances, indices = search.kneighbors(points)
    return umap.UMAP(
        n_components=settings["dimensions"],
        n_neighbors=search.n_neighbors,
        min_dist=settings["min_dist"],
        random_state=settings["seed"],
        n_jobs=1,
        precomputed_knn=(indices, distances),
        tqdm_kwds={"disable": True},
        **options,
    )


def _by_umap(points: np.ndarray, settings: dict, report: Report) -> tuple[np.ndarray, str]:
    report(0.1, "Loading UMAP (the first time on a machine it is compiled)")
    search = _neighbour_search(points, settings)
    model = _umap(settings, search, points, init="pca", verbose=True)
    report(0.2, "Weighting neighbours")
    epochs = 500 if len(points) <= 10_000 else 200  # UMAP's own choice
    steps = _Steps(r"completed\s+(\d+)", lambda n: report(0.4 + 0.5 * n / epochs, f"UMAP: epoch {n} of {epochs}"))
    with redirect_stdout(steps):
        coordinates = model.fit_transform(points)
    lowered = search.n_neighbors < settings["neighbours"]
    return coordinates, f"Neighbours were lowered to {search.n_neighbors}: there are few points." if lowered else ""


def _by_tsne(points: np.ndarray, settings: dict, report: Report) -> tuple[np.ndarray, str]:
    from sklearn.manifold import TSNE

    report(0.1, "Finding neighbours")
    perplexity = min(settings["perplexity"], (len(points) - 1) / 3)  # its neighbourhoods hold 3 times as many
    model = TSNE(
        settings["dimensions"],
        perplexity=perplexity,
        init="pca",
        max_iter=TSNE_ITERATIONS,
        random_state=settings["seed"],
        verbose=2,
    )
    words = f"t-SNE: iteration {{}} of {TSNE_ITERATIONS}"
    steps = _Steps(r"Iteration (\d+)", lambda n: report(0.15 + 0.75 * n / TSNE_ITERATIONS, words.format(n)))
    with redirect_stdout(steps):
        coordinates = model.fit_transform(points)
    lowered = perplexity < settings["perplexity"]
    return coordinates, f"Perplexity was lowered to {perplexity:.3g}: there are few points." if lowered else ""


def _trustworthiness(points: np.ndarray, coordinates: np.ndarray, seed: int) -> tuple[float | None, str]:
    """Return the trustworthiness of a map in [0, 1] (Venna & Kaski 2001), and a note if only a sample was measured."""
    if len(points) <= 2 * TRUST_NEIGHBOURS or not np.ptp(coordinates, axis=0).any():
        return None, ""
    from sklearn.manifold import trustworthiness

    note = ""
    if len(points) > TRUST_SAMPLE:
        note = f"Trustworthiness is that of {TRUST_SAMPLE} of the {len(points)} points."
        chosen = np.random.default_rng(seed).choice(len(points), TRUST_SAMPLE, replace=False)
        points, coordinates = points[chosen], coordinates[chosen]
    return float(trustworthiness(points, coordinates, n_neighbors=TRUST_NEIGHBOURS)), note


def compute(settings: dict, matrix: np.ndarray, report: Report) -> tuple[dict, list[np.ndarray]]:
    """Return the facts (see `Projection.facts`) of the map of points [N, H], and its [coordinates [N, d]]."""
    points, dimensions, method, note = scaled(matrix, settings["metric"]), settings["dimensions"], settings["method"], ""
    distinct = len(np.unique(points, axis=0))
    if method != "pca" and (distinct < max(MIN_DISTINCT, dimensions + 1) or points.shape[1] < dimensions):
        count = f"{distinct} different point{'s' * (distinct > 1)} of {points.shape[1]} numbers"
        method, note = "pca", f"{count} cannot be laid out by {LABELS[method]}: PCA was used instead."
    report(0.05, "Finding the principal components")
    if distinct == 1:
        coordinates = np.zeros((len(points), dimensions), np.float32)
    elif method == "pca":
        coordinates = principal(points, dimensions)(points)
    else:
        lay_out = _by_umap if method == "umap" else _by_tsne
        coordinates, note = lay_out(_reduction(points)(points), settings, report)
    report(0.92, "Measuring trustworthiness")
    trust, sample = _trustworthiness(points, coordinates, settings["seed"])
    return {"method": method, "trustworthiness": trust, "note": f"{note} {sample}".strip()}, [coordinates]


def transform(
    settings: dict, new: np.ndarray, matrix: np.ndarray, coordinates: np.ndarray, report: Report
) -> tuple[dict, list[np.ndarray]]:
    """Place new points [M, H] in UMAP's map of points [N, H], which does not change: ({}, [coordinates [M, d]]).

    UMAP's graph is computed again, which is quick, and given the existing layout. UMAP takes neighbours, also those of
    new points, as distances; the matrix of distances may then be empty.
    """
    from scipy.sparse import csr_matrix

    points = scaled(matrix, settings["metric"])
    reduce = _reduction(points)
    points = reduce(points)
    search = _neighbour_search(points, settings)
    report(0.1, "Loading UMAP")
    model = _umap(settings, search, points, metric="precomputed", transform_mode="graph")
    model.fit(csr_matrix((len(points), len(points)), dtype=np.float32))
    model.transform_mode, model.embedding_ = "embedding", coordinates
    distances = search.kneighbors_graph(reduce(scaled(new, settings["metric"])), mode="distance")
    return {}, [model.transform(distances)]


def answer(settings: dict, arrays: list[np.ndarray], report: Report) -> Message:
    """Compute a map of one array of points, or place new points; see `compute` and `transform`."""
    if len(arrays) == 1:
        return compute(settings, arrays[0], report)
    new, matrix, coordinates = arrays
    return transform(settings, new, matrix, coordinates, report)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="umap")  # about settings that are intended here
    sys.exit(serve(answer, "The map could not be computed"))
