"""What the Alignment tab shows: maps of one, two or three models' spaces, and what is known of their points."""

import html
import json
import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from core.embeddings.bundled import Numbers, bundled_map
from core.embeddings.compute import embed_photos
from core.embeddings.embedding_set import EmbeddingSet, Points
from core.embeddings.metrics import EXPLAINED, alignment_numbers, silhouette
from core.embeddings.projection import METHODS, Projection, ProjectionConfig, place, procrustes_aligned, project
from core.errors import UserError
from core.progress import Progress, part
from demo.alignment.figure import COLOUR_BY, NEAREST_IS_RIGHT, SHOWN, Panel, colouring, map_json
from demo.alignment.photos import LARGE, THUMBNAIL, Folder, Uploads, data_uri, photo_at
from demo.components.models import ModelPool

CAPTIONS = {  # of the three models of the paper's figure
    "idefics2-tiny": "fine-tuned only",
    "object-category-tiny": "+ object-category loss",
    "finedefics-tiny": "+ all losses",
}
OTHER_SPACE = (
    "These colours are of the model's own space, not of the one that is shown: the vision encoder's space has no names."
)
METHOD_NAMES = dict(zip(("t-SNE", "UMAP", "PCA"), ("tsne", "umap", "pca"), strict=True))
NAMES, NEIGHBOURS, LISTED = 5, 6, 500
assert set(METHOD_NAMES.values()) == set(METHODS)


@dataclass(frozen=True)
class ProjectedSet:
    """The map of one model's space."""

    space: EmbeddingSet
    points: Points
    projection: Projection
    coordinates: np.ndarray  # [P, d] as shown: laid over the first model's map
    numbers: Numbers


@dataclass(frozen=True)
class PlacedPhoto:
    """A photo that somebody has added: for every model, its embeddings and where it lies."""

    objects: list[np.ndarray]  # [H] each
    vision: list[np.ndarray]  # [D] each
    places: list[np.ndarray]  # [d] each
    photo: Image.Image
    how: str  # a sentence


@dataclass
class MapView:
    """What one browser's tab shows."""

    maps: list[ProjectedSet]
    vision: bool = False  # the vision encoder's space instead of the model's own
    moving: bool = False  # one map that moves from the first model's layout to the second's
    source: Folder | Uploads | None = None
    thumbnails: list[str] = field(default_factory=list)
    by: str = COLOUR_BY[0]
    placed: PlacedPhoto | None = None
    revision: str = field(default_factory=secrets.token_hex)  # the view stays as long as this does

    def json(self) -> str:
        """What the browser draws."""
        panels = [self._panel(i) for i in range(1 if self.moving else len(self.maps))]
        thumbnail = data_uri(self.placed.photo, THUMBNAIL) if self.placed else ""
        name = f"alignment-{self.maps[0].projection.method}"
        return map_json(self.maps[0].space, panels, self.revision, name, thumbnail, self._legend_note())

    def _legend_note(self) -> str:
        return OTHER_SPACE if self.vision and self.by == NEAREST_IS_RIGHT else ""

    def _panel(self, number: int) -> Panel:
        drawn, after = self.maps[number], self.maps[1] if self.moving else None
        places = self.placed.places if self.placed else None
        return Panel(
            caption(drawn.space.model),
            drawn.points,
            drawn.coordinates,
            colouring(drawn.space, drawn.points, self.by),
            after.coordinates if after else None,
            places[number] if places else None,
            places[1] if places and after else None,
        )


def caption(model: str) -> str:
    """The name of a model and, if it is one of the paper's figure, what it was trained with."""
    return f"{model}: {CAPTIONS[model]}" if model in CAPTIONS else model


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
        made = None if vision else bundled_map(space, settings)
        if made:
            projection, numbers = made
        else:
            start, end = len(maps) / len(spaces), (len(maps) + 1) / len(spaces)
            projection = yield from part(project(points.matrix, settings), start, end, f"{space.model}: ")
            yield Progress(end, f"{space.model}: measuring ...")
            numbers = _vision_numbers(space) if vision else alignment_numbers(space)
        placed = projection.coordinates
        aligned = procrustes_aligned(maps[0].coordinates, placed) if maps else placed
        maps.append(ProjectedSet(space, points, projection, aligned, numbers))
    return maps


def _vision_numbers(space: EmbeddingSet) -> Numbers:
    """The vision encoder has no names: only how photos lie among themselves can be measured."""
    labelled = space.truth >= 0
    found = silhouette(space.vision[labelled], space.truth[labelled]) if labelled.any() else None
    return {**dict.fromkeys(EXPLAINED), "silhouette": found}


def place_photo(shown: MapView, photo: Image.Image, models: ModelPool) -> PlacedPhoto:
    """Embed a photo by every model shown and find its place in each map. Raises `UserError` if one cannot."""
    objects, vision, places, how = [], [], [], ""
    for drawn in shown.maps:
        recogniser, _ = models.prepare(drawn.space.model, None, None)
        rows = embed_photos(recogniser, [photo])
        where, how = place(rows[1 if shown.vision else 0], drawn.points.matrix, drawn.projection)
        objects.append(rows[0][0])
        vision.append(rows[1][0])
        places.append(_laid_over(drawn, where[0]))
    return PlacedPhoto(objects, vision, places, photo, how)


def _laid_over(drawn: ProjectedSet, where: np.ndarray) -> np.ndarray:
    """A place [d] of a map as that map is shown: turned and scaled like all its points."""
    own = np.hstack([drawn.projection.coordinates, np.ones((len(drawn.coordinates), 1))])
    change, *_ = np.linalg.lstsq(own, drawn.coordinates, rcond=None)  # [d + 1, d]
    return (np.append(where, 1) @ change).astype(np.float32)


