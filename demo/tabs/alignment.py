"""The Alignment tab: photos, attribute descriptions and names in one map of a model's own space."""

import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from core.data.photo_sets import MAX_PHOTOS
from core.zoo.registry import available_models
from demo.alignment import map_view
from demo.alignment.controller import CLICK_A_POINT, AlignmentController, MapInputs, MapOutputs
from demo.alignment.figure import COLOUR_BY
from demo.alignment.request import BUNDLED, CHOICES, MAX_MODELS, ONE, OWN, UPLOADED
from demo.alignment.view_model import CAPTIONS, METHOD_NAMES
from demo.components.events import FRESH, HEAVY, PRIVATE
from demo.components.models import ModelPool, default_choice
from demo.components.photo_folder import Folder

INTRO = (
    "Circles are photos, diamonds attribute descriptions and stars category names, all in one embedding space. In an "
    "aligned model, a photo lies near its name. Click a point to see its photo and neighbours; draw a box or a lasso "
    "to list photos. Colours never change positions. Side by side, a contrastive model (VLM) and an MLLM show the "
    "gap that the method closes."
)
METRICS_NOTE = (
    "The numbers are computed in the space with all its dimensions, never in the map. Only trustworthiness is about "
    "the map: it measures how far the map can be believed. Distances between distant groups of a t-SNE or UMAP map "
    "mean little."
)
NO_PHOTOS = (
    "For reasons of licence the photos are not part of this app, so only their names are shown. Whoever serves this "
    "page and has the photos can start it with `--photos FOLDER`. Uploaded photos are always shown."
)
UPLOAD_HINT = (
    f"Up to {MAX_PHOTOS} photos, or one ZIP of them, with true names: class folders in the ZIP, or a CSV with the "
    "columns image_path and label among the files."
)


