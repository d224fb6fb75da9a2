"""Project embeddings to two or three dimensions by t-SNE, UMAP or PCA, and place new points in such a map.

A map is computed in a child process (`core.embeddings.projection_worker`) and cached by what it depends on: the
embeddings, the settings that its method uses, and the versions of the libraries. The same seed gives the same
coordinates.
"""

import io
import json
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from core.embeddings.projection_worker import LABELS, principal, scaled
from core.errors import UserError
from core.progress import Progress, run
from core.storage.cache import cached_steps, entry_path, fingerprint
from core.storage.files import write_atomically
from core.worker_process import THREADS, run_worker

METHODS = tuple(LABELS)
METRICS = ("cosine", "euclidean")
VERSION = 1  # of cached maps: raise when the same settings give another map
LIBRARIES = ("numpy", "scikit-learn", "umap-learn", "numba")
SETTINGS_OF = {  # method -> settings that it uses beside metric and dimensions
    "pca": (),
    "tsne": ("seed", "perplexity"),
    "umap": ("seed", "neighbours", "min_dist"),
}
WORKER = "core.embeddings.projection_worker"
PLACING_NEIGHBOURS = 5  # nearest points between which a new point is placed in a t-SNE map


@dataclass(frozen=True, kw_only=True)
class ProjectionConfig:
    """The settings of a map. Raises `UserError` for values outside their ranges.

    neighbours (n_neighbors) and min_dist are UMAP's, perplexity is t-SNE's; PCA has no settings of its own.
    """

    method: str = "tsne"
    dimensions: int = 2
    seed: int = 0
    neighbours: int = 15
    min_dist: float = 0.1
    perplexity: float = 30.0
    metric: str = "cosine"

    def __post_init__(self) -> None:
        checks = {
            f"The method of a map is one of {', '.join(METHODS)}.": self.method in METHODS,
            "A map has 2 or 3 dimensions.": _whole(self.dimensions) and self.dimensions in (2, 3),
            "The seed is a whole number from 0 to 4294967295.": _whole(self.seed) and 0 <= self.seed < 2**32,
            "Neighbours is a whole number from 2 to 200.": _whole(self.neighbours) and 2 <= self.neighbours <= 200,
            "The minimal distance lies from 0 to 0.99.": 0 <= self.min_dist <= 0.99,
            "Perplexity lies from 1 to 500.": 1 <= self.perplexity <= 500,
            f"The metric of a map is one of {', '.join(METRICS)}.": self.metric in METRICS,
        }
        for sentence, holds in checks.items():
            if not holds:
                raise UserError(sentence)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, eq=False)
class Projection:
    """A map: the coordinates of N points.

    `method` is the one that was used, `note` names deviations from the settings ("" without any), `seconds` is the
    duration of the computation, `cached` is True if this was earlier. Trustworthiness, in [0, 1], tells how far
    neighbours in the map are neighbours in the space; it is None for fewer than 11 points or identical points.
    """

    coordinates: np.ndarray  # [N, d] float32
    settings: ProjectionConfig
    method: str
    seconds: float
    trustworthiness: float | None
    note: str
    cached: bool = False

    def facts(self) -> dict:
        """Return what is saved with the coordinates, apart from the settings."""
        return {name: getattr(self, name) for name in ("method", "seconds", "trustworthiness", "note")}


def project(matrix: np.ndarray, settings: ProjectionConfig) -> Generator[Progress, None, Projection]:
    """Return the map of embeddings [N, H], with progress at least every half second.

    Closing the generator kills the computation and keeps nothing. Raises `UserError` for no points, numbers that are
    not finite, or a computation that fails.
    """
    started = time.monotonic()
    matrix = _checked(matrix)
    names = ("method", "dimensions", "metric", *SETTINGS_OF[settings.method])
    values = {name: getattr(settings, name) for name in names}
    key = fingerprint(THREADS, values, {name: version(name) for name in LIBRARIES}, matrix)

    def compute() -> Generator[Progress, None, Projection]:
        facts, (coordinates,) = yield from run_worker(WORKER, asdict(settings), [matrix])
        return Projection(coordinates, settings, seconds=time.monotonic() - started, **facts)

    def load(path: Path) -> Projection:
        return restore(*read_map(path), settings, len(matrix))

    path = entry_path("projections", VERSION, key, ".npz")
    projection = yield from cached_steps(path, compute, lambda p, path: write_map(path, p.coordinates, p.facts()), load)
    if not path.exists():
        return replace(projection, note=f"{projection.note} The map could not be kept: the log says why.".strip())
    return projection


