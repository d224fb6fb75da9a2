"""The Compare tab: one photo, two models side by side."""

from collections.abc import Iterator
from typing import Any

import gradio as gr
from PIL import Image

from core.errors import UserError
from core.evaluation.outcomes import SharedVisionEncoder
from core.evaluation.side_by_side import MAX_QUESTION, Side, options_for, read_options, side_by_side, verdict
from core.evaluation.sides import ModelOutput, empty_output
from core.evaluation.study import PAIR
from core.models.openai_endpoint import EndpointSettings
from core.recognition.label_space import MAX_LABEL_LENGTH
from core.recognition.recogniser import UNKNOWN
from core.taxonomy.categories import super_categories
from core.taxonomy.prompts import LETTERS
from core.zoo.hub import UNCALIBRATED
from core.zoo.registry import availability, available_models, zoo
from demo.components.endpoint import EndpointPanel
from demo.components.errors import on_page
from demo.components.events import FRESH, HEAVY
from demo.components.models import AUTO, ModelPool, example_photos
from demo.components.sides import ENDPOINT, open_side
from demo.components.uploads import opened_photo, uploaded

SIDES = ("left", "right")
NO_MODEL = "no model"
LARGE = ("idefics2-8b", "finedefics-8b")
NO_OPTIONS = "There was no multiple choice: no look-alikes are known, but options can be typed."


class ColumnView:
    """The components that show the `ModelOutput` of one model, laid out inside the current `gr.Row`."""

    def __init__(self, side: str) -> None:
        with gr.Column(min_width=320):
            self.status = gr.Textbox(show_label=False, interactive=False, lines=2, elem_id=f"status-{side}")
            self.species = gr.Label(num_top_classes=5, label="Species", show_heading=False, elem_id=f"species-{side}")
            self.answer = gr.Textbox(label="Its own answer", interactive=False, elem_id=f"answer-{side}")
            self.attributes = gr.Dataframe(
                headers=["attribute", "value"],
                datatype="str",
                label="Attributes",
                interactive=False,
                wrap=True,
                elem_id=f"attributes-{side}",
            )
            self.choice = gr.Label(num_top_classes=len(LETTERS), label="Multiple choice", elem_id=f"choice-{side}")
        self.components = [self.status, self.species, self.answer, self.attributes, self.choice]

    def update(self, shown: ModelOutput) -> dict:
        """Return the values that show a column."""
        result = shown.result
        return {
            self.status: status_of(shown),
            self.species: {s.name: s.probability for s in result.species},
            self.answer: result.answer,
            self.attributes: [[attribute, value] for attribute, value in result.attributes.items()],
            self.choice: shown.probabilities or shown.choice or None,
        }


def status_of(shown: ModelOutput) -> str:
    """Return the lines above a column: the model, what limits its result, the time it took, its error."""
    result = shown.result
    limits = "" if result.calibrated else result.note or UNCALIBRATED
    said = f"Sure is: {less.phrase}." if (less := result.backed_off()) else ""
    lines = [result.model, "" if result.known else UNKNOWN, said, limits]
    parts = [f"{part} {seconds:.1f} s" for part, seconds in result.seconds.items()]
    if shown.tokens:
        parts.append(f"{shown.tokens_per_second:.1f} tokens per second")
    return "\n".join(filter(None, [*lines, ", ".join(parts), shown.error]))