class AlignmentTab:
    """The tab, laid out inside the current `gr.Blocks`.

    `studied` are the uploads of the Case study tab; `folder`, according to its owner, holds the photos of the bundled
    embeddings.
    """

    def __init__(self, models: ModelPool, studied: gr.File, tab: gr.Tab, folder: Path | None = None) -> None:
        self._downloads = tempfile.TemporaryDirectory(prefix="finedefics-")  # deleted when the process ends
        gr.Markdown(INTRO, elem_classes="note")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                self._lay_out_photos_and_models()
            with gr.Column(min_width=320):
                self._lay_out_settings()
        with gr.Row():
            self.start = gr.Button("Draw the map", variant="primary", elem_id="alignment-draw")
            self.stop = gr.Button("Stop", elem_id="alignment-stop")
        self._lay_out_map()
        with gr.Row(equal_height=False):
            self._lay_out_details()
        with gr.Row():
            self.export = gr.Button("Export HTML, CSV, NPZ and Parquet", elem_id="alignment-pack")
            self.files = gr.File(
                label="Download", file_count="multiple", interactive=False, visible=False, elem_id="alignment-files"
            )
        self.inputs = self._request_inputs(studied)
        self.outputs = self._map_outputs()
        controller = AlignmentController(
            models, Folder(folder) if folder else None, self.inputs, self.outputs, self._new_folder
        )
        self._connect_drawing(controller, tab)
        self._connect_details(controller)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._downloads.name))

    def _lay_out_photos_and_models(self) -> None:
        ready = available_models()
        paper = [name for name in CAPTIONS if name in ready]
        self.photos = gr.Radio(CHOICES["photos"], value=BUNDLED, label="Photos", elem_id="alignment-photos")
        self.uploads = gr.File(
            file_count="multiple", label="Photos, or one ZIP", height=140, visible=False, elem_id="alignment-uploads"
        )
        self.upload_hint = gr.Markdown(UPLOAD_HINT, elem_classes="note", visible=False)
        self.kind = gr.Radio(CHOICES["view"], value=ONE, label="Show", elem_id="alignment-view")
        with gr.Row():
            self.model = gr.Dropdown(ready, value=default_choice(ready), label="Model", elem_id="alignment-model")
            self.after = gr.Dropdown(ready, value=None, label="After", visible=False, elem_id="alignment-after")
        self.models = gr.Dropdown(
            ready,
            value=paper,
            multiselect=True,
            max_choices=MAX_MODELS,
            label="Models",
            visible=False,
            elem_id="alignment-models",
        )

    def _lay_out_settings(self) -> None:
        self.space = gr.Radio(CHOICES["space"], value=OWN, label="Space", elem_id="alignment-space")
        with gr.Row():
            self.method = gr.Radio(list(METHOD_NAMES), value="t-SNE", label="Map", elem_id="alignment-method")
            self.dimensions = gr.Radio([2, 3], value=2, label="Dimensions", elem_id="alignment-dimensions")
        self.colour = gr.Dropdown(COLOUR_BY, value=COLOUR_BY[0], label="Colour", elem_id="alignment-colour")
        with gr.Accordion("Settings of the map", open=False):
            self.seed = gr.Number(0, minimum=0, precision=0, label="Seed")
            self.perplexity = gr.Slider(5, 100, 30, step=1, label="Perplexity (t-SNE)")
            self.neighbours = gr.Slider(2, 100, 15, step=1, label="Neighbours (UMAP)")
            self.min_dist = gr.Slider(0, 0.99, 0.1, step=0.01, label="Minimal distance (UMAP)")

    def _lay_out_map(self) -> None:
        self.state = gr.State(None, time_to_live=3600)
        self.status = gr.Markdown(elem_id="alignment-status")
        self.map = map_view.component()
        self.hint = gr.Markdown(NO_PHOTOS, visible=False, elem_classes="note", elem_id="alignment-hint")
        self.numbers = gr.HTML(elem_id="alignment-numbers", js_on_load=None)
        gr.Markdown(METRICS_NOTE, elem_classes="note")

    def _lay_out_details(self) -> None:
        with gr.Column(min_width=320, scale=2):
            self.point = gr.HTML(CLICK_A_POINT, elem_id="alignment-point", js_on_load=None)
            self.selection = gr.Dataframe(
                headers=["photo", "true name", "nearest name", "cosine"],
                datatype="str",
                label="Photos in the box or lasso",
                interactive=False,
                wrap=True,
                max_height=320,
                elem_id="alignment-chosen",
            )
        with gr.Column(min_width=320):
            self.photo = gr.Image(
                type="filepath",
                sources=["upload", "clipboard"],
                label="Your photo in the map",
                height=200,
                elem_id="alignment-photo",
            )
            self.place = gr.Button("Place it in the map", elem_id="alignment-place")
            self.placed = gr.HTML(elem_id="alignment-placed", js_on_load=None)

    def _request_inputs(self, studied: gr.File) -> MapInputs:
        request = {
            "photos": self.photos,
            "view": self.kind,
            "model": self.model,
            "after": self.after,
            "models": self.models,
            "space": self.space,
            "method": self.method,
            "dimensions": self.dimensions,
            "seed": self.seed,
            "perplexity": self.perplexity,
            "neighbours": self.neighbours,
            "min_dist": self.min_dist,
            "colour_by": self.colour,
        }
        return MapInputs(request=request, uploads=self.uploads, studied=studied, photo=self.photo)

    def _map_outputs(self) -> MapOutputs:
        return MapOutputs(
            state=self.state,
            status=self.status,
            view=self.map,
            hint=self.hint,
            numbers=self.numbers,
            point=self.point,
            selection=self.selection,
            placed=self.placed,
            files=self.files,
        )

    def _connect_drawing(self, controller: AlignmentController, tab: gr.Tab) -> None:
        drawing: dict[str, Any] = {
            "inputs": {self.state, self.uploads, self.inputs.studied, *self.inputs.request.values()},
            "outputs": list(vars(self.outputs).values()),
        }
        events: list[Any] = [self.start.click(controller.draw, **drawing, **PRIVATE, **HEAVY)]
        for part in (self.space, self.method, self.dimensions):
            events.append(part.input(controller.redraw, **drawing, **PRIVATE, **HEAVY))
        tab.select(controller.draw_first, **drawing, **PRIVATE, preprocess=False)
        place_inputs: set[Any] = {self.state, self.photo}
        events.append(self.place.click(controller.place, place_inputs, [self.map, self.placed], **PRIVATE, **HEAVY))
        self.stop.click(lambda: "Stopped.", None, self.status, cancels=events, api_visibility="private", queue=False)

    def _connect_details(self, controller: AlignmentController) -> None:
        shown = (self.model, self.after, self.models)
        self.kind.change(controller.arrange, self.kind, list(shown), **FRESH)
        self.photos.change(
            lambda photos: [gr.update(visible=photos == UPLOADED)] * 2,
            self.photos,
            [self.uploads, self.upload_hint],
            **FRESH,
        )
        colour_inputs: set[Any] = {self.state, self.colour}
        self.colour.input(controller.recolour, colour_inputs, [self.map], **PRIVATE)
        self.map.pick(controller.show_point, self.state, self.point, **PRIVATE)
        self.map.choose(controller.list_photos, self.state, self.selection, **PRIVATE)
        self.export.click(controller.save, self.state, self.files, **PRIVATE)
