"""The occlusion map of the Identify tab: where in the photo the model sees a name or one of its attributes."""

import html
import time
from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr
from PIL import Image
from torch import Tensor

from core.errors import UserError
from core.recognition.explanation import Explainer
from core.recognition.label_space import LabelSpace
from core.recognition.occlusion import GRID, attribute_score, heat_map, overlay, species_score
from core.recognition.results import Identification
from demo.components.errors import on_page
from demo.components.events import HEAVY, PRIVATE

SPECIES = "the species"
OPACITY = 60  # per cent
MEANING = "Warm places speak for the name, or for the attribute's value against those of the look-alikes."
STATE_SECONDS = 3600  # after which a session's photo and map are deleted from memory


@dataclass(frozen=True, eq=False)
class IdentifiedPhoto:
    """A photo with its identification and the names it was chosen from."""

    explainer: Explainer
    photo: Image.Image
    space: LabelSpace
    result: Identification


@dataclass(frozen=True, eq=False)
class FinishedMap:
    """A photo and its occlusion map, to be blended at another opacity."""

    photo: Image.Image
    heat: Tensor


class OcclusionPanel:
    """The panel "Where in the photo?" for the `IdentifiedPhoto` in `identified`; a new one there clears it.

    Without one the panel is not shown.
    """

    def __init__(self) -> None:
        self.identified = gr.State(None, time_to_live=STATE_SECONDS)
        self.finished = gr.State(None, time_to_live=STATE_SECONDS)
        with gr.Accordion("Where in the photo?", open=False, visible=False, elem_id="where") as self.panel:
            self.subject = gr.Dropdown([SPECIES], value=SPECIES, label="What to look for", elem_id="subject")
            self.show = gr.Button("Show where", elem_id="show-where")
            self.status = gr.Markdown(MEANING, elem_id="where-status")
            with gr.Column(visible=False) as self.map:
                self.picture = gr.Image(
                    label="Where", interactive=False, format="jpeg", elem_id="where-map", buttons=["download"]
                )
                self.opacity = gr.Slider(0, 100, OPACITY, step=5, label="Opacity of the map (%)", elem_id="opacity")
        outputs = [self.subject, self.status, self.map, self.picture, self.finished]
        self.drawing = self.show.click(
            self.draw,
            {self.identified, self.subject, self.opacity},
            outputs,
            api_visibility="private",
            show_progress="minimal",
            **HEAVY,
        )
        self.opacity.change(  # not `release`, which is of a pointer only: keys move the slider, too
            self.blend, {self.finished, self.opacity}, self.picture, **PRIVATE, trigger_mode="always_last"
        )
        self.identified.change(self.clear, self.identified, [self.panel, *outputs], **PRIVATE)

    def draw(self, values: dict) -> Iterator[dict]:
        """Compute the map of one subject; it is shown after each of its rows."""
        started = time.perf_counter()
        identified: IdentifiedPhoto | None = values[self.identified]
        subject: str = values[self.subject]
        with on_page():
            if identified is None:
                raise UserError("There is nothing to look for: identify a photo first, by a model that explains it.")
            if not identified.result.known:
                raise UserError("There is nothing to look for: the photo shows nothing that the model knows.")
            recogniser, result = identified.explainer.recogniser, identified.result
            yield {self.status: f"Looking for {html.escape(subject)} ...", self.picture: None, self.finished: None}
            if subject == SPECIES:
                score = species_score(recogniser, identified.space, result.species[0].name)
            else:
                score = attribute_score(identified.explainer.direction(result, subject))
            for rows, heat in enumerate(heat_map(recogniser, identified.photo, score), start=1):
                seconds = time.perf_counter() - started
                yield {
                    self.status: f"Where {html.escape(subject)} is seen: {rows} of {GRID} rows, {seconds:.1f} s.",
                    self.map: gr.Column(visible=True),
                    self.picture: overlay(identified.photo, heat, values[self.opacity] / 100),
                    self.finished: FinishedMap(identified.photo, heat),
                }

    def blend(self, values: dict) -> Image.Image | None:
        """Return the finished map at another opacity, or None if there is no map."""
        finished: FinishedMap | None = values[self.finished]
        return overlay(finished.photo, finished.heat, values[self.opacity] / 100) if finished else None

    def clear(self, identified: IdentifiedPhoto | None) -> dict:
        """Remove the map of the photo before, and offer the attributes of the new one."""
        explanation = identified.result.explanation if identified else None
        attributes = explanation.evidence[0].attributes if explanation and explanation.evidence else []
        subjects = [SPECIES, *(evidence.attribute for evidence in attributes)]
        return {
            self.panel: gr.Accordion(visible=identified is not None),
            self.subject: gr.Dropdown(subjects, value=SPECIES),
            self.status: MEANING,
            self.map: gr.Column(visible=False),
            self.picture: None,
            self.finished: None,
        }
