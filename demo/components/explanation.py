"""The "Why" of the Identify tab: bars for the attributes of a name, and where in the photo they are."""

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
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.results import AttributeEvidence, Evidence, Explanation, Identification
from demo.components.errors import on_page
from demo.components.events import HEAVY, PRIVATE

SPECIES = "the species"
OPACITY = 60  # per cent
MEANING = "Warm places speak for the name, or for the attribute's value against those of the look-alikes."
LEARNED = (
    "<b>Learned knowledge:</b> the values come from the table of field marks that the model was trained with, and "
    "<i>name</i> (how near a value lies to the name) is the same for every photo. <b>Read off this photo:</b> "
    "<i>photo</i> (how near the photo lies to a value), and so whether a value agrees with the photo, compared with the "
    "values of its look-alikes. A single attribute is a hint, not a measurement."
)
SIGNS = {"agrees": "▲", "disagrees": "▼", "undecided": "≈", "shared": "="}


@dataclass(frozen=True, eq=False)
class Asked:
    """What a session's last identification was made of, for maps of the same photo."""

    explainer: Explainer
    photo: Image.Image
    encoding: PhotoEncoding
    space: LabelSpace
    result: Identification


@dataclass(frozen=True, eq=False)
class Mapped:
    """A photo and its finished map, for another opacity."""

    photo: Image.Image
    heat: Tensor


def why_html(explanation: Explanation | None) -> str:
    """The bars and sentences of an explanation. All that a user or a model may have worded is escaped."""
    if explanation is None:
        return ""
    sentence = f"<p class='rather'>{html.escape(explanation.sentence)}</p>"
    if not explanation.evidence:
        return sentence
    names = "".join(map(_evidence, explanation.evidence))
    return f"{sentence}<div class='names'>{names}</div><p class='learned'>{LEARNED}</p>"


def _evidence(evidence: Evidence) -> str:
    return f"<div><h4>{html.escape(evidence.name)}</h4>{''.join(map(_attribute, evidence.attributes))}</div>"


def _attribute(evidence: AttributeEvidence) -> str:
    bars = "".join(
        f"<div class='bar {kind}'><span>{kind}</span><span class='track'><span class='fill' "
        f"style='width: {100 * min(max(similarity, 0), 1):.0f}%'></span></span><span>{similarity:.2f}</span></div>"
        for kind, similarity in (("photo", evidence.image_similarity), ("name", evidence.name_similarity))
    )
    return (
        f"<div class='mark {evidence.verdict}'><div><b>{html.escape(evidence.attribute)}</b> "
        f"{html.escape(evidence.value)} <span class='verdict'>{SIGNS[evidence.verdict]} {evidence.verdict}</span></div>"
        f"{bars}</div>"
    )


def build_map(asked: gr.State) -> gr.events.Dependency:
    """Lay out the map of the photo in `asked`, cleared whenever that changes; -> the event that Stop must cancel."""
    mapped = gr.State(None, time_to_live=3600)
    with gr.Accordion("Where in the photo?", open=False, elem_id="where"):
        subject = gr.Dropdown([SPECIES], value=SPECIES, label="What to look for", elem_id="subject")
        show = gr.Button("Show where", elem_id="show-where")
        status = gr.Markdown(MEANING, elem_id="where-status")
        shown = gr.Image(label="Where", interactive=False, format="jpeg", elem_id="where-map", buttons=["download"])
        opacity = gr.Slider(0, 100, OPACITY, step=5, label="Opacity of the map (%)", elem_id="opacity")
    event = show.click(
        draw,
        [asked, subject, opacity],
        [status, shown, mapped],
        api_visibility="private",
        show_progress="minimal",
        **HEAVY,
    )
    opacity.change(  # of keys, too: `release` is that of a pointer alone
        blend, [mapped, opacity], shown, **PRIVATE, trigger_mode="always_last"
    )
    asked.change(
        lambda asked: (_subjects(asked), MEANING, None, None),
        asked,
        [subject, status, shown, mapped],
        **PRIVATE,
    )
    return event


def _subjects(asked: Asked | None) -> gr.Dropdown:
    explanation = asked.result.explanation if asked else None
    attributes = explanation.evidence[0].attributes if explanation and explanation.evidence else []
    return gr.Dropdown([SPECIES, *(evidence.attribute for evidence in attributes)], value=SPECIES)


def draw(asked: Asked | None, subject: str, opacity: float) -> Iterator[tuple[object, ...]]:
    """The map of one subject, growing row by row."""
    started = time.perf_counter()
    with on_page():
        if asked is None:
            raise UserError("There is nothing to look for: identify a photo first.")
        recogniser, result = asked.explainer.recogniser, asked.result
        name = result.species[0].name
        if not result.known:
            raise UserError("There is nothing to look for: the photo shows nothing that the model knows.")
        yield f"Looking for {html.escape(subject)} ...", None, None
        if subject == SPECIES:
            score = species_score(recogniser, asked.space, name)
        else:
            score = attribute_score(asked.explainer.direction(result, subject))
        for rows, heat in enumerate(heat_map(recogniser, asked.photo, score), start=1):
            said = f"Where {html.escape(subject)} is seen: {rows} of {GRID} rows, {time.perf_counter() - started:.1f} s."
            yield said, overlay(asked.photo, heat, opacity / 100), Mapped(asked.photo, heat)


def blend(mapped: Mapped | None, opacity: float) -> Image.Image | None:
    """The finished map at another opacity."""
    return overlay(mapped.photo, mapped.heat, opacity / 100) if mapped else None
