"""Plotly figures of an `EmbeddingSet`: positions and colours are numbers, and no text of a user is in a figure.

Colours are rows of a list, read through a colour scale with hard edges, so that a point is four small numbers and a
map of 20,000 points stays smooth. The browser shows names itself (`demo/alignment/static`), as text.
"""

import colorsys
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from core.embeddings.embedding_set import KINDS, EmbeddingSet, Points

NEAREST_IS_RIGHT = "nearest name is right"  # always in the model's own space: the vision encoder's has no names
COLOUR_BY = ("category", "super-category", "data set", NEAREST_IS_RIGHT)
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#B8A800", "#7F3C8D")  # by Okabe and Ito
UNLABELLED, FADED = -1, -2  # no label; not highlighted
UNLABELLED_COLOUR, FADED_COLOUR, PLACED_COLOUR = "#8c8c8c", "rgba(140,140,140,0.12)", "#e6007e"
PLACED = "your photo"
KIND_NAMES = dict(zip(KINDS, ("photo", "attribute description", "category name"), strict=True))
SYMBOLS = {  # in 2-D, in 3-D
    "object": ("circle", "circle"),
    "attributes": ("diamond", "diamond"),
    "category": ("star", "cross"),
    PLACED: ("hexagram", "square"),
}
SIZES = {"object": (7, 3), "attributes": (10, 5), "category": (14, 6), PLACED: (24, 11)}
MAX_LARGE_MARKERS = 3_000  # more photos than these are drawn smaller
MAX_VECTOR_POINTS = 2_000  # so few points are drawn as SVG sooner than WebGL has started
GOLDEN_RATIO = 0.618034


@dataclass(frozen=True)
class Colouring:
    """The colour of every point."""

    values: np.ndarray  # [P] int16 rows of `labels`, or `UNLABELLED`
    labels: list[str]


@dataclass(frozen=True)
class Panel:
    """One of the maps of a figure."""

    title: str
    points: Points
    coordinates: np.ndarray  # [P, 2 or 3]
    colouring: Colouring
    moved: np.ndarray | None = None  # [P, 2 or 3] where the points move to in an animation
    placed: np.ndarray | None = None  # [2 or 3] the photo that a user has added
    placed_moved: np.ndarray | None = None  # [2 or 3] where it moves to


def colouring(space: EmbeddingSet, points: Points, by: str) -> Colouring:
    """Return the colours of points by one of `COLOUR_BY`. Raises `ValueError` for anything else."""
    if by == "category":
        return Colouring(points.categories.astype(np.int16), space.categories)
    if by == "super-category":
        return _by_names(space.groups, points.categories)
    if by == "data set":
        return _by_names(space.data_sets, points.photos)
    if by != NEAREST_IS_RIGHT:
        raise ValueError(by)
    is_wrong = (space.objects @ space.names.T).argmax(axis=1) != space.truth
    values = np.full(len(points.kinds), UNLABELLED, np.int16)
    labelled = (points.photos >= 0) & (points.categories >= 0)
    values[labelled] = is_wrong[points.photos[labelled]]
    return Colouring(values, ["right", "wrong"])


def _by_names(names: Sequence[str], rows: np.ndarray) -> Colouring:
    """Return the colours of points [P] that have the names of these rows; "" and rows of -1 are unlabelled."""
    labels = sorted({name for name in names if name})
    number = {name: i for i, name in enumerate(labels)}
    of_row = np.array([*(number.get(name, UNLABELLED) for name in names), UNLABELLED], np.int16)
    return Colouring(of_row[rows], labels)


def palette(count: int) -> list[str]:
    """Return `count` different colours: up to 8 suited to colour-blind people, else hues a golden angle apart.

    Lightness alternates as well, so that consecutive colours differ by more than hue.
    """
    if count <= len(OKABE_ITO):
        return list(OKABE_ITO[:count])
    colours = []
    for i in range(count):
        lightness, saturation = (0.42, 0.56, 0.68)[i % 3], (0.85, 0.6, 0.75)[i % 3]
        red, green, blue = (round(255 * v) for v in colorsys.hls_to_rgb(i * GOLDEN_RATIO % 1, lightness, saturation))
        colours.append(f"#{red:02x}{green:02x}{blue:02x}")
    return colours


def map_figure(panels: Sequence[Panel], revision: str) -> go.Figure:
    """Return the figure of maps side by side that share their labels; the zoom stays as long as `revision` does.

    `customdata` is the row of the point in its `Points`, one past the last for the added photo; a trace's `meta` tells
    its panel and kind. Raises `ValueError` if the panels' labels or dimensions differ.
    """
    labels = panels[0].colouring.labels
    dimensions = panels[0].coordinates.shape[1]
    if any(p.colouring.labels != labels or p.coordinates.shape[1] != dimensions for p in panels):
        raise ValueError("panels of one figure share their labels and dimensions")
    figure = go.Figure()
    for number, panel in enumerate(panels):
        figure.add_traces([_trace(panel, number, kind, len(labels)) for kind in _kinds(panel)])
        figure.update_layout(_axes(panel, number, len(panels)))
    figure.update_layout(
        uirevision=revision,
        showlegend=False,
        dragmode="pan" if dimensions == 2 else "turntable",
        margin={"l": 8, "r": 8, "t": 36 if len(panels) > 1 else 8, "b": 8},
        hovermode="closest",
        annotations=_titles(panels) if len(panels) > 1 else [],
    )
    return figure


def _kinds(panel: Panel) -> list[str]:
    present = set(panel.points.kinds)
    return [kind for kind in KINDS if kind in present] + ([PLACED] if panel.placed is not None else [])