class CompareTab:
    """The tab, laid out inside the current `gr.Blocks`, `page`."""

    def __init__(self, models: ModelPool, page: gr.Blocks) -> None:
        self._models = models
        self._lay_out_inputs(page)
        self._lay_out_results()
        self.filled = gr.State([])  # the options that were filled in last, not typed
        self._connect(page)

    def _lay_out_inputs(self, page: gr.Blocks) -> None:
        states = {name: availability(entry) for name, entry in zoo().items()}
        ready = [name for name, state in states.items() if state == "ready"]
        chosen = LARGE if set(LARGE) <= set(ready) else PAIR
        if chosen == PAIR:
            _tell_why_small(states)
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                self.photo = gr.Image(
                    type="filepath",
                    sources=["upload", "webcam", "clipboard"],
                    label="Photo",
                    height=280,
                    elem_id="pair",
                )
                if photos := example_photos():
                    gr.Examples([[path] for path in photos], [self.photo], label="Examples")
            with gr.Column(min_width=320):
                with gr.Row():
                    self.left, self.right = (_model_choice(*side, ready) for side in zip(SIDES, chosen, strict=True))
                self.group = gr.Dropdown([AUTO, *super_categories()], value=AUTO, label="What kind of thing is it?")
                self.truth = gr.Textbox(
                    "", label="Its true name (optional)", info="With it, the page says who is right.", max_lines=1
                )
                with gr.Accordion("Options of the multiple choice", open=False), gr.Row():
                    self.options = [gr.Textbox("", label=letter, min_width=220, max_lines=1) for letter in LETTERS]
                self.endpoint = EndpointPanel(page)
                with gr.Row():
                    self.start = gr.Button("Compare", variant="primary", elem_id="compare")
                    self.stop = gr.Button("Stop", elem_id="stop-comparing")

    def _lay_out_results(self) -> None:
        self.agreement = gr.Textbox(label="Agreement", interactive=False, lines=2, elem_id="verdict")
        with gr.Row(equal_height=False):
            self.columns = [ColumnView(side) for side in SIDES]
        self.question = gr.Textbox(label="A question of your own", max_lines=2, elem_id="question")
        self.ask = gr.Button("Ask both", elem_id="ask-both")
        with gr.Row():
            self.replies = [
                gr.Textbox(label=f"Reply, {side}", interactive=False, elem_id=f"reply-{side}") for side in SIDES
            ]

    def _connect(self, page: gr.Blocks) -> None:
        inputs = {"photo": self.photo, "kind": self.group, "left": self.left, "right": self.right, "truth": self.truth}
        comparing = self.start.click(
            self.compare,
            inputs_kwargs={
                **inputs,
                **dict(zip("abcd", self.options, strict=True)),
                "filled": self.filled,
                "endpoint": self.endpoint.settings,
            },
            outputs=[
                self.agreement,
                *(component for view in self.columns for component in view.components),
                *self.options,
                self.filled,
            ],
            api_visibility="private",
            show_progress="minimal",
            **HEAVY,
        )
        asking = self.ask.click(
            self.ask_both,
            {self.photo, self.left, self.right, self.question, self.endpoint.settings},
            self.replies,
            api_visibility="private",
            show_progress="minimal",
            **HEAVY,
        )
        models = [self.left, self.right]
        page.load(lambda: dict.fromkeys(models, gr.Dropdown([*available_models(), ENDPOINT])), None, models, **FRESH)
        self.stop.click(
            lambda: "Stopped.",
            None,
            self.agreement,
            cancels=[comparing, asking],
            api_visibility="private",
            queue=False,
        )

    def compare(self, **values: Any) -> Iterator[dict]:
        """Ask two models what a photo shows: for the name, then by multiple choice. `values` are those of its inputs."""
        with on_page():
            opened = opened_photo(uploaded(values["photo"]))
            options = read_options([values[letter] or "" for letter in "abcd"])
            if options == values["filled"]:  # not typed: they belong to the photo before
                options = []
            truth = _bounded(values["truth"], MAX_LABEL_LENGTH, "The true name")
            names = (values["left"], values["right"])
            columns = _empty_columns(*names)
            yield {self.agreement: "Loading the models ...", **self._shown(columns)}
            sides, columns = self._sides(names, values["kind"], opened.image, values["endpoint"])
            for now in side_by_side(sides, columns, lambda side, shown: side.identify(shown)):
                columns = now
                yield {self.agreement: verdict(columns, truth), **self._shown(columns)}
            filled: dict = {}
            if not options:
                options = options_for(truth, columns)
                filled = self._filled_in(options)
            alive = [None if shown.error else side for side, shown in zip(sides, columns, strict=True)]
            if options:
                for now in side_by_side(alive, columns, lambda side, shown: side.choose(shown, options)):
                    columns = now
                    yield {self.agreement: verdict(columns, truth), **self._shown(columns), **filled}
            lines = [verdict(columns, truth), "" if options else NO_OPTIONS, opened.note]
            yield {self.agreement: "\n".join(filter(None, lines)), **self._shown(columns), **filled}

    def ask_both(self, values: dict) -> Iterator[dict]:
        """Ask two models a question of the user's own about a photo."""
        with on_page():
            opened = opened_photo(uploaded(values[self.photo]))
            question = _bounded(values[self.question], MAX_QUESTION, "The question")
            if not question:
                raise UserError("Type a question first.")
            names = (values[self.left], values[self.right])
            _empty_columns(*names)
            yield self._replies("Loading the models ...", "")
            sides, columns = self._sides(names, AUTO, opened.image, values[self.endpoint.settings])
            yield self._replies(*(shown.error for shown in columns))
            for now in side_by_side(sides, columns, lambda side, shown: side.reply(shown, question)):
                yield self._replies(*(shown.error or shown.reply for shown in now))

    def _shown(self, columns: list[ModelOutput]) -> dict:
        left, right = (view.update(shown) for view, shown in zip(self.columns, columns, strict=True))
        return {**left, **right}

    def _filled_in(self, options: list[str]) -> dict:
        texts = [*options, *[""] * (len(LETTERS) - len(options))]
        return {**dict(zip(self.options, texts, strict=True)), self.filled: options}

    def _replies(self, *texts: str) -> dict:
        return dict(zip(self.replies, texts, strict=True))

    def _sides(
        self, names: tuple[str | None, ...], group: str | None, photo: Image.Image, endpoint: EndpointSettings | None
    ) -> tuple[list[Side | None], list[ModelOutput]]:
        """Return two models in front of a photo, and their columns; a model that cannot be had is an error there."""
        encoder = SharedVisionEncoder(photo)
        sides: list[Side | None] = []
        columns: list[ModelOutput] = []
        for name in names:
            try:
                side = open_side(self._models, name, None if group == AUTO else group, encoder, endpoint)
                sides.append(side)
                columns.append(empty_output(side.name))
            except UserError as error:
                sides.append(None)
                columns.append(empty_output(name or NO_MODEL, str(error)))
        return sides, columns


def _model_choice(side: str, name: str, ready: list[str]) -> gr.Dropdown:
    return gr.Dropdown(
        [*ready, ENDPOINT], value=name if name in ready else None, label=f"Model, {side}", elem_id=f"model-{side}"
    )


def _tell_why_small(states: dict[str, str]) -> None:
    reasons = [f"{name}: {states.get(name, 'not among the models')}" for name in LARGE if states.get(name) != "ready"]
    gr.Textbox(
        f"{' and '.join(LARGE)} cannot both run here, so that {' and '.join(PAIR)}, the small embedded models, "
        f"are compared unless others are chosen. {' '.join(reasons)}",
        show_label=False,
        container=False,
        interactive=False,
        lines=2,
        elem_id="why-small",
    )


def _empty_columns(left: str | None, right: str | None) -> list[ModelOutput]:
    if left == right:
        raise UserError("Choose two different models.")
    return [empty_output(left or NO_MODEL), empty_output(right or NO_MODEL)]


def _bounded(text: str | None, limit: int, what: str) -> str:
    text = (text or "").strip()
    if len(text) > limit:
        raise UserError(f"{what} is longer than {limit} characters.")
    return text
