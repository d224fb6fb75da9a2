"""The Alignment tab: photos, attribute descriptions and names in one map of a model's own space."""

import html
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from core.data.photo_sets import MAX_PHOTOS
from core.embeddings.bundled import with_embeddings
from core.errors import UserError
from core.progress import Progress
from core.zoo.registry import DEFAULT
from demo.alignment import export as alignment_export
from demo.alignment import map_view
from demo.alignment.figure import COLOUR_BY
from demo.alignment.photos import MOST, Folder
from demo.alignment.request import (
    BEFORE_AFTER,
    CHOICES,
    ONE,
    OWN,
    SHIPPED,
    SIDE_BY_SIDE,
    UPLOADED,
    MapRequest,
    build_view,
    source_of,
)
from demo.alignment.view_model import (
    CAPTIONS,
    METHOD_NAMES,
    MapView,
    about,
    chosen_rows,
    numbers_table,
    pictures_json,
    place_photo,
    placed_html,
    point_html,
)
from demo.components.errors import on_page
from demo.components.models import ModelPool, ready_models
from demo.components.uploads import opened_photo, uploaded

INTRO = (
    "Circles are photos, diamonds attribute descriptions, stars category names: points of one space. Where a model is "
    "aligned, a photo lies near its name. Click a point for its photo and neighbours; draw a box or a lasso to "
    "list photos; colours never change where a point lies."
)
MEASURED = (
    "The numbers are computed in the original space, of all its dimensions, never in the map; only trustworthiness is "
    "about the map: it says how far to believe it. Distances between far groups of a t-SNE or UMAP map mean little."
)
NO_PHOTOS = (
    "The photos themselves are not part of this app (their licences), so that only their names are shown. Whoever "
    "serves this page and has them can start it with `--photos FOLDER`; uploaded photos always show."
)
UPLOAD_HINT = (
    f"Up to {MAX_PHOTOS} photos, or one ZIP of them, with true names: class folders in the ZIP, or a CSV with the "
    "columns image_path and label among the files."
)