def numbers_table(shown: MapView) -> str:
    """The alignment numbers and the maps' trustworthiness as an HTML table, everything escaped."""
    rows = [(name.replace("_", " "), EXPLAINED[name], [d.numbers[name] for d in shown.maps]) for name in EXPLAINED]
    kept = [d.projection.trustworthiness for d in shown.maps]
    explained = "how far neighbours in this map are neighbours in the space (1: all)"
    rows.append(("trustworthiness", explained, kept))
    head = "".join(f"<th>{html.escape(caption(d.space.model))}</th>" for d in shown.maps)
    body = "".join(
        f"<tr><th>{name}</th>{''.join(map(_number, values))}<td>{html.escape(text)}</td></tr>"
        for name, text, values in rows
    )
    return f"<table><thead><tr><th></th>{head}<th></th></tr></thead><tbody>{body}</tbody></table>"


def _number(value: float | None) -> str:
    return f"<td>{'-' if value is None else f'{value:.3f}'}</td>"


def about(shown: MapView) -> str:
    """What the maps are of, in one paragraph."""
    space, projection = shown.maps[0].space, shown.maps[0].projection
    method = {value: name for name, value in METHOD_NAMES.items()}[projection.method]
    where = "the vision encoder's space, which has no texts" if shown.vision else "the model's own space"
    parts = [
        f"{len(space.photos)} photos of {len(space.categories)} categories "
        f"({space.provenance.get('set') or 'unnamed set'}) in {where}; {method}, seed {projection.settings.seed}.",
        *dict.fromkeys(drawn.projection.note for drawn in shown.maps if drawn.projection.note),
    ]
    return " ".join(parts)


def point_html(shown: MapView, panel: int, index: int) -> str:
    """What is known of one point, as HTML: the photo, its true name, nearest names and photos; everything escaped."""
    drawn = shown.maps[panel]
    space, points = drawn.space, drawn.points
    if index == len(points.kinds) and shown.placed:
        return placed_html(shown, panel)
    row, category = int(points.photos[index]), int(points.categories[index])
    name = space.categories[category] if category >= 0 else "no label"
    if row < 0:
        vector = points.matrix[index]
        title = f"{SHOWN[points.kinds[index]].capitalize()}: {name}"
        return _described(shown, panel, "", title, "", vector, space.nearest_photos(vector, NEIGHBOURS))
    photo = photo_at(space, row, shown.source)
    near = _near_photos(shown, panel, space.objects[row], space.vision[row], without=row)
    picture = data_uri(photo, LARGE) if photo else ""
    return _described(shown, panel, picture, f"Photo: {name}", space.photos[row], space.objects[row], near)


def placed_html(shown: MapView, panel: int) -> str:
    """The same of the photo that somebody has added, and how its place was found."""
    assert shown.placed
    added = shown.placed
    near = _near_photos(shown, panel, added.objects[panel], added.vision[panel])
    picture = data_uri(added.photo, LARGE)
    return _described(shown, panel, picture, "Your photo", added.how, added.objects[panel], near)


def _near_photos(
    shown: MapView, panel: int, photo: np.ndarray, vision: np.ndarray, without: int = -1
) -> list[tuple[int, float]]:
    """The nearest photos in the space that is shown, with cosines."""
    space = shown.maps[panel].space
    if shown.vision:
        cosines = space.vision @ vision
        found = [(int(i), float(cosines[i])) for i in np.argsort(-cosines, kind="stable")[: NEIGHBOURS + 1]]
    else:
        found = space.nearest_photos(photo, NEIGHBOURS + 1)
    return [pair for pair in found if pair[0] != without][:NEIGHBOURS]


def _described(
    shown: MapView, panel: int, picture: str, title: str, text: str, vector: np.ndarray, near: list[tuple[int, float]]
) -> str:
    space = shown.maps[panel].space
    names = "".join(
        f"<li>{html.escape(name)} <small>{cosine:.3f}</small></li>"
        for name, cosine in space.nearest_names(vector, NAMES)
    )
    image = f'<img class="large" alt="" src="{picture}">' if picture else ""
    return (
        f'<div class="point">{image}<div><h4>{html.escape(title)}</h4><p>{html.escape(text)}</p>'
        f"<p>Nearest names in the space of {html.escape(space.model)} (cosine):</p><ol>{names}</ol></div></div>"
        f'<p>Nearest photos:</p><div class="near">{"".join(_neighbour(shown, panel, *pair) for pair in near)}</div>'
    )


def _neighbour(shown: MapView, panel: int, row: int, cosine: float) -> str:
    space = shown.maps[panel].space
    name = space.categories[space.truth[row]] if space.truth[row] >= 0 else space.photos[row]
    picture = shown.thumbnails[row] if shown.thumbnails else ""
    image = f'<img alt="" src="{picture}">' if picture else ""
    return f"<figure>{image}<figcaption>{html.escape(name)} <small>{cosine:.3f}</small></figcaption></figure>"


def chosen_rows(shown: MapView, panel: int, indices: Sequence[int]) -> list[list[str]]:
    """The photos among some points, at most `LISTED`: photo, true name, nearest name, its cosine."""
    drawn = shown.maps[panel]
    space = drawn.space
    rows = [int(drawn.points.photos[i]) for i in indices if i < len(drawn.points.kinds)]
    table = []
    for row in [row for row in rows if row >= 0][:LISTED]:
        name, cosine = space.nearest_names(space.objects[row], 1)[0]
        truth = space.categories[space.truth[row]] if space.truth[row] >= 0 else ""
        table.append([space.photos[row], truth, name, f"{cosine:.3f}"])
    return table


def pictures_json(shown: MapView) -> str:
    """The thumbnails as the map takes them."""
    return json.dumps(shown.thumbnails)
