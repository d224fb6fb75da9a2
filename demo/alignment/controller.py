"""Answer the events of the Alignment tab."""

import html
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from core.embeddings.bundled import with_embeddings
from core.errors import UserError
from core.progress import Progress, map_progress
from demo.alignment import export
from demo.alignment.figure import COLOUR_BY
from demo.alignment.photos import thumbnails
from demo.alignment.point_card import numbers_table, photo_rows, placed_photo_card, point_card
from demo.alignment.request import BEFORE_AFTER, SIDE_BY_SIDE, MapRequest, build_view, photo_source
from demo.alignment.view_model import MapView, place_photo
from demo.components.errors import on_page
from demo.components.models import ModelPool
from demo.components.photo_folder import Folder
from demo.components.uploads import opened_photo, uploaded

CLICK_A_POINT = "Click a point of the map."
NO_MAP = "There is no map yet: draw one first."

Update = dict[Component, Any]  # new values by component


@dataclass(frozen=True, kw_only=True)
class MapInputs:
    """The components that a user asks for a map with."""

    request: Mapping[str, Component]  # by the fields of `MapRequest`
    uploads: Component
    studied: Component  # the uploads of the Case study tab
    photo: Component  # to be placed in the map


@dataclass(frozen=True, kw_only=True)
class MapOutputs:
    """The components that show a map and what is known of it."""

    state: Component  # the `MapView`
    status: Component
    view: Component
    hint: Component
    numbers: Component
    point: Component
    selection: Component
    placed: Component
    files: Component


class AlignmentController:
    """Answers the events of the tab. Their values are given, and new ones returned, by component."""

    def __init__(
        self,
        models: ModelPool,
        owned: Folder | None,
        inputs: MapInputs,
        outputs: MapOutputs,
        new_folder: Callable[[], Path],
    ) -> None:
        self._models, self._owned, self._new_folder = models, owned, new_folder
        self._in, self._out = inputs, outputs

    def draw(self, values: Mapping[Component, Any]) -> Iterator[Update]:
        """Draw the map that the inputs ask for; the thumbnails follow."""
        with on_page():
            try:
                request = MapRequest(**{name: values[part] for name, part in self._in.request.items()})
                source = photo_source(request, values[self._in.uploads], values[self._in.studied])
                view = yield from self._report(build_view(request, source, self._owned, self._models))
                yield self._display(view)
            except UserError as error:
                yield {self._out.status: f"Nothing was drawn: {html.escape(str(error))}"}
                raise
            if view.source:
                view.thumbnails = thumbnails(view.maps[0].space, view.source)
                yield self._display(view)

    def _report(self, steps: Generator[Progress, None, MapView]) -> Generator[Update, None, MapView]:
        return (yield from map_progress(steps, lambda progress: {self._out.status: html.escape(progress.message)}))

    def _display(self, view: MapView) -> Update:
        return {
            self._out.status: html.escape(view.description),
            self._out.state: view,
            self._out.view: gr.HTML(map=view.map_json(), thumbnails=view.thumbnails_json()),
            self._out.hint: gr.Markdown(visible=view.lacks_photos),
            self._out.numbers: numbers_table(view),
            self._out.point: CLICK_A_POINT,
            self._out.selection: [],
            self._out.placed: "",
            self._out.files: gr.File(value=None, visible=False),
        }

    def draw_first(self, values: Mapping[Component, Any]) -> Iterator[Update]:
        """Draw the bundled map when the tab is opened for the first time."""
        if values[self._out.state] is None and with_embeddings():
            yield from self.draw(values)
        else:
            yield {self._out.status: gr.skip()}

    def redraw(self, values: Mapping[Component, Any]) -> Iterator[Update]:
        """Draw the map again with a changed setting, unless none has been drawn yet."""
        if values[self._out.state] is not None:
            yield from self.draw(values)
        else:
            yield {self._out.status: gr.skip()}

    def recolour(self, values: Mapping[Component, Any]) -> Update:
        """Colour the map differently."""
        view, colour_by = values[self._out.state], values[self._in.request["colour_by"]]
        if view is None or colour_by not in COLOUR_BY:
            return {self._out.view: gr.skip()}
        view.colour_by = colour_by
        return {self._out.view: gr.HTML(map=view.map_json())}

    def show_point(self, view: MapView | None, event: gr.EventData) -> object:
        """Show what is known of the point that was clicked."""
        if view is None:
            return gr.skip()
        with on_page():
            panel, (index,) = _points_of(view, event._data.get("panel"), [event._data.get("index")])
            return point_card(view, panel, index)

    def list_photos(self, view: MapView | None, event: gr.EventData) -> object:
        """List the photos in the box or lasso."""
        if view is None:
            return gr.skip()
        with on_page():
            return photo_rows(view, *_points_of(view, event._data.get("panel"), event._data.get("indices")))

    def place(self, values: Mapping[Component, Any]) -> Iterator[Update]:
        """Place a photo of the user's in the map."""
        with on_page():
            view = values[self._out.state]
            if view is None:
                raise UserError(NO_MAP)
            photo = opened_photo(uploaded(values[self._in.photo])).image
            yield {self._out.placed: "Encoding the photo ..."}
            try:
                view.placed = place_photo(view, photo, self._models)
            except UserError:
                yield {self._out.placed: ""}
                raise
            cards = "".join(placed_photo_card(view, panel) for panel in range(len(view.maps)))
            yield {self._out.view: gr.HTML(map=view.map_json()), self._out.placed: cards}

    def save(self, view: MapView | None) -> gr.File:
        """Write the map to files for download."""
        with on_page():
            if view is None:
                raise UserError(NO_MAP)
            paths = export.save(view, self._new_folder())
            return gr.File(value=[str(path) for path in paths], visible=True)

    def arrange(self, view: str) -> Update:
        """Show the choices of models that a kind of view needs."""
        request = self._in.request
        return {
            request["model"]: gr.Dropdown(
                visible=view != SIDE_BY_SIDE, label="Before" if view == BEFORE_AFTER else "Model"
            ),
            request["after"]: gr.Dropdown(visible=view == BEFORE_AFTER),
            request["models"]: gr.Dropdown(visible=view == SIDE_BY_SIDE),
        }


def _points_of(view: MapView, panel: object, indices: object) -> tuple[int, list[int]]:
    """Return the panel and points of an event. Raises `UserError` unless they exist: browsers can send anything."""
    last = len(view.maps[0].points.kinds) - (view.placed is None)
    if isinstance(panel, int) and 0 <= panel < len(view.maps) and isinstance(indices, list):
        known = [index for index in indices if type(index) is int and 0 <= index <= last]
        if len(known) == len(indices):
            return panel, known
    raise UserError("There is no such point: draw the map again.")
