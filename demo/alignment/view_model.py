"""What the Alignment tab shows: maps of one, two or three models' spaces, and a photo placed in them."""

import json
import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from core.data.images import data_url, to_jpeg
from core.embeddings.bundled import Numbers, bundled_map
from core.embeddings.compute import embed_photos
from core.embeddings.embedding_set import EmbeddingSet, Points
from core.embeddings.metrics import EXPLAINED, alignment_numbers, silhouette
from core.embeddings.projection import METHODS, Projection, ProjectionConfig, place, procrustes_aligned, project
from core.errors import UserError
from core.progress import Progress, part
from core.zoo.registry import zoo
from demo.alignment.figure import COLOUR_BY, NEAREST_IS_RIGHT, Panel, colouring, map_json
from demo.alignment.photos import JPEG_QUALITY, MAX_THUMBNAILS, THUMBNAIL_SIDE, Uploads
from demo.components.models import ModelPool
from demo.components.photo_folder import Folder

CAPTIONS = {  # of the three models of the paper's figure
    "idefics2-tiny": "fine-tuned only",
    "object-category-tiny": "+ object-category loss",
    "finedefics-tiny": "+ all losses",
}
KINDS = {"contrastive": "VLM", "general": "MLLM", "vlm": "MLLM"}  # as in the paper's figure of overlap and gap
OTHER_SPACE = (
    "These colours are of the model's own space, not of the one that is shown: the vision encoder's space has no names."
)
METHOD_NAMES = dict(zip(("t-SNE", "UMAP", "PCA"), ("tsne", "umap", "pca"), strict=True))
assert set(METHOD_NAMES.values()) == set(METHODS)


@dataclass(frozen=True)
class ProjectedSet:
    """The map of one model's space."""

    space: EmbeddingSet
    points: Points
    projection: Projection
    coordinates: np.ndarray  # [P, d] as shown: aligned with the first model's map
    numbers: Numbers

    def as_shown(self, coordinates: np.ndarray) -> np.ndarray:
        """Turn and scale a point [d] of the projection as all points of the shown map were."""
        original = np.hstack([self.projection.coordinates, np.ones((len(self.coordinates), 1))])
        change, *_ = np.linalg.lstsq(original, self.coordinates, rcond=None)  # [d + 1, d]
        return (np.append(coordinates, 1) @ change).astype(np.float32)


@dataclass(frozen=True)
class PlacedPhoto:
    """A photo that a user has added: for every model, its embeddings and its place in the map."""

    objects: list[np.ndarray]  # [H] each
    vision: list[np.ndarray]  # [D] each
    coordinates: list[np.ndarray]  # [d] each, as shown
    photo: Image.Image
    note: str  # a sentence: how the place was found