def build(models: ModelPool, studied: gr.File, tab: gr.Tab, folder: Path | None = None) -> None:
    """Lay out the tab inside the current `gr.Blocks`.

    `studied` are the uploads of the Case study tab; in `folder`, the owner says, lie the photos that checkpoints'
    embeddings are of.
    """
    downloads = tempfile.TemporaryDirectory(prefix="finedefics-")  # gone when the process ends
    owned = Folder(folder) if folder else None
    state = gr.State(None, time_to_live=3600)
    gr.Markdown(INTRO, elem_classes="note")
    wish, uploads, colour, redrawn = _inputs()
    with gr.Row():
        start = gr.Button("Draw the map", variant="primary", elem_id="alignment-draw")
        stop = gr.Button("Stop", elem_id="alignment-stop")
    status = gr.Markdown(elem_id="alignment-status")
    view = map_view.component()
    hint = gr.Markdown(NO_PHOTOS, visible=False, elem_classes="note", elem_id="alignment-hint")
    numbers = gr.HTML(elem_id="alignment-numbers", js_on_load=None)
    gr.Markdown(MEASURED, elem_classes="note")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320, scale=2):
            point = gr.HTML("Click a point of the map.", elem_id="alignment-point", js_on_load=None)
            chosen = gr.Dataframe(
                headers=["photo", "true name", "nearest name", "cosine"],
                datatype="str",
                label="Photos in the box or lasso",
                interactive=False,
                wrap=True,
                max_height=320,
                elem_id="alignment-chosen",
            )
        with gr.Column(min_width=320):
            photo = gr.Image(
                type="filepath",
                sources=["upload", "clipboard"],
                label="Your photo in the map",
                height=200,
                elem_id="alignment-photo",
            )
            add = gr.Button("Place it in the map", elem_id="alignment-place")
            placed = gr.HTML(elem_id="alignment-placed", js_on_load=None)
    with gr.Row():
        pack = gr.Button("Make files: HTML, CSV, NPZ, Parquet", elem_id="alignment-pack")
        files = gr.File(
            label="Download", file_count="multiple", interactive=False, visible=False, elem_id="alignment-files"
        )
    shown_parts = [status, state, view, hint, numbers, point, chosen, placed, files]

    def draw(*values: Any) -> Iterator[dict]:
        *inputs, from_study, uploaded_here = values
        asked = MapRequest(*inputs)
        with on_page():
            source = source_of(asked, uploaded_here, from_study)
            steps = build_view(asked, source, owned, models)
            try:
                for step in steps:
                    yield {status: step.message} if isinstance(step, Progress) else _display(step)
            except UserError as error:
                yield {status: f"Nothing was drawn: {html.escape(str(error))}"}
                raise

    def _display(shown: MapView) -> dict:
        return {
            status: html.escape(about(shown)),
            state: shown,
            view: gr.HTML(map=shown.json(), thumbnails=pictures_json(shown)),
            hint: gr.Markdown(visible=not shown.thumbnails and len(shown.maps[0].space.photos) <= MOST),
            numbers: numbers_table(shown),
            point: "Click a point of the map.",
            chosen: [],
            placed: "",
            files: gr.File(value=None, visible=False),
        }

    def first(shown: MapView | None, *values: Any) -> Iterator[dict]:
        """What comes with the model is there at once, when the tab is opened for the first time."""
        if shown is None and with_embeddings():
            yield from draw(*values)
        else:
            yield {status: gr.skip()}

    def again(shown: MapView | None, *values: Any) -> Iterator[dict]:
        """A changed setting redraws a map; before there is one, it waits for the button."""
        if shown is not None:
            yield from draw(*values)
        else:
            yield {status: gr.skip()}

    def recolour(shown: MapView | None, by: str) -> object:
        if shown is None or by not in COLOUR_BY:
            return gr.skip()
        shown.by = by
        return gr.HTML(map=shown.json())

    def pick(shown: MapView | None, event: gr.EventData) -> object:
        if shown is None:
            return gr.skip()
        with on_page():
            panel, (index,) = _told(shown, event, [event._data.get("index")])
            return point_html(shown, panel, index)

    def choose(shown: MapView | None, event: gr.EventData) -> object:
        if shown is None:
            return gr.skip()
        with on_page():
            return chosen_rows(shown, *_told(shown, event, event._data.get("indices")))

    def put(shown: MapView | None, upload: dict | None) -> Iterator[dict]:
        with on_page():
            if shown is None:
                raise UserError("There is no map yet: draw one first.")
            opened_one = opened_photo(uploaded(upload))
            yield {placed: "Looking at the photo ..."}
            try:
                shown.placed = place_photo(shown, opened_one.image, models)
            except UserError:
                yield {placed: ""}
                raise
            described = "".join(placed_html(shown, i) for i in range(len(shown.maps)))
            yield {view: gr.HTML(map=shown.json()), placed: described}

    def save(shown: MapView | None) -> gr.File:
        with on_page():
            if shown is None:
                raise UserError("There is no map yet: draw one first.")
            paths = alignment_export.save(shown, Path(tempfile.mkdtemp(dir=downloads.name)))
            return gr.File(value=[str(path) for path in paths], visible=True)

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    # Files are believed of uploads alone: values stay as the browser sends them.
    heavy = {**private, "concurrency_id": "model", "concurrency_limit": 1, "preprocess": False}
    inputs = [*wish, studied, uploads]
    events: list[Any] = [start.click(draw, inputs, shown_parts, **heavy)]
    events += [part.input(again, [state, *inputs], shown_parts, **heavy) for part in redrawn]
    tab.select(first, [state, *inputs], shown_parts, **private, preprocess=False)
    events.append(add.click(put, [state, photo], [view, placed], **heavy))
    stop.click(lambda: "Stopped.", None, status, cancels=events, api_visibility="private", queue=False)
    colour.input(recolour, [state, colour], view, **private)
    view.pick(pick, state, point, **private)
    view.choose(choose, state, chosen, **private)
    pack.click(save, state, files, **private)


