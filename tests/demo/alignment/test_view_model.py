"""Maps of several models, what is known of their points, and a photo placed in them."""

import json

import numpy as np
import pytest
from embedding_sets import HOSTILE, projected, random_set
from PIL import Image

from core.errors import UserError
from demo.alignment.figure import NEAREST_IS_RIGHT
from demo.alignment.point_card import numbers_table, photo_rows, point_card
from demo.alignment.view_model import MapView, caption, place_photo


def test_maps_are_laid_over_the_first_and_other_photos_refused():
    one, two = projected(random_set(), random_set(seed=1))
    assert one.numbers["recall_at_1"] is not None
    moved = [two.as_shown(place) for place in two.projection.coordinates[:3]]
    np.testing.assert_allclose(moved, two.coordinates[:3], atol=1e-3)
    with pytest.raises(UserError, match="different photos"):
        projected(random_set(), random_set(photos=41))


def test_the_vision_space_has_photos_alone():
    (drawn,) = projected(random_set(), vision=True)
    assert set(drawn.points.kinds) == {"object"}
    assert {name for name, value in drawn.numbers.items() if value is not None} == {"silhouette"}


def test_what_is_told_of_a_point_is_escaped():
    shown = MapView(projected(random_set()))
    for index in (0, len(shown.maps[0].points.kinds) - 4):
        told = point_card(shown, 0, index)
        assert "&lt;img" in told
        assert "<img src=x" not in told
    assert "<img" not in numbers_table(shown)
    rows = photo_rows(shown, 0, range(len(shown.maps[0].points.kinds)))
    assert len(rows) == 40  # texts are no photos
    assert rows[0][:2] == [f"{HOSTILE}0.jpg", HOSTILE]


def test_a_photo_is_placed_in_every_map(monkeypatch):
    space = random_set()
    shown = MapView(projected(space, space), is_animated=True)
    monkeypatch.setattr("demo.alignment.view_model.embed_photos", lambda *_: (space.objects[:1], space.vision[:1]))
    models = type("ModelPool", (), {"prepare": lambda *_: (None, None)})()
    shown.placed = place_photo(shown, Image.new("RGB", (50, 50)), models)
    for place in shown.placed.coordinates:
        np.testing.assert_allclose(place, shown.maps[0].coordinates[0], atol=1e-3)
    assert '"your photo"' in shown.map_json()
    assert "Placed exactly" in point_card(shown, 0, len(space.points.kinds))


def test_the_legend_says_that_nearest_names_are_of_the_other_space():
    space = random_set()
    assert json.loads(MapView(projected(space), colour_by=NEAREST_IS_RIGHT).map_json())["about"]["note"] == ""
    shown = MapView(projected(space, vision=True), shows_vision=True)
    assert json.loads(shown.map_json())["about"]["note"] == ""
    shown.colour_by = NEAREST_IS_RIGHT
    assert "the model's own space" in json.loads(shown.map_json())["about"]["note"]


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("siglip-so400m", "siglip-so400m: VLM"),
        ("idefics2-8b", "idefics2-8b: MLLM"),
        ("finedefics-tiny", "finedefics-tiny: + all losses"),
        ("my-birds", "my-birds"),
    ],
)
def test_a_map_says_what_its_model_is(model, shown):
    assert caption(model) == shown