def _trace(panel: Panel, number: int, kind: str, labels: int) -> go.Scatter | go.Scattergl | go.Scatter3d:
    flat = panel.coordinates.shape[1] == 2
    rows, places, values = _rows(panel, kind)
    size = SIZES[kind][not flat]
    if kind == KINDS[0] and len(rows) > MAX_LARGE_MARKERS:
        size = max(2, size - 2)
    suffix = str(number + 1) if number else ""
    where = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"} if flat else {"scene": f"scene{suffix}"}
    marker = {
        "symbol": SYMBOLS[kind][not flat],
        "size": size,
        "color": PLACED_COLOUR if kind == PLACED else values,
        "line": {"width": 0 if kind == KINDS[0] else 1, "color": "white" if kind == PLACED else "rgba(70,70,70,0.8)"},
    }
    if kind != PLACED:
        marker |= {"colorscale": _scale(labels), "cmin": FADED - 0.5, "cmax": labels - 0.5, "showscale": False}
    common = {
        "mode": "markers",
        "name": KIND_NAMES.get(kind, kind),
        "customdata": rows,
        "hoverinfo": "none",
        "meta": {"panel": number, "kind": kind},
        "marker": marker,
        **where,
        **{axis: places[:, i] for i, axis in enumerate("xyz"[: places.shape[1]])},
    }
    if flat:
        drawn = go.Scatter if len(panel.points.kinds) <= MAX_VECTOR_POINTS else go.Scattergl
        return drawn(**common, unselected={"marker": {"opacity": 0.08}})
    return go.Scatter3d(**common)


def _rows(panel: Panel, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of the points of a kind: rows [K] int32, coordinates [K, d] float32, colours [K] int16."""
    if kind == PLACED:
        assert panel.placed is not None
        return np.array([len(panel.points.kinds)], np.int32), panel.placed[None].astype(np.float32), np.zeros(1)
    rows = np.flatnonzero(np.array(panel.points.kinds) == kind).astype(np.int32)
    return rows, panel.coordinates[rows].astype(np.float32), panel.colouring.values[rows].astype(np.int16)


def _scale(labels: int) -> list[list]:
    """Return a colour scale with hard edges: faded, unlabelled, then the labels' colours."""
    colours = [FADED_COLOUR, UNLABELLED_COLOUR, *palette(labels)]
    edges = [i / len(colours) for i in range(len(colours) + 1)]
    return [[edge, colour] for i, colour in enumerate(colours) for edge in edges[i : i + 2]]


def _axes(panel: Panel, number: int, count: int) -> dict:
    """Return the axes of a panel, whose ranges hold all its points before and after; their numbers mean nothing."""
    optional = (panel.moved, panel.placed, panel.placed_moved)
    places = np.concatenate([panel.coordinates, *(np.atleast_2d(p) for p in optional if p is not None)])
    low, high = places.min(axis=0), places.max(axis=0)
    flat = len(low) == 2
    half = (high - low) * 0.54 if flat else np.full(3, max(float((high - low).max()) * 0.54, 1e-6))
    half = np.maximum(half, 1e-6)
    ranges = [[float(m - h), float(m + h)] for m, h in zip((low + high) / 2, half, strict=True)]
    domain = [number / count + 0.01 * bool(number), (number + 1) / count - 0.01 * (number + 1 < count)]
    suffix = str(number + 1) if number else ""
    bare = {"showticklabels": False, "zeroline": False, "title": {"text": ""}}
    if flat:
        x = {**bare, "range": ranges[0], "domain": domain, "anchor": f"y{suffix}"}
        y = {**bare, "range": ranges[1], "anchor": f"x{suffix}", "scaleanchor": f"x{suffix}"}
        return {f"xaxis{suffix}": x, f"yaxis{suffix}": y}
    axes = {f"{axis}axis": {**bare, "range": r, "showspikes": False} for axis, r in zip("xyz", ranges, strict=True)}
    return {f"scene{suffix}": {**axes, "domain": {"x": domain, "y": [0, 1]}, "aspectmode": "cube"}}


def _titles(panels: Sequence[Panel]) -> list[dict]:
    common = {"xref": "paper", "yref": "paper", "y": 1, "yanchor": "bottom", "xanchor": "center", "showarrow": False}
    return [
        {**common, "x": (i + 0.5) / len(panels), "text": html.escape(panel.title, quote=False)}
        for i, panel in enumerate(panels)
    ]


def map_json(
    space: EmbeddingSet,
    panels: Sequence[Panel],
    revision: str,
    file_name: str,
    placed_thumbnail: str = "",
    note: str = "",
) -> str:
    """Return what the browser draws: the figure and what is known of its points. All panels show the same points.

    `note` is a sentence to be shown above the legend.
    """
    figure = map_figure(panels, revision)
    points, labels = panels[0].points, panels[0].colouring.labels
    moved = None
    if panels[0].moved is not None:
        moved = [_moved(panels[0], kind) for kind in _kinds(panels[0])]
    about = {
        "points": {"category": points.categories.tolist(), "photo": points.photos.tolist()},
        "categories": space.categories,
        "photos": space.photos,
        "labels": labels,
        "colours": palette(len(labels)),
        "kinds": KIND_NAMES,
        "moved": moved,
        "placed": placed_thumbnail,
        "note": note,
        "file": file_name,
    }
    return f'{{"figure": {figure.to_json()}, "about": {json.dumps(about)}}}'


def _moved(panel: Panel, kind: str) -> list[list[float]]:
    """Return where the points of a kind move to, per axis."""
    assert panel.moved is not None
    if kind == PLACED:
        assert panel.placed_moved is not None
        return panel.placed_moved[:, None].tolist()
    return np.round(panel.moved[_rows(panel, kind)[0]].T, 4).tolist()
