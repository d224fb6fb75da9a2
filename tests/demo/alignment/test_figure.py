"""Maps as figures: few traces, numbers instead of texts, and colours that leave every point where it is."""

import json
from itertools import pairwise

import numpy as np
import pytest
from embedding_sets import HOSTILE, random_set

from demo.alignment.figure import COLOUR_BY, Panel, colouring, map_figure, map_json, palette


def panel(space, dimensions=2, by=COLOUR_BY[0], **more):
    points = space.points
    places = np.random.default_rng(1).normal(size=(len(points.kinds), dimensions))
    return Panel(f"{HOSTILE}", points, places, colouring(space, points, by), **more)


@pytest.mark.parametrize(("dimensions", "kind"), [(2, "scatter"), (3, "scatter3d")])
def test_a_trace_per_kind_with_the_rows_of_its_points(dimensions, kind):
    space = random_set()
    figure = map_figure([panel(space, dimensions)], "r")
    assert [trace.type for trace in figure.data] == [kind] * 3
    assert [trace.meta["kind"] for trace in figure.data] == ["object", "attributes", "category"]
    assert len({trace.marker.symbol for trace in figure.data}) == 3
    rows = np.concatenate([trace.customdata for trace in figure.data])
    assert rows.tolist() == list(range(len(space.points.kinds)))


def test_a_colour_changes_no_position_and_no_view():
    space = random_set()
    figures = [map_figure([panel(space, by=by)], "r") for by in COLOUR_BY]
    for figure in figures[1:]:
        assert figure.layout.uirevision == figures[0].layout.uirevision == "r"
        for one, other in zip(figures[0].data, figure.data, strict=True):
            np.testing.assert_array_equal(one.x, other.x)
    assert figures[0].data[0].marker.color.tolist() != figures[3].data[0].marker.color.tolist()


def test_colours_say_what_is_asked():
    space = random_set()
    points = space.points
    by_set = colouring(space, points, "data set")
    assert by_set.labels == ["a"]
    assert by_set.values[:3].tolist() == [-1, 0, -1]
    groups = colouring(space, points, "super-category")
    assert groups.labels == ["bird", "dog"]
    assert groups.values[:4].tolist() == [0, -1, 1, 1]
    right = colouring(space, points, "nearest name is right")
    for row in range(len(space.photos)):
        nearest = space.nearest_names(space.objects[row], 1)[0][0]
        assert right.labels[right.values[row]] == ("right" if nearest == space.categories[space.truth[row]] else "wrong")
    assert set(right.values[len(space.photos) :].tolist()) == {-1}


@pytest.mark.parametrize("count", [1, 8, 9, 140])
def test_every_category_has_its_own_colour(count):
    assert len(set(palette(count))) == count


def test_the_colour_scale_gives_every_label_its_own_colour():
    trace = map_figure([panel(random_set(categories=12))], "r").data[0]
    low, high, scale = trace.marker.cmin, trace.marker.cmax, trace.marker.colorscale
    for label, colour in enumerate(palette(12)):
        share = (label - low) / (high - low)
        assert [end[1] for start, end in pairwise(scale) if start[0] < share < end[0]] == [colour]


def test_no_text_of_a_user_is_markup_in_a_figure():
    space = random_set()
    figure = map_figure([panel(space), panel(space)], "r").to_json()
    assert "<b>" not in figure
    assert "<img" not in figure
    assert ".jpg" not in figure
    about = json.loads(map_json(space, [panel(space)], "r", "file"))["about"]
    assert about["photos"] == space.photos  # shown by the browser as text


def test_panels_share_labels_and_axes_are_their_own():
    space = random_set()
    figure = map_figure([panel(space), panel(space), panel(space)], "r")
    assert len(figure.data) == 9
    assert {trace.xaxis for trace in figure.data} == {"x", "x2", "x3"}
    with pytest.raises(ValueError, match="share"):
        map_figure([panel(space), panel(space, by="data set")], "r")


def test_ranges_hold_the_points_before_and_after_and_the_added_photo():
    space = random_set()
    count = len(space.points.kinds)
    moved = np.full((count, 2), 50.0)
    shown = panel(space, moved=moved, placed=np.array([-70.0, 0]), placed_moved=np.array([0, -90.0]))
    figure = map_figure([shown], "r")
    assert figure.layout.xaxis.range[0] < -70
    assert figure.layout.xaxis.range[1] > 50
    assert figure.layout.yaxis.range[0] < -90
    assert figure.data[3].customdata.tolist() == [count]
    about = json.loads(map_json(space, [shown], "r", "file"))["about"]
    assert [len(trace[0]) for trace in about["moved"]] == [40, 4, 4, 1]
    assert about["moved"][3] == [[0.0], [-90.0]]


def test_twenty_thousand_points_are_few_numbers():
    space = random_set(photos=20_000, categories=140)
    shown = panel(space)
    figure = map_figure([shown], "r")
    text = figure.to_json()
    assert len(figure.data) == 3
    assert {trace.type for trace in figure.data} == {"scattergl"}
    assert len(text) < 1_000_000
    assert len(map_json(space, [shown], "r", "file")) < 3_000_000