def _inputs() -> tuple[list[Any], gr.File, gr.Dropdown, list[Any]]:
    """Lay out the inputs: those of a `MapRequest` in its order, the uploads, the colour, and those that redraw a map."""
    ready = ready_models()
    usual = DEFAULT if DEFAULT in ready else None
    three = [name for name in CAPTIONS if name in ready]
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            photos = gr.Radio(CHOICES[SHIPPED], value=SHIPPED, label="Photos", elem_id="alignment-photos")
            uploads = gr.File(
                file_count="multiple", label="Photos, or one ZIP", height=140, visible=False, elem_id="alignment-uploads"
            )
            hint = gr.Markdown(UPLOAD_HINT, elem_classes="note", visible=False)
            view = gr.Radio(CHOICES[ONE], value=ONE, label="Show", elem_id="alignment-view")
            with gr.Row():
                model = gr.Dropdown(ready, value=usual, label="Model", elem_id="alignment-model")
                after = gr.Dropdown(ready, value=None, label="After", visible=False, elem_id="alignment-after")
            several = gr.Dropdown(
                ready,
                value=three,
                multiselect=True,
                max_choices=3,
                label="Models",
                visible=False,
                elem_id="alignment-models",
            )
        with gr.Column(min_width=320):
            space = gr.Radio(CHOICES[OWN], value=OWN, label="Space", elem_id="alignment-space")
            with gr.Row():
                method = gr.Radio(list(METHOD_NAMES), value="t-SNE", label="Map", elem_id="alignment-method")
                dimensions = gr.Radio([2, 3], value=2, label="Dimensions", elem_id="alignment-dimensions")
            colour = gr.Dropdown(list(COLOUR_BY), value=COLOUR_BY[0], label="Colour", elem_id="alignment-colour")
            with gr.Accordion("Settings of the map", open=False):
                seed = gr.Number(0, minimum=0, precision=0, label="Seed")
                perplexity = gr.Slider(5, 100, 30, step=1, label="Perplexity (t-SNE)")
                neighbours = gr.Slider(2, 100, 15, step=1, label="Neighbours (UMAP)")
                min_dist = gr.Slider(0, 0.99, 0.1, step=0.01, label="Minimal distance (UMAP)")

    def arrange(chosen: str) -> tuple[object, ...]:
        one = "Before" if chosen == BEFORE_AFTER else "Model"
        return (
            gr.Dropdown(visible=chosen != SIDE_BY_SIDE, label=one),
            gr.Dropdown(visible=chosen == BEFORE_AFTER),
            gr.Dropdown(visible=chosen == SIDE_BY_SIDE),
        )

    quick: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
    view.change(arrange, view, [model, after, several], **quick)
    photos.change(lambda chosen: [gr.update(visible=chosen == UPLOADED)] * 2, photos, [uploads, hint], **quick)
    wish = [photos, view, model, after, several, space, method, dimensions, seed, perplexity, neighbours, min_dist]
    return [*wish, colour], uploads, colour, [space, method, dimensions]


def _told(shown: MapView, event: gr.EventData, indices: object) -> tuple[int, list[int]]:
    """The panel and points that an event tells of. Raises `UserError` unless they exist: browsers can send anything."""
    panel = event._data.get("panel")
    last = len(shown.maps[0].points.kinds) - (shown.placed is None)
    whole = isinstance(panel, int) and isinstance(indices, list) and all(type(index) is int for index in indices)
    if not whole or not 0 <= panel < len(shown.maps) or not all(0 <= index <= last for index in indices):  # type: ignore
        raise UserError("There is no such point: draw the map again.")
    return panel, indices  # type: ignore[return-value]
