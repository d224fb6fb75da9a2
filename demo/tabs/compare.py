"""The Compare tab: one photo, two models side by side."""

from collections.abc import Iterator

import gradio as gr

from core.errors import UserError
from core.evaluation.side_by_side import (
    MAX_QUESTION,
    Column,
    Local,
    Remote,
    SharedVisionEncoder,
    Side,
    column,
    look_alikes,
    read_options,
    side_by_side,
    verdict,
)
from core.models.openai_endpoint import OPENAI, Endpoint, EndpointSettings, is_loopback
from core.recognition.label_space import MAX_LABEL_LENGTH
from core.recognition.recogniser import UNKNOWN
from core.taxonomy.categories import find_category, in_super_category, super_categories
from core.taxonomy.prompts import LETTERS
from core.zoo.hub import UNCALIBRATED
from core.zoo.registry import availability, zoo
from demo.components.errors import on_page
from demo.components.events import FRESH, HEAVY
from demo.components.models import AUTO, ModelPool, example_photos, ready_models
from demo.components.uploads import opened_photo, uploaded

SIDES = ("left", "right")
ENDPOINT = "endpoint"
NO_MODEL = "no model"
LARGE = ("idefics2-8b", "finedefics-8b")
SMALL = ("idefics2-tiny", "finedefics-tiny")
NO_ENDPOINT = (
    "No endpoint is set: give its address and its model under 'Endpoint', or set OPENAI_MODEL (and OPENAI_BASE_URL, "
    "OPENAI_API_KEY) before the app is started."
)
NO_OPTIONS = "They were not asked to choose: no look-alikes are known, but options can be typed."
NOT_HERE = (
    "An address can be given only on a page that is served to its own machine alone: here, whoever runs the app sets "
    "OPENAI_BASE_URL and OPENAI_MODEL."
)


class Comparison:
    """What the buttons do, with the models of the page."""

    def __init__(self, models: ModelPool) -> None:
        self._models = models

    def run(
        self,
        photo: dict | None,
        kind: str | None,
        left: str | None,
        right: str | None,
        truth: str | None,
        a: str | None,
        b: str | None,
        c: str | None,
        d: str | None,
        filled: list[str],
        endpoint: EndpointSettings | None,
    ) -> Iterator[tuple[object, ...]]:
        """Ask two models what a photo shows: for the name, then to choose among four."""
        with on_page():
            opened = opened_photo(uploaded(photo))
            options = read_options([option or "" for option in (a, b, c, d)])
            if options == filled:  # not typed: they belong to the photo before
                options = []
            truth = _bounded(truth, MAX_LABEL_LENGTH, "The true name")
            same = [gr.skip()] * (len(LETTERS) + 1)
            columns = _silent(left, right)
            yield "Loading the models ...", *_shown(columns), *same
            sides, columns = self._fetch((left, right), kind, SharedVisionEncoder(opened.image), endpoint)
            for now in side_by_side(sides, columns, lambda side, said: side.identify(said)):
                columns = now
                yield verdict(columns, truth), *_shown(columns), *same
            if not options:
                options = filled = _options_for(truth, columns)
                same = [*options, *[""] * (len(LETTERS) - len(options)), filled]
            alive = [None if said.error else side for side, said in zip(sides, columns, strict=True)]
            if options:
                for now in side_by_side(alive, columns, lambda side, said: side.choose(said, options)):
                    columns = now
                    yield verdict(columns, truth), *_shown(columns), *same
            lines = [verdict(columns, truth), "" if options else NO_OPTIONS, opened.note]
            yield "\n".join(filter(None, lines)), *_shown(columns), *same

    def ask_both(
        self,
        photo: dict | None,
        left: str | None,
        right: str | None,
        question: str | None,
        endpoint: EndpointSettings | None,
    ) -> Iterator[tuple[str, ...]]:
        """Ask two models a question of the user's own about a photo."""
        with on_page():
            opened = opened_photo(uploaded(photo))
            asked = _bounded(question, MAX_QUESTION, "The question")
            if not asked:
                raise UserError("Type a question first.")
            _silent(left, right)
            yield "Loading the models ...", ""
            sides, columns = self._fetch((left, right), AUTO, SharedVisionEncoder(opened.image), endpoint)
            yield tuple(said.error for said in columns)
            for now in side_by_side(sides, columns, lambda side, said: side.reply(said, asked)):
                yield tuple(said.error or said.reply for said in now)

    def _fetch(
        self,
        names: tuple[str | None, str | None],
        kind: str | None,
        eyes: SharedVisionEncoder,
        endpoint: EndpointSettings | None,
    ) -> tuple[list[Side | None], list[Column]]:
        """The models of two names in front of a photo, with their columns; where one cannot be had, that says why."""
        sides: list[Side | None] = []
        columns: list[Column] = []
        for name in names:
            try:
                side = self._side(name, None if kind == AUTO else kind, eyes, endpoint)
                sides.append(side)
                columns.append(column(side.name))
            except UserError as error:
                sides.append(None)
                columns.append(column(name or NO_MODEL, str(error)))
        return sides, columns

    def _side(
        self, name: str | None, kind: str | None, eyes: SharedVisionEncoder, endpoint: EndpointSettings | None
    ) -> Side:
        if name is None:
            raise UserError("There is no model: choose one first.")
        if name != ENDPOINT:
            return Local(*self._models.prepare(name, None, kind), eyes)
        settings = endpoint or EndpointSettings.from_environment()
        if settings is None:
            raise UserError(NO_ENDPOINT)
        return Remote(Endpoint(settings), eyes.photo, in_super_category(kind)[0].super_category if kind else None)


