"""What the events of the tab ask for and answer, with stand-ins for its components and models."""

from dataclasses import fields
from types import SimpleNamespace

import gradio as gr
import pytest
from embedding_sets import random_set

from core.errors import UserError
from demo.alignment.controller import AlignmentController, MapInputs, MapOutputs
from demo.alignment.request import BEFORE_AFTER, BUNDLED, ONE, OWN, SIDE_BY_SIDE, STUDIED, VISION, MapRequest
from demo.alignment.view_model import MapView

USUAL = {
    "photos": BUNDLED,
    "view": ONE,
    "model": "a",
    "after": None,
    "models": [],
    "space": OWN,
    "method": "PCA",
    "dimensions": 2,
    "seed": 0,
    "perplexity": 30,
    "neighbours": 15,
    "min_dist": 0.1,
    "colour_by": "category",
}


def request(**changes):
    return MapRequest(**{**USUAL, **changes})


def values(view=None, **changes):
    return {**USUAL, "uploads": None, "studied": None, "photo": None, "state": view, **changes}


@pytest.fixture
def controller(tmp_path, monkeypatch):
    """One whose components are the names of its inputs and outputs."""
    monkeypatch.setattr("demo.alignment.request.bundled_embeddings", lambda model: random_set())
    inputs = MapInputs(request={name: name for name in USUAL}, uploads="uploads", studied="studied", photo="photo")
    outputs = MapOutputs(**{field.name: field.name for field in fields(MapOutputs)} | {"view": "map"})
    return AlignmentController(None, None, inputs, outputs, lambda: tmp_path)


def event(**data):
    return SimpleNamespace(_data=data)


@pytest.fixture
def view(controller):
    *_, last = controller.draw(values())
    return last["state"]


def test_what_cannot_be_drawn_is_one_sentence():
    assert request().model_names() == ["a"]
    for changes, message in (
        ({"view": BEFORE_AFTER}, "two or three"),
        ({"view": BEFORE_AFTER, "after": "a"}, "two or three"),
        ({"model": None}, "Choose a model"),
    ):
        with pytest.raises(UserError, match=message):
            request(**changes).model_names()
    with pytest.raises(UserError, match="missing"):
        request(method="x").projection_config()
    with pytest.raises(UserError, match="cannot be chosen"):
        request(colour_by="<b>")


def test_the_inputs_are_the_fields_of_a_request():
    assert set(USUAL) == {field.name for field in fields(MapRequest)}
    with pytest.raises(TypeError):
        MapRequest(*USUAL.values())


def test_a_map_is_drawn_with_its_progress_and_everything_about_it(controller):
    *steps, last = controller.draw(values(space=VISION, colour_by="data set"))
    assert steps
    assert all(set(step) == {"status"} for step in steps)
    assert set(last) == {field.name for field in fields(MapOutputs)} - {"view"} | {"map"}
    assert isinstance(last["state"], MapView)
    assert (last["state"].shows_vision, last["state"].colour_by) == (True, "data set")
    assert last["status"].startswith("40 photos of 4 categories")


def test_before_there_is_a_map_only_the_button_draws_one(controller, view, monkeypatch):
    monkeypatch.setattr("demo.alignment.controller.with_embeddings", lambda: ["a"])
    assert [set(step) for step in controller.redraw(values())] == [{"status"}]
    assert [set(step) for step in controller.draw_first(values(view))] == [{"status"}]
    for steps in (controller.redraw(values(view)), controller.draw_first(values())):
        *_, last = steps
        assert isinstance(last["state"], MapView)


def test_what_is_wrong_is_said_where_the_map_would_be(controller):
    steps = controller.draw(values(photos=STUDIED))
    assert next(steps) == {"status": "Nothing was drawn: There are no photos: choose some on the Case study tab first."}
    with pytest.raises(gr.Error, match="Case study tab"):
        next(steps)


def test_another_colour_keeps_the_zoom(controller, view):
    revision = view.revision
    assert set(controller.recolour(values(view, colour_by="data set"))) == {"map"}
    assert (view.colour_by, view.revision) == ("data set", revision)
    controller.recolour(values(view, colour_by="<b>"))
    assert view.colour_by == "data set"


def test_points_are_described_and_listed(controller, view):
    assert "Nearest names in the space of model" in controller.show_point(view, event(panel=0, index=0))
    assert len(controller.list_photos(view, event(panel=0, indices=[0, 1, 47]))) == 2


@pytest.mark.parametrize(
    ("panel", "index"), [(1, 0), (-1, 0), (None, 0), ("0", 0), (0, -1), (0, 48), (0, "0"), (0, True), (0, None)]
)
def test_points_that_do_not_exist_are_refused(controller, view, panel, index):
    with pytest.raises(gr.Error, match="no such point"):
        controller.show_point(view, event(panel=panel, index=index))
    with pytest.raises(gr.Error, match="no such point"):
        controller.list_photos(view, event(panel=panel, indices=[0, index]))


def test_without_a_map_nothing_is_placed_or_saved(controller):
    with pytest.raises(gr.Error, match="no map yet"):
        next(controller.place(values()))
    with pytest.raises(gr.Error, match="no map yet"):
        controller.save(None)


def test_a_map_is_saved(controller, view, tmp_path):
    assert controller.save(view).visible
    assert {path.name for path in tmp_path.iterdir()} >= {"alignment.html", "coordinates.csv", "model.npz"}


@pytest.mark.parametrize(
    ("kind", "visible"),
    [(ONE, ["model"]), (BEFORE_AFTER, ["model", "after"]), (SIDE_BY_SIDE, ["models"])],
)
def test_a_kind_of_view_has_its_own_choices(controller, kind, visible):
    assert [name for name, update in controller.arrange(kind).items() if update.visible] == visible