def place(new: np.ndarray, matrix: np.ndarray, projection: Projection) -> tuple[np.ndarray, str]:
    """Return the coordinates [M, d] of new points [M, H] in the map of [N, H], and a sentence on how they were found.

    UMAP takes seconds in a child process, the others take no time. Raises `UserError` as `project` does, or if
    the numbers of columns differ or the map is not one of N points.
    """
    new, matrix = _checked(new), _checked(matrix)
    coordinates, settings = projection.coordinates, projection.settings
    if new.shape[1] != matrix.shape[1]:
        raise UserError(f"The new points have {new.shape[1]} numbers each, those of the map {matrix.shape[1]}.")
    if len(coordinates) != len(matrix):
        raise UserError(f"The map has {len(coordinates)} points, not {len(matrix)}.")
    if not np.ptp(coordinates, axis=0).any():
        same = np.repeat(coordinates[:1], len(new), axis=0)
        return same, "All points of this map lie on one spot, and so does whatever is added."
    if projection.method == "pca":
        onto = principal(scaled(matrix, settings.metric), settings.dimensions)
        return onto(scaled(new, settings.metric)), "Placed exactly: PCA maps any point by the same axes."
    if projection.method == "tsne":
        return _by_neighbours(scaled(new, settings.metric), scaled(matrix, settings.metric), coordinates), (
            f"Placed approximately: t-SNE has no rule for new points, so each lies between its {PLACING_NEIGHBOURS} "
            "nearest points, closer to the more similar ones."
        )
    _, (placed,) = run(run_worker(WORKER, asdict(settings), [new, matrix, coordinates]))
    return placed, "Placed by UMAP among its nearest points, all others staying where they are."


def _by_neighbours(new: np.ndarray, points: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Return the mean of the coordinates of the nearest points, weighted by 1 / squared distance (Shepard 1968)."""
    squared = (new**2).sum(1)[:, None] + (points**2).sum(1) - 2 * new @ points.T  # [M, N]
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :PLACING_NEIGHBOURS]
    distances = np.maximum(np.take_along_axis(squared, nearest, axis=1), 0)
    # a distance that single precision cannot tell from 0 is that of the point itself
    weights = 1 / (distances + 1e-6 * np.maximum((points**2).sum(1).mean(), 1e-30))
    return (np.einsum("mk,mkd->md", weights, coordinates[nearest]) / weights.sum(1, keepdims=True)).astype(np.float32)


def procrustes_aligned(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return `other` [N, d] translated, rotated or reflected, and scaled to fit `reference`.

    R minimises ||other · R - reference||², both centred, R orthogonal (Schönemann 1966). The scale gives
    both the same size (root mean square distance from the centroid): the least-squares scale would shrink a map that
    has little in common with the reference to a spot. Raises `UserError` if the shapes differ.
    """
    if reference.shape != other.shape:
        raise UserError(f"Maps of {reference.shape} and {other.shape} cannot be laid over each other.")
    from scipy.linalg import orthogonal_procrustes

    centroid = reference.mean(0, dtype=np.float64)
    target, moved = reference - centroid, other - other.mean(0, dtype=np.float64)
    rotation, _ = orthogonal_procrustes(moved, target)
    size = np.linalg.norm(moved)
    scale = np.linalg.norm(target) / size if size > 0 else 0.0
    return (scale * moved @ rotation + centroid).astype(np.float32)


def _checked(matrix: np.ndarray) -> np.ndarray:
    """Return points [N, H] as contiguous float32. Raises `UserError` if there are none, or one is not finite."""
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise UserError("There are no points to map.")
    with np.errstate(over="ignore"):  # a number too large for float32 is reported below
        matrix = np.ascontiguousarray(matrix, dtype=np.float32)
    if not np.isfinite(matrix).all():
        broken = int((~np.isfinite(matrix).all(axis=1)).sum())
        raise UserError(f"{broken} of {len(matrix)} points have numbers that are not finite: they cannot be mapped.")
    return matrix


def write_map(path: Path, coordinates: np.ndarray, facts: dict) -> None:
    """Write coordinates [N, d] and the facts about them as an NPZ file, atomically."""
    buffer = io.BytesIO()
    np.savez(buffer, coordinates=coordinates, said=np.array(json.dumps(facts)))
    write_atomically(path, buffer.getvalue())


def read_map(path: Path) -> tuple[np.ndarray, dict]:
    """Read what `write_map` has written. Raises `FileNotFoundError`, or what `core.storage.cache.DAMAGE` lists."""
    with np.load(path, allow_pickle=False) as file:
        return file["coordinates"].astype(np.float32), json.loads(str(file["said"]))


def restore(coordinates: np.ndarray, facts: dict, settings: ProjectionConfig, count: int) -> Projection:
    """Return the map of `count` points that was saved with its `facts`.

    Raises `ValueError` or `TypeError` if it is damaged.
    """
    if coordinates.shape != (count, settings.dimensions) or not np.isfinite(coordinates).all():
        raise ValueError("not the map's shape")
    return Projection(coordinates, settings, cached=True, **facts)