def build(models: ModelPool, page: gr.Blocks) -> None:
    """Lay out the tab inside the current `gr.Blocks`; `page` is the whole of it."""
    states = {name: availability(entry) for name, entry in zoo().items()}
    ready = [name for name, state in states.items() if state == "ready"]
    chosen = LARGE if set(LARGE) <= set(ready) else SMALL
    if chosen == SMALL:
        reasons = [f"{name}: {states.get(name, 'not among the models')}" for name in LARGE if name not in ready]
        gr.Textbox(
            f"{' and '.join(LARGE)} cannot both run here, so that {' and '.join(SMALL)}, the small embedded models, "
            f"are compared unless others are chosen. {' '.join(reasons)}",
            show_label=False,
            container=False,
            interactive=False,
            lines=2,
            elem_id="why-small",
        )
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            photo = gr.Image(
                type="filepath", sources=["upload", "webcam", "clipboard"], label="Photo", height=280, elem_id="pair"
            )
            if photos := example_photos():
                gr.Examples([[path] for path in photos], [photo], label="Examples")
        with gr.Column(min_width=320):
            with gr.Row():
                left, right = (
                    gr.Dropdown(
                        [*ready, ENDPOINT],
                        value=name if name in ready else None,
                        label=f"Model, {side}",
                        elem_id=f"model-{side}",
                    )
                    for name, side in zip(chosen, SIDES, strict=True)
                )
            kind = gr.Dropdown([AUTO, *super_categories()], value=AUTO, label="What kind of thing is it?")
            truth = gr.Textbox(label="Its true name (optional)", info="Then you are told who is right.", max_lines=1)
            with gr.Accordion("Options to choose among", open=False), gr.Row():
                options = [gr.Textbox(label=letter, min_width=220, max_lines=1) for letter in LETTERS]
            endpoint = _endpoint_panel(page)
            with gr.Row():
                start = gr.Button("Compare", variant="primary", elem_id="compare")
                stop = gr.Button("Stop", elem_id="stop-comparing")
    agreement = gr.Textbox(label="Who says what", interactive=False, lines=2, elem_id="verdict")
    with gr.Row(equal_height=False):
        columns = [output for side in SIDES for output in _column(side)]
    question = gr.Textbox(label="A question of your own", max_lines=2, elem_id="question")
    ask = gr.Button("Ask both", elem_id="ask-both")
    with gr.Row():
        replies = [gr.Textbox(label=f"Reply, {side}", interactive=False, elem_id=f"reply-{side}") for side in SIDES]

    filled = gr.State([])  # the options that were filled in last
    comparison = Comparison(models)
    comparing = start.click(
        comparison.run,
        [photo, kind, left, right, truth, *options, filled, endpoint],
        [agreement, *columns, *options, filled],
        api_name="compare",
        show_progress="minimal",
        **HEAVY,
    )
    asking = ask.click(
        comparison.ask_both,
        [photo, left, right, question, endpoint],
        replies,
        api_visibility="private",
        show_progress="minimal",
        **HEAVY,
    )
    page.load(lambda: [gr.Dropdown([*ready_models(), ENDPOINT])] * len(SIDES), None, [left, right], **FRESH)
    stop.click(lambda: "Stopped.", None, agreement, cancels=[comparing, asking], api_visibility="private", queue=False)


