"""The Identify tab: one photo in, species and attributes out."""

import html
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from core.errors import UserError
from core.recognition.recogniser import UNKNOWN
from core.recognition.results import Identification
from core.taxonomy.categories import distinct_names, dropped_sentence, find_category, super_categories
from core.zoo.hub import UNCALIBRATED
from core.zoo.registry import availability, zoo
from demo.components import explanation as why
from demo.components.errors import on_page
from demo.components.events import FRESH, HEAVY
from demo.components.models import AUTO, ModelPool, default_choice, example_photos, ready_models
from demo.components.uploads import opened_photo, uploaded
from demo.history_store import History
from demo.tabs.history import keep_box

PROVENANCE = (
    "The values are the model's own words, written while looking at this photo: what it learned as field marks of this "
    "kind of object, not measurements. A model that was not trained on descriptions (idefics2-tiny) makes them up."
)


def build(models: ModelPool, history: History, key: gr.BrowserState, page: gr.Blocks) -> None:
    """Lay out the tab inside the current `gr.Blocks`, `page`; what somebody wants to keep goes into `history`."""
    downloads = tempfile.TemporaryDirectory(prefix="finedefics-")  # gone when the process ends
    states = {name: availability(entry) for name, entry in zoo().items()}
    ready = [name for name, state in states.items() if state == "ready"]
    missing = [name for name, entry in zoo().items() if name not in ready and not entry.hub]
    if broken := [f"- **{name}** cannot be loaded: {states[name]}" for name in missing]:
        gr.Markdown("\n".join(broken))
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            photo = gr.Image(
                type="filepath", sources=["upload", "webcam", "clipboard"], label="Photo", height=320, elem_id="photo"
            )
            group = gr.Dropdown([AUTO, *super_categories()], value=AUTO, label="What kind of thing is it?")
            with gr.Accordion("Candidate names, model", open=False):
                labels = gr.Textbox(
                    label="Candidate names (optional, one per line)",
                    info="The photo is ranked against these alone. Probabilities are calibrated for known categories.",
                    lines=4,
                )
                model = gr.Dropdown(ready, value=default_choice(ready), label="Model")
            keep = keep_box(key)
            with gr.Row():
                start = gr.Button("Identify", variant="primary", elem_id="identify")
                stop = gr.Button("Stop", elem_id="stop")
            if photos := example_photos():
                gr.Examples([[path] for path in photos], [photo], label="Examples")
        with gr.Column(min_width=320):
            status = gr.Markdown("Choose a photo, then press **Identify**.", elem_id="status")
            species = gr.Label(num_top_classes=5, label="Species", elem_id="species", show_heading=False)
            reasons = gr.HTML(label="Why", js_on_load=None, elem_id="why")
            asked = gr.State(None, time_to_live=3600)
            mapping = why.build_map(asked)
            answer = gr.Textbox(label="The model's own answer", elem_id="answer", interactive=False)
            attributes = gr.Dataframe(
                headers=["attribute", "value"],
                datatype="str",
                label="Attributes",
                interactive=False,
                wrap=True,
                elem_id="attributes",
            )
            description = gr.Textbox(label="Description", lines=3, interactive=False, elem_id="description")
            gr.Markdown(PROVENANCE, elem_classes="note")
            download = gr.DownloadButton("Download JSON", interactive=False, elem_id="download")

    def run(
        photo: dict | None,
        super_category: str | None,
        candidates: str | None,
        model_name: str | None,
        keep: str | None,
    ) -> Iterator[tuple[object, ...]]:
        """Name the species in a photo and write down its attributes."""
        with on_page():
            path = uploaded(photo)
            opened = opened_photo(path)
            kind = None if super_category == AUTO else super_category
            names, dropped = distinct_names((candidates or "").splitlines())
            if dropped:
                gr.Info(html.escape(dropped_sentence(dropped)))
            if names and kind:
                raise UserError("Give either candidate names or a kind of thing, not both.")
            if model_name is None:
                raise UserError("There is no model: choose one first.")
            empty: tuple[object, ...] = None, "", [], "", gr.DownloadButton(value=None, interactive=False), "", None
            yield "Loading the model ...", *empty
            recogniser, space = models.prepare(model_name, names or None, kind)
            yield "Looking ...", *empty
            started = time.perf_counter()
            encoding = recogniser.encode(opened.image)
            explainer = models.explainer(recogniser)
            states = explainer.stream(encoding, space, looked=time.perf_counter() - started)
            for step, result in enumerate(states):  # the third one has the whole explanation
                kept = why.Asked(explainer, opened.image, encoding, space, result) if step == 2 else gr.skip()
                yield *_shown(result, opened.note), gr.skip(), why.why_html(result.explanation), kept
            if keep:  # before the last words: a page that is closed after them ends this here
                try:
                    history.keep(keep, path.read_bytes(), opened.image, result.as_dict(path.name))
                except UserError as error:
                    gr.Warning(html.escape(str(error)))
            saved = _saved(result, path.name, downloads.name)
            yield *_shown(result, opened.note), saved, why.why_html(result.explanation), gr.skip()

    event = start.click(
        run,
        [photo, group, labels, model, keep],
        [status, species, answer, attributes, description, download, reasons, asked],
        api_name="identify",
        show_progress="minimal",
        **HEAVY,
    )
    page.load(lambda: gr.Dropdown(ready_models()), None, model, **FRESH)
    stop.click(lambda: "Stopped.", None, status, cancels=[event, mapping], api_visibility="private", queue=False)


def _shown(result: Identification, note: str) -> tuple[object, ...]:
    lines = [note] if note else []
    category = find_category(result.species[0].name)
    if not result.known:
        lines.append(f"**{UNKNOWN}**")
    elif category:
        noun = category.super_category.noun
        lines.append(f"Looks like {'an' if noun[0] in 'aeiou' else 'a'} {noun}.")
    if not result.calibrated:
        lines.append(UNCALIBRATED)
    lines.append(", ".join(f"{part} {seconds:.1f} s" for part, seconds in result.seconds.items()))
    return (
        "\n\n".join(lines),
        {s.name: s.probability for s in result.species},
        result.answer,
        [[attribute, value] for attribute, value in result.attributes.items()],
        result.description,
    )


def _saved(result: Identification, photo: str, folder: str) -> object:
    path = Path(tempfile.mkdtemp(dir=folder)) / "identification.json"
    path.write_text(json.dumps(result.as_dict(photo), indent=1, ensure_ascii=False), encoding="utf-8")
    return gr.DownloadButton(value=str(path), interactive=True)
