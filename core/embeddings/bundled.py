"""What a checkpoint's folder may hold for its map: embeddings of some photos, and their default map with its numbers.

The map is kept beside the embeddings so that it is there at once on a machine where nothing was computed yet.
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
    """The models of the zoo whose checkpoints come with embeddings."""
    return [name for name, entry in zoo().items() if not entry.hub and (entry.checkpoint / EMBEDDINGS).is_file()]


def bundled_embeddings(model: str) -> EmbeddingSet:
    """The embeddings that come with a model. Raises `UserError` if there are none, or not of these weights."""
    entry = find_entry(model)
    if entry.hub or not (entry.checkpoint / EMBEDDINGS).is_file():
        raise UserError(f"{model} comes without embeddings: choose photos of your own.")
    space = EmbeddingSet.load(entry.checkpoint / EMBEDDINGS)
    if space.provenance.get("model_id") != model_id(model):
        raise UserError(f"The embeddings of {model} were made with other weights: make them anew (core embed --ship).")
    return space


def bundled_map(space: EmbeddingSet, settings: ProjectionConfig) -> tuple[Projection, Numbers] | None:
    """The map that ships with just these embeddings and its alignment numbers; `None` where there is none.

    Raises `UserError` if the file is damaged.
    """
    entry = zoo().get(space.model)
    if entry is None or entry.hub or settings != DEFAULT_MAP:
        return None
    path = entry.checkpoint / MAP
    try:
        coordinates, said = read_map(path)
        if said.pop("points") != _digest(space):
            return None  # another set of photos
        numbers = {name: _number(said["numbers"], name) for name in EXPLAINED}
        return restore(coordinates, said["projection"], settings, len(space.points.kinds)), numbers
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


def bundle(space: EmbeddingSet) -> None:
    """Write embeddings, their default map and its numbers into the folder of their model's checkpoint.

    Raises `UserError` for a model of the hub, which has none.
    """
    folder = bundle_folder(space.model)
    space = space.rounded()
    space.save(folder / EMBEDDINGS)
    made = run(project(space.points.matrix, DEFAULT_MAP))
    said = {"points": _digest(space), "projection": made.facts(), "numbers": alignment_numbers(space)}
    write_map(folder / MAP, made.coordinates, said)


def _number(numbers: Numbers, name: str) -> float | None:
    return numbers[name if name in numbers else FORMER_NAMES.get(name, name)]


def _digest(space: EmbeddingSet) -> str:
    """Of the points, as half precision tells them: they are rounded the same on every machine."""
    return hashlib.sha256(space.points.matrix.astype(np.float16).data).hexdigest()