def _endpoint_panel(page: gr.Blocks) -> gr.State:
    """Where an endpoint can be given, and the state of the session that keeps it."""
    settings = gr.State(None)
    with gr.Accordion("Endpoint", open=False):
        gr.Markdown(
            "Any server that speaks OpenAI's protocol: the photo is sent there. What is given here is kept in this "
            "session's memory alone.",
            elem_classes="note",
        )
        address = gr.Textbox(label="Address", placeholder=OPENAI, max_lines=1)
        model = gr.Textbox(label="Model's name there", max_lines=1)
        key = gr.Textbox(label="API key", type="password", max_lines=1)
        use = gr.Button("Use this endpoint", elem_id="use-endpoint")
        used = gr.Textbox(label="In use", interactive=False, elem_id="endpoint-in-use")

    def use_endpoint(address: str, model: str, key: str) -> tuple[EndpointSettings, str, str]:
        with on_page():
            # A remote visitor could else make this machine fetch addresses that only it can reach.
            if page.share or not is_loopback(getattr(page, "server_name", "")):
                raise UserError(NOT_HERE)
            given = EndpointSettings(model=model.strip(), base_url=address.strip() or OPENAI, key=key.strip())
        return given, "", Endpoint(given).name  # the key leaves the page

    use.click(  # in the queue: of an event outside it the page shows no error
        use_endpoint,
        [address, model, key],
        [settings, key, used],
        api_visibility="private",
        show_progress="hidden",
    )
    return settings


def _column(side: str) -> list[gr.components.Component]:
    with gr.Column(min_width=320):
        return [
            gr.Textbox(show_label=False, interactive=False, lines=2, elem_id=f"status-{side}"),
            gr.Label(num_top_classes=5, label="Species", show_heading=False, elem_id=f"species-{side}"),
            gr.Textbox(label="Its own answer", interactive=False, elem_id=f"answer-{side}"),
            gr.Dataframe(
                headers=["attribute", "value"],
                datatype="str",
                label="Attributes",
                interactive=False,
                wrap=True,
                elem_id=f"attributes-{side}",
            ),
            gr.Label(num_top_classes=len(LETTERS), label="Of the options", elem_id=f"choice-{side}"),
        ]


def _silent(left: str | None, right: str | None) -> list[Column]:
    if left == right:
        raise UserError("Choose two different models.")
    return [column(left or NO_MODEL), column(right or NO_MODEL)]


def _shown(columns: list[Column]) -> list[object]:
    outputs: list[object] = []
    for said in columns:
        result = said.result
        lines = [result.model, "" if result.known else UNKNOWN]
        if not result.calibrated:
            lines.append(UNCALIBRATED)
        parts = [f"{part} {seconds:.1f} s" for part, seconds in result.seconds.items()]
        if said.tokens:
            parts.append(f"{said.tokens_per_second:.1f} tokens per second")
        lines += [", ".join(parts), said.error]
        outputs += [
            "\n".join(filter(None, lines)),
            {s.name: s.probability for s in result.species},
            result.answer,
            [[attribute, value] for attribute, value in result.attributes.items()],
            said.probabilities or said.choice or None,
        ]
    return outputs


def _options_for(truth: str, columns: list[Column]) -> list[str]:
    """The look-alikes of the true name, or else of the first name that is known; none where nothing is."""
    names = [truth] if truth else [said.named for said in columns]
    known = next(filter(find_category, names), None)
    return look_alikes(known) if known else []


def _bounded(text: str | None, limit: int, what: str) -> str:
    text = (text or "").strip()
    if len(text) > limit:
        raise UserError(f"{what} is longer than {limit} characters.")
    return text
