"""The Identify tab: one photo in, species and attributes out."""

import html
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import gradio as gr
from PIL import Image

from core.data.images import Photo
from core.errors import UserError
from core.recognition.asked_model import UNEXPLAINED, AskedModel
from core.recognition.label_space import LabelSpace, Names
from core.recognition.recogniser import UNKNOWN, Recogniser
from core.recognition.results import Explanation, Identification
from core.storage.files import write_atomically
from core.taxonomy.categories import distinct_names, dropped_sentence, find_category, super_categories
from core.zoo.hub import UNCALIBRATED
from core.zoo.registry import availability, available_models, zoo
from demo.components.downloads import new_download_folder
from demo.components.errors import on_page
from demo.components.events import FRESH, HEAVY
from demo.components.explanation import explanation_html
from demo.components.models import AUTO, ModelPool, default_choice, example_photos
from demo.components.occlusion import IdentifiedPhoto, OcclusionPanel
from demo.components.uploads import opened_photo, uploaded
from demo.history_store import History
from demo.tabs.history import KeepBox

PROVENANCE = (
    "The values are the model's own words, written from this photo: the attributes it learned for this kind of object, "
    "not measurements. A model that was not trained on descriptions (idefics2-tiny) makes them up."
)


class IdentifyTab:
    """The tab, laid out inside the current `gr.Blocks`, `page`; what people choose to keep goes into `history`."""

    def __init__(self, models: ModelPool, history: History, key: gr.BrowserState, page: gr.Blocks) -> None:
        self._models, self._history = models, history
        _report_broken_models()
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                self._lay_out_inputs(key)
            with gr.Column(min_width=320):
                self._lay_out_results()
        self._connect(page)

    def _lay_out_inputs(self, key: gr.BrowserState) -> None:
        ready = available_models()
        self.photo = gr.Image(
            type="filepath", sources=["upload", "webcam", "clipboard"], label="Photo", height=320, elem_id="photo"
        )
        self.group = gr.Dropdown([AUTO, *super_categories()], value=AUTO, label="What kind of thing is it?")
        with gr.Accordion("Candidate names, model", open=False):
            self.candidates = gr.Textbox(
                "",  # a default for the HTTP API
                label="Candidate names (optional, one per line)",
                info="Only these names are ranked. Probabilities are calibrated for known categories.",
                lines=4,
            )
            self.model = gr.Dropdown(ready, value=default_choice(ready), label="Model")
        self.keep = KeepBox(key)
        with gr.Row():
            self.start = gr.Button("Identify", variant="primary", elem_id="identify")
            self.stop = gr.Button("Stop", elem_id="stop")
        if photos := example_photos():
            gr.Examples([[path] for path in photos], [self.photo], label="Examples")

    def _lay_out_results(self) -> None:
        self.status = gr.Markdown("Choose a photo, then press **Identify**.", elem_id="status")
        self.species = gr.Label(num_top_classes=5, label="Species", elem_id="species", show_heading=False)
        self.reasons = gr.HTML(label="Why", js_on_load=None, elem_id="why")
        self.occlusion = OcclusionPanel()
        self.answer = gr.Textbox(label="The model's own answer", elem_id="answer", interactive=False)
        self.attributes = gr.Dataframe(
            headers=["attribute", "value"],
            datatype="str",
            label="Attributes",
            interactive=False,
            wrap=True,
            elem_id="attributes",
        )
        self.description = gr.Textbox(label="Description", lines=3, interactive=False, elem_id="description")
        gr.Markdown(PROVENANCE, elem_classes="note")
        self.download = gr.DownloadButton("Download JSON", interactive=False, elem_id="download")

    def _connect(self, page: gr.Blocks) -> None:
        results = [self.status, self.species, self.answer, self.attributes, self.description, self.download]
        event = self.start.click(
            self.identify,
            # by name, as the HTTP API calls them
            inputs_kwargs={
                "photo": self.photo,
                "super_category": self.group,
                "candidates": self.candidates,
                "model_name": self.model,
                "keep": self.keep.keep,
            },
            outputs=[*results, self.reasons, self.occlusion.identified],
            api_name="identify",
            show_progress="minimal",
            **HEAVY,
        )
        page.load(lambda: gr.Dropdown(available_models()), None, self.model, **FRESH)
        self.stop.click(
            lambda: "Stopped.",
            None,
            self.status,
            cancels=[event, self.occlusion.drawing],
            api_visibility="private",
            queue=False,
        )

    def identify(
        self,
        photo: dict | None,
        super_category: str | None,
        candidates: str | None,
        model_name: str | None,
        keep: str | None,
    ) -> Iterator[dict]:
        """Name the species in a photo and write down its attributes."""
        with on_page():
            path = uploaded(photo)
            opened = opened_photo(path)
            names, group = _label_choice(candidates, super_category)
            if model_name is None:
                raise UserError("There is no model: choose one first.")
            yield self._cleared("Loading the model ...")
            model, space = self._models.prepare(model_name, names, group)
            yield self._cleared("Encoding the photo ...")
            handed_over = False
            for result, identified in self._results(model, space, opened.image):
                update = self._shown(result, opened.note)
                if identified and not handed_over:
                    update[self.occlusion.identified], handed_over = identified, True
                yield update
            if keep:  # before the last update: closing the page after that one would end this generator
                self._store(keep, path, opened, result)
            yield {**self._shown(result, opened.note), self.download: _saved(result, path.name)}

    def _results(
        self, model: Recogniser | AskedModel, space: Names, photo: Image.Image
    ) -> Iterator[tuple[Identification, IdentifiedPhoto | None]]:
        """Yield the growing result, and what an occlusion map needs once the explanation is complete."""
        if isinstance(model, AskedModel):
            for result in model.stream(photo, space):
                yield replace(result, explanation=Explanation([], [], UNEXPLAINED)), None
            return
        started = time.perf_counter()
        encoding = model.encode(photo)
        explainer, names = self._models.explainer(model), cast("LabelSpace", space)
        for result in explainer.stream(encoding, names, looked=time.perf_counter() - started):
            yield result, IdentifiedPhoto(explainer, photo, encoding, names, result) if result.explained else None

    def _store(self, key: str, path: Path, opened: Photo, result: Identification) -> None:
        try:
            self._history.keep(key, path.read_bytes(), opened.image, result.as_dict(path.name))
        except UserError as error:
            gr.Warning(html.escape(str(error)))

    def _cleared(self, status: str) -> dict:
        return {
            self.status: status,
            self.species: None,
            self.answer: "",
            self.attributes: [],
            self.description: "",
            self.download: gr.DownloadButton(value=None, interactive=False),
            self.reasons: "",
            self.occlusion.identified: None,
        }

    def _shown(self, result: Identification, note: str) -> dict:
        return {
            self.status: status_of(result, note),
            self.species: {s.name: s.probability for s in result.species},
            self.answer: result.answer,
            self.attributes: [[attribute, value] for attribute, value in result.attributes.items()],
            self.description: result.description,
            self.reasons: explanation_html(result.explanation),
        }