@dataclass
class MapView:
    """What one browser's tab shows."""

    maps: list[ProjectedSet]
    shows_vision: bool = False  # the vision encoder's space instead of the model's own
    is_animated: bool = False  # one map that moves from the first model's layout to the second's
    source: Folder | Uploads | None = None
    thumbnails: list[str] = field(default_factory=list)  # [N] data URLs, or none
    colour_by: str = COLOUR_BY[0]
    placed: PlacedPhoto | None = None
    revision: str = field(default_factory=secrets.token_hex)  # the zoom stays as long as this does

    @property
    def lacks_photos(self) -> bool:
        """Whether there are no thumbnails although the photos are few enough for them."""
        return not self.thumbnails and len(self.maps[0].space.photos) <= MAX_THUMBNAILS

    @property
    def description(self) -> str:
        """What the maps are of, in one paragraph of plain text."""
        space, projection = self.maps[0].space, self.maps[0].projection
        method = {value: name for name, value in METHOD_NAMES.items()}[projection.method]
        where = "the vision encoder's space, which has no texts" if self.shows_vision else "the model's own space"
        parts = [
            f"{len(space.photos)} photos of {len(space.categories)} categories "
            f"({space.provenance.get('set') or 'unnamed set'}) in {where}; {method}, seed {projection.settings.seed}.",
            *dict.fromkeys(one.projection.note for one in self.maps if one.projection.note),
        ]
        return " ".join(parts)

    def map_json(self) -> str:
        """Return what the browser draws."""
        return map_json(
            self.maps[0].space,
            [self._panel(i) for i in range(1 if self.is_animated else len(self.maps))],
            self.revision,
            f"alignment-{self.maps[0].projection.method}",
            data_url(to_jpeg(self.placed.photo, THUMBNAIL_SIDE, JPEG_QUALITY)) if self.placed else "",
            OTHER_SPACE if self.shows_vision and self.colour_by == NEAREST_IS_RIGHT else "",
        )

    def thumbnails_json(self) -> str:
        """Return the thumbnails as the browser takes them."""
        return json.dumps(self.thumbnails)

    def _panel(self, number: int) -> Panel:
        shown, after = self.maps[number], self.maps[1] if self.is_animated else None
        placed = self.placed.coordinates if self.placed else None
        return Panel(
            caption(shown.space.model),
            shown.points,
            shown.coordinates,
            colouring(shown.space, shown.points, self.colour_by),
            after.coordinates if after else None,
            placed[number] if placed else None,
            placed[1] if placed and after else None,
        )


def caption(model: str) -> str:
    """Return the name of a model and, if it is of the paper's figures, what it was trained with or what it is."""
    entry = zoo().get(model)
    what = CAPTIONS.get(model) or (KINDS.get(entry.row.family) if entry else None)
    return f"{model}: {what}" if what else model


def project_all(
    spaces: Sequence[EmbeddingSet], settings: ProjectionConfig, vision: bool
) -> Generator[Progress, None, list[ProjectedSet]]:
    """Return the maps of the same photos by some models.

    Raises `UserError` if the photos differ or a map cannot be made.
    """
    if any((space.hashes, space.categories) != (spaces[0].hashes, spaces[0].categories) for space in spaces):
        raise UserError("The models' embeddings are of different photos: they cannot be laid side by side.")
    maps: list[ProjectedSet] = []
    for space in spaces:
        points = space.vision_points if vision else space.points
        bundled = None if vision else bundled_map(space, settings)
        if bundled:
            projection, numbers = bundled
        else:
            start, end = len(maps) / len(spaces), (len(maps) + 1) / len(spaces)
            projection = yield from part(project(points.matrix, settings), start, end, f"{space.model}: ")
            yield Progress(end, f"{space.model}: measuring ...")
            numbers = _vision_numbers(space) if vision else alignment_numbers(space)
        own = projection.coordinates
        aligned = procrustes_aligned(maps[0].coordinates, own) if maps else own
        maps.append(ProjectedSet(space, points, projection, aligned, numbers))
    return maps


def _vision_numbers(space: EmbeddingSet) -> Numbers:
    """Return the metrics of the vision encoder's space: without names, only those among photos."""
    labelled = space.truth >= 0
    found = silhouette(space.vision[labelled], space.truth[labelled]) if labelled.any() else None
    return {**dict.fromkeys(EXPLAINED), "silhouette": found}


def place_photo(view: MapView, photo: Image.Image, models: ModelPool) -> PlacedPhoto:
    """Embed a photo by every model shown and find its place in each map. Raises `UserError` if a model cannot."""
    objects, vision, coordinates, note = [], [], [], ""
    for shown in view.maps:
        model, _ = models.prepare(shown.space.model, None, None)
        object_rows, vision_rows = embed_photos(model, [photo])
        rows = vision_rows if view.shows_vision else object_rows
        placed, note = place(rows, shown.points.matrix, shown.projection)
        objects.append(object_rows[0])
        vision.append(vision_rows[0])
        coordinates.append(shown.as_shown(placed[0]))
    return PlacedPhoto(objects, vision, coordinates, photo, note)
