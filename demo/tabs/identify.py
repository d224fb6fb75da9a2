"""The Identify tab: photos in, a card for each of them out."""

import html
from collections.abc import Iterator
from functools import partial

import gradio as gr
from gradio.blocks import Block

from core.errors import UserError
from core.recognition.conclusion import SURE, check_sure
from core.taxonomy.categories import super_categories
from core.zoo.registry import availability, available_models, zoo
from demo.components.errors import on_page
from demo.components.events import FRESH, HEAVY, PRIVATE
from demo.components.identification import REPLACED, Entry, Run, prepared
from demo.components.models import AUTO, ModelPool, default_choice, example_photos
from demo.components.occlusion import STATE_SECONDS
from demo.components.result_panel import ResultPanel, keep
from demo.components.uploads import uploaded
from demo.history_store import History
from demo.tabs.history import KeepBox

HINT = "Drop a photo, paste it, or choose an example. Several photos become a list."
MAX_PHOTOS = 50  # in one list
WRITING = "Writing ..."
SURE_LEVELS = (60, 80, 90, 95, 99)  # per cent


class IdentifyTab:
    """The tab, laid out inside the current `gr.Blocks`, `page`; what people choose to keep goes into `history`."""

    def __init__(self, models: ModelPool, history: History, key: gr.BrowserState, page: gr.Blocks) -> None:
        self._models, self._history = models, history
        self.run = gr.State(None, time_to_live=STATE_SECONDS)
        _report_broken_models()
        # In this order on a phone and for the keyboard; in a wide window, the result is beside the two others.
        with gr.Column(elem_id="identify-tab"):
            with gr.Column(elem_id="identify-photo"):
                self._lay_out_photo()
            with gr.Column(elem_id="identify-result"):
                self.status = gr.Markdown(HINT, elem_id="status")
                self.photos = gr.Radio([], label="Photos", visible=False, elem_id="photos")
                self.panel = ResultPanel(history, key)
            with gr.Column(elem_id="identify-settings"):
                self._lay_out_settings(key)
        self._connect(page)

    def _lay_out_photo(self) -> None:
        self.photo = gr.Image(
            type="filepath", sources=["upload", "webcam", "clipboard"], label="Photo", height=300, elem_id="photo"
        )
        with gr.Row(elem_id="identify-buttons"):
            self.start = gr.Button("Identify", variant="primary", size="md", min_width=90, elem_id="identify")
            self.stop = gr.Button("Stop", size="md", min_width=60, elem_id="stop")
            self.several = gr.UploadButton(
                "Several photos",
                file_count="multiple",
                file_types=["image"],
                size="md",
                min_width=120,
                elem_id="several",
            )

    def _lay_out_settings(self, key: gr.BrowserState) -> None:
        if photos := example_photos():
            gr.Examples([[path] for path in photos], [self.photo], label="Examples", elem_id="examples")
        ready = available_models()
        with gr.Accordion("Settings", open=False, elem_id="identify-choices"):
            self.at_once = gr.Checkbox(True, label="Identify a photo as soon as it is there", elem_id="at-once")
            self.look = gr.Checkbox(
                False,
                label="Look for the object",
                info="For photos in which it is small, or not alone. It takes longer.",
                elem_id="look",
            )
            self.group = gr.Dropdown(
                [("anything", AUTO), *((name, name) for name in super_categories())],
                value=AUTO,
                label="What kind of thing is it?",
            )
            self.sure = _choice_of_level()
            self.candidates = gr.Textbox(
                label="Choose only from these names (one per line)",
                info="How sure the model is was measured for the names it knows, not for others.",
                lines=4,
            )
            self.model = gr.Dropdown(ready, value=default_choice(ready), label="Model")
        self.keep = KeepBox(key)

    def _connect(self, page: gr.Blocks) -> None:
        settings: set[Block] = {
            self.at_once,
            self.look,
            self.group,
            self.sure,
            self.candidates,
            self.model,
            self.keep.keep,
        }
        outputs = [self.photo, self.status, self.run, self.photos, *self.panel.outputs]
        shown: set[Block] = {self.run, self.panel.opened, self.keep.keep}
        part = partial(self.panel.card.part, trigger_mode="multiple")  # a box that is drawn meanwhile counts, too
        running = [
            trigger(function, inputs, outputs, **PRIVATE, **HEAVY)
            for trigger, function, inputs in (
                (self.start.click, self.identify, {*settings, self.photo}),
                (self.photo.change, self.identify_at_once, {*settings, self.photo}),
                (self.several.upload, self.identify_several, {*settings, self.several}),
                (part, self.identify_part, shown),
            )
        ]
        self.stop.click(
            self.stopped,
            self.run,
            outputs,
            cancels=[*running, self.panel.occlusion.drawing],
            api_visibility="private",
            queue=False,
        )
        self.photos.input(self.open, {self.run, self.photos}, self.panel.outputs, **PRIVATE)
        self.sure.input(self.restated, {self.run, self.sure}, [self.photos, *self.panel.outputs], **PRIVATE)
        for corrected in self.panel.corrected:
            corrected.success(_listed, self.run, self.photos, **PRIVATE)
        page.load(None, js="() => finedefics.label()", api_visibility="private")
        page.load(lambda: gr.Dropdown(available_models()), None, self.model, **FRESH)

    def identify(self, values: dict) -> Iterator[dict]:
        """Show the card of the chosen photo."""
        yield from self._identified([values[self.photo]], values)

    def identify_at_once(self, values: dict) -> Iterator[dict]:
        """Show the card of a photo that was just given, unless the setting says no."""
        if values[self.photo] and values[self.at_once]:
            yield from self._identified([values[self.photo]], values)
        else:
            yield {self.status: gr.skip()}

    def identify_several(self, values: dict) -> Iterator[dict]:
        """Work through a list of photos: show a line for each of them, and the card of the first."""
        yield {self.photo: None}
        yield from self._identified(values[self.several] or [], values)

    def identify_part(self, values: dict, event: gr.EventData) -> Iterator[dict]:
        """Identify the photo of the open card again, by the part of it that was chosen there."""
        with on_page():
            run: Run | None = values[self.run]
            entry: Entry | None = values[self.panel.opened]
            if run is None or entry not in run.entries:
                raise UserError(REPLACED)
            part = entry.part(str(event.photo), str(event.crop))
            yield {self.status: "Looking ..."}
            place = run.entries.index(entry)
            for update in self.panel.identified(part):
                run.entries[place] = part
                yield {self.status: WRITING, **update}
            if key := values[self.keep.keep]:
                _kept(self._history, key, part)
            run.add(part)
            yield {self.status: run.status, self.photos: _listed(run), **self.panel.opened_card(part)}

    def _identified(self, uploads: list[dict | None], values: dict) -> Iterator[dict]:
        with on_page():
            if len(uploads) > MAX_PHOTOS:
                raise UserError(f"These are {len(uploads)} photos: give at most {MAX_PHOTOS}, or use Case study.")
            paths = [uploaded(upload) for upload in uploads]
            hidden = {self.photos: gr.Radio([], value=None, visible=False), **self.panel.hidden()}
            yield {self.status: "Loading the model ...", self.run: None, **hidden}
            chosen = prepared(self._models, values[self.candidates], values[self.group], values[self.model])
            run = Run(len(paths), sure=check_sure(values[self.sure]))
            yield {self.run: run, self.status: run.status}
            for path in paths:
                entry = Entry(path, chosen, sure=run.sure, crop="auto" if values[self.look] else "none")
                yield from self._looked_at(run, entry, values[self.keep.keep])

    def _looked_at(self, run: Run, entry: Entry, key: str | None) -> Iterator[dict]:
        """Identify one photo of a run; in a list, one that cannot be used has a line that says why."""
        try:
            for update in self.panel.identified(entry):
                if not run.several:
                    run.entries = [entry]
                    yield {self.status: WRITING, **update}
        except UserError as error:
            if not run.several:
                raise
            entry.error = str(error)
        else:
            if key:  # before the last update: closing the page after that one would end this generator
                _kept(self._history, key, entry)
        run.add(entry)
        opens = entry.card is not None and run.shown is None
        if opens:
            run.shown = run.entries.index(entry)
        card = self.panel.opened_card(entry) if opens else {}
        yield {self.status: run.status, self.photos: _listed(run), **card}

    def stopped(self, run: Run | None) -> dict:
        """Show what was done before Stop was pressed."""
        if run is None or not run.entries:
            return {self.status: "Stopped."}
        if run.several:
            opened = {} if run.shown is None else self.panel.opened_card(run.entries[run.shown])
            return {self.status: f"Stopped: {run.progress}", self.photos: _listed(run), **opened}
        run.shown = 0
        return {self.status: "Stopped.", **self.panel.opened_card(run.entries[0])}

    def restated(self, values: dict) -> dict:
        """Say what is sure at another level of the photos that are named already."""
        run: Run | None = values[self.run]
        with on_page():
            opened = run.restate(check_sure(values[self.sure])) if run else None
        return {self.photos: _listed(run), **(self.panel.restated_card(opened) if opened else {})}

    def open(self, values: dict) -> dict:
        """Show the card of a photo of the list."""
        run: Run | None = values[self.run]
        if run is None or values[self.photos] not in range(len(run.entries)):
            return self.panel.hidden()
        run.shown = values[self.photos]
        return self.panel.opened_card(run.entries[run.shown])


def _choice_of_level() -> gr.Dropdown:
    return gr.Dropdown(
        [(f"{level} %", level / 100) for level in SURE_LEVELS],
        value=SURE,
        label="How sure must a name be?",
        info="Where no name is that sure, its group is said, such as a family of birds.",
    )


def _listed(run: Run | None) -> gr.Radio:
    if run is None or not run.several:
        return gr.Radio(visible=False)
    return gr.Radio(run.choices, value=run.shown, visible=True)


def _kept(history: History, key: str, entry: Entry) -> None:
    try:
        keep(history, key, entry)
    except UserError as error:
        gr.Warning(html.escape(str(error)))


def _report_broken_models() -> None:
    states = {name: availability(entry) for name, entry in zoo().items() if not entry.hub}
    if broken := [f"- **{name}** cannot be loaded: {state}" for name, state in states.items() if state != "ready"]:
        gr.Markdown("\n".join(broken))