def status_of(result: Identification, note: str) -> str:
    """Return what is known of a result besides its names, as Markdown: `note`, the kind of thing, the time it took."""
    lines = [note] if note else []
    category = find_category(result.named)
    if not result.known:
        lines.append(f"**{UNKNOWN}**")
    elif category:
        noun = category.super_category.noun
        lines.append(f"Looks like {'an' if noun[0] in 'aeiou' else 'a'} {noun}.")
    if not result.calibrated:
        lines.append(result.note or UNCALIBRATED)
    lines.append(", ".join(f"{part} {seconds:.1f} s" for part, seconds in result.seconds.items()))
    return "\n\n".join(lines)


def _report_broken_models() -> None:
    states = {name: availability(entry) for name, entry in zoo().items() if not entry.hub}
    if broken := [f"- **{name}** cannot be loaded: {state}" for name, state in states.items() if state != "ready"]:
        gr.Markdown("\n".join(broken))


def _label_choice(candidates: str | None, super_category: str | None) -> tuple[list[str] | None, str | None]:
    names, dropped = distinct_names((candidates or "").splitlines())
    if dropped:
        gr.Info(html.escape(dropped_sentence(dropped)))
    group = None if super_category == AUTO else super_category
    if names and group:
        raise UserError("Give either candidate names or a kind of thing, not both.")
    return names or None, group


def _saved(result: Identification, photo: str) -> gr.DownloadButton:
    path = new_download_folder() / "identification.json"
    text = json.dumps(result.as_dict(photo), indent=1, ensure_ascii=False)
    write_atomically(path, text.encode())
    return gr.DownloadButton(value=str(path), interactive=True)
