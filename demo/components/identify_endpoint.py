"""The HTTP endpoint `/identify`: the result of one photo in parts. The page itself shows a card."""

from collections.abc import Iterator

import gradio as gr
from gradio.blocks import Block

from core.recognition.crops import parse_crop
from core.recognition.recogniser import UNKNOWN
from core.recognition.results import Identification
from core.storage.files import write_atomically
from core.taxonomy.categories import find_category
from core.zoo.hub import UNCALIBRATED
from demo.components.card import result_json
from demo.components.downloads import new_download_folder
from demo.components.errors import on_page
from demo.components.events import HEAVY
from demo.components.explanation import explanation_html
from demo.components.identification import prepared
from demo.components.models import ModelPool
from demo.components.uploads import opened_photo, uploaded


class IdentifyEndpoint:
    """The endpoint, whose outputs are components that no browser shows; `inputs` are named as its parameters."""

    def __init__(self, models: ModelPool, inputs: dict[str, Block]) -> None:
        self._models = models
        self.status = gr.Markdown(visible=False)
        self.species = gr.Label(num_top_classes=5, label="Species", visible=False)
        self.answer = gr.Textbox(label="The model's own answer", visible=False)
        self.attributes = gr.Dataframe(headers=["attribute", "value"], datatype="str", label="Attributes", visible=False)
        self.description = gr.Textbox(label="Description", visible=False)
        self.download = gr.DownloadButton("JSON", visible=False)
        self.reasons = gr.HTML(label="Why", js_on_load=None, visible=False)
        self.crop = gr.Textbox("none", label="Part of the photo: left,top,width,height, auto or none", visible=False)
        gr.Button(visible=False).click(
            self.identify,
            inputs_kwargs={**inputs, "crop": self.crop},
            outputs=[
                self.status,
                self.species,
                self.answer,
                self.attributes,
                self.description,
                self.download,
                self.reasons,
            ],
            api_name="identify",
            **HEAVY,
        )

    def identify(
        self,
        photo: dict | None,
        super_category: str | None,
        candidates: str | None,
        model_name: str | None,
        crop: str | None,
    ) -> Iterator[dict]:
        """Name the species in a photo, or in the part that `crop` names, and write down its attributes."""
        with on_page():
            path = uploaded(photo)
            opened, part = opened_photo(path), parse_crop(crop or "none")
            for result in prepared(self._models, candidates, super_category, model_name).stream(opened.image, part):
                yield self._parts(result, opened.note)
            yield {**self._parts(result, opened.note), self.download: _saved(result, path.name)}

    def _parts(self, result: Identification, note: str) -> dict:
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


def _saved(result: Identification, photo: str) -> gr.DownloadButton:
    path = new_download_folder() / "identification.json"
    write_atomically(path, result_json(result, photo))
    return gr.DownloadButton(value=str(path), interactive=True)
