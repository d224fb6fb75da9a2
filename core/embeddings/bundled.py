"""Embeddings that come with a checkpoint, and their default map with its alignment numbers.

The map lies beside the embeddings so that it can be shown at once, before anything was computed on a machine.
"""

import hashlib
from pathlib import Path

import numpy as np

from core.embeddings.compute import model_id
from core.embeddings.embedding_set import EmbeddingSet
from core.embeddings.metrics import EXPLAINED, alignment_numbers
from core.embeddings.projection import Projection, ProjectionConfig, project, read_map, restore, write_map
from core.errors import UserError
from core.progress import run
from core.storage.cache import DAMAGE
from core.zoo.registry import EMBEDDINGS, find_entry, zoo

MAP = "map.npz"  # beside `EMBEDDINGS`
DEFAULT_MAP = ProjectionConfig()  # the settings of that map

FORMER_NAMES = {"recall_at_1": "retrieval_1", "recall_at_5": "retrieval_5"}  # of numbers in maps written earlier

Numbers = dict[str, float | None]


def with_embeddings() -> list[str]:
    """Return the models of the zoo whose checkpoints come with embeddings."""
    return [name for name, entry in zoo().items() if not entry.hub and (entry.checkpoint / EMBEDDINGS).is_file()]


def bundled_embeddings(model: str) -> EmbeddingSet:
    """Return the embeddings that come with a model. Raises `UserError` if there are none, or for other weights."""
    entry = find_entry(model)
    if entry.hub or not (entry.checkpoint / EMBEDDINGS).is_file():
        raise UserError(f"{model} comes without embeddings: choose photos of your own.")
    embeddings = EmbeddingSet.load(entry.checkpoint / EMBEDDINGS)
    if embeddings.provenance.get("model_id") != model_id(model):
        raise UserError(f"The embeddings of {model} were made with other weights: make them anew (core embed --ship).")
    return embeddings


def bundled_map(embeddings: EmbeddingSet, settings: ProjectionConfig) -> tuple[Projection, Numbers] | None:
    """Return the map that comes with these very embeddings, and its alignment numbers; `None` without one.

    Raises `UserError` if the file is damaged.
    """
    entry = zoo().get(embeddings.model)
    if entry is None or entry.hub or settings != DEFAULT_MAP:
        return None
    path = entry.checkpoint / MAP
    try:
        coordinates, facts = read_map(path)
        if facts.pop("points") != _digest(embeddings):
            return None  # another set of photos
        numbers = {name: _number(facts["numbers"], name) for name in EXPLAINED}
        return restore(coordinates, facts["projection"], settings, len(embeddings.points.kinds)), numbers
    except FileNotFoundError:
        return None
    except DAMAGE as error:
        raise UserError(f"{path} is damaged: restore it, or delete it.") from error


def bundle_folder(model: str) -> Path:
    """Return the folder of a model's checkpoint. Raises `UserError` for a model of the hub, which has none."""
    entry = find_entry(model)
    if entry.hub:
        raise UserError(f"{model} is a model of the hub: it has no folder here.")
    return entry.checkpoint


def bundle(embeddings: EmbeddingSet) -> None:
    """Write embeddings, their default map and its numbers into the folder of their model's checkpoint.

    Raises `UserError` for a model of the hub, which has none.
    """
    folder = bundle_folder(embeddings.model)
    embeddings = embeddings.rounded()
    embeddings.save(folder / EMBEDDINGS)
    projection = run(project(embeddings.points.matrix, DEFAULT_MAP))
    facts = {"points": _digest(embeddings), "projection": projection.facts(), "numbers": alignment_numbers(embeddings)}
    write_map(folder / MAP, projection.coordinates, facts)


def _number(numbers: Numbers, name: str) -> float | None:
    return numbers[name if name in numbers else FORMER_NAMES.get(name, name)]


def _digest(embeddings: EmbeddingSet) -> str:
    """Return the hash of the points in half precision, to which they are rounded in the same way everywhere."""
    return hashlib.sha256(embeddings.points.matrix.astype(np.float16).data).hexdigest()
