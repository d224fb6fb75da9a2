"""What is known of the points of a map, as HTML and table rows. Templates escape all text."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.data.images import data_url, to_jpeg
from core.embeddings.metrics import EXPLAINED
from demo.alignment.figure import KIND_NAMES
from demo.alignment.photos import JPEG_QUALITY, find_photo
from demo.alignment.view_model import MapView, caption
from demo.components.templates import render

NEAREST_NAMES, NEAREST_PHOTOS = 5, 6
MAX_ROWS = 500  # of the table of selected photos
PHOTO_SIDE = 320  # pixels of the longer side
TRUSTWORTHINESS = "how far neighbours in this map are neighbours in the space (1: all)"


class Neighbour(NamedTuple):
    """A photo near a point."""

    name: str
    cosine: float
    thumbnail: str  # data URL, "" if there is none


class NumbersRow(NamedTuple):
    """One metric of every model."""

    name: str
    explanation: str
    values: list[float | None]


def numbers_table(view: MapView) -> str:
    """Return the alignment metrics and the maps' trustworthiness as an HTML table."""
    rows = [
        NumbersRow(name.replace("_", " "), explanation, [one.numbers[name] for one in view.maps])
        for name, explanation in EXPLAINED.items()
    ]
    kept = [one.projection.trustworthiness for one in view.maps]
    rows.append(NumbersRow("trustworthiness", TRUSTWORTHINESS, kept))
    return render("map_numbers.html", captions=[caption(one.space.model) for one in view.maps], rows=rows)


def point_card(view: MapView, panel: int, index: int) -> str:
    """Return what is known of one point as HTML: the photo, its true name, the nearest names and photos."""
    space, points = view.maps[panel].space, view.maps[panel].points
    if index == len(points.kinds) and view.placed:
        return placed_photo_card(view, panel)
    row, category = int(points.photos[index]), int(points.categories[index])
    name = space.categories[category] if category >= 0 else "no label"
    if row < 0:
        vector = points.matrix[index]
        near = space.nearest_photos(vector, NEAREST_PHOTOS)
        return _card(view, panel, f"{KIND_NAMES[points.kinds[index]].capitalize()}: {name}", vector, near)
    near = _nearest_photos(view, panel, space.objects[row], space.vision[row], exclude=row)
    photo = find_photo(space, row, view.source)
    picture = data_url(to_jpeg(photo, PHOTO_SIDE, JPEG_QUALITY)) if photo else ""
    return _card(view, panel, f"Photo: {name}", space.objects[row], near, text=space.photos[row], picture=picture)


def placed_photo_card(view: MapView, panel: int) -> str:
    """Return the same for the photo that a user has placed, and how its place was found."""
    placed = view.placed
    assert placed
    vector = placed.objects[panel]
    near = _nearest_photos(view, panel, vector, placed.vision[panel])
    picture = data_url(to_jpeg(placed.photo, PHOTO_SIDE, JPEG_QUALITY))
    return _card(view, panel, "Your photo", vector, near, text=placed.note, picture=picture)


def _nearest_photos(
    view: MapView, panel: int, photo: np.ndarray, vision: np.ndarray, exclude: int = -1
) -> list[tuple[int, float]]:
    """Return rows and cosines of the photos nearest in the space that is shown, without the row `exclude`."""
    space = view.maps[panel].space
    if view.shows_vision:
        cosines = space.vision @ vision
        nearest = np.argsort(-cosines, kind="stable")[: NEAREST_PHOTOS + 1]
        found = [(int(row), float(cosines[row])) for row in nearest]
    else:
        found = space.nearest_photos(photo, NEAREST_PHOTOS + 1)
    return [pair for pair in found if pair[0] != exclude][:NEAREST_PHOTOS]


def _card(
    view: MapView,
    panel: int,
    title: str,
    vector: np.ndarray,
    near: list[tuple[int, float]],
    text: str = "",
    picture: str = "",
) -> str:
    space = view.maps[panel].space
    return render(
        "point.html",
        title=title,
        text=text,
        picture=picture,
        model=space.model,
        names=space.nearest_names(vector, NEAREST_NAMES),
        neighbours=[_neighbour(view, panel, row, cosine) for row, cosine in near],
    )


def _neighbour(view: MapView, panel: int, row: int, cosine: float) -> Neighbour:
    space = view.maps[panel].space
    name = space.categories[space.truth[row]] if space.truth[row] >= 0 else space.photos[row]
    return Neighbour(name, cosine, view.thumbnails[row] if view.thumbnails else "")


def photo_rows(view: MapView, panel: int, indices: Sequence[int]) -> list[list[str]]:
    """Return the first `MAX_ROWS` photos among points, as rows of photo, true name, nearest name and its cosine."""
    space, points = view.maps[panel].space, view.maps[panel].points
    rows = [int(points.photos[i]) for i in indices if i < len(points.kinds)]
    table = []
    for row in [row for row in rows if row >= 0][:MAX_ROWS]:
        name, cosine = space.nearest_names(space.objects[row], 1)[0]
        truth = space.categories[space.truth[row]] if space.truth[row] >= 0 else ""
        table.append([space.photos[row], truth, name, f"{cosine:.3f}"])
    return table
