"""The card on the page, with what can be done with it: correct, keep, copy, share, and see where."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import gradio as gr
from PIL import Image

from core.errors import UserError
from core.recognition.asked_model import AskedModel
from core.recognition.crops import cut, rounded_box
from core.recognition.label_space import LabelSpace
from core.storage.files import write_atomically
from demo.components.card import ASSETS, card_html, card_page, result_json
from demo.components.downloads import new_download_folder
from demo.components.errors import on_page
from demo.components.events import PRIVATE
from demo.components.identification import Entry
from demo.components.occlusion import STATE_SECONDS, IdentifiedPhoto, OcclusionPanel
from demo.components.uploads import opened_photo
from demo.history_store import MAX_NAME, History, checked_name

UPDATE_SECONDS = 0.4  # between two updates of a growing card
CORRECT = "Not this? Correct it"
NAME_IT = "Do you know what it is?"  # of an unknown photo
KEPT = "A correction is kept on this machine with a small copy of the photo. The History tab lists and deletes it."
PART_SCRIPT = (ASSETS / "photo_part.js").read_text(encoding="utf-8")
COPY = "() => finedefics.copy()"  # of assets/card.js
PICTURE = "() => finedefics.picture()"


class ResultPanel:
    """The card of the entry in `opened`; nothing of it is visible before there is one. `key` is the browser's."""

    def __init__(self, history: History, key: gr.BrowserState) -> None:
        self._history, self.key = history, key
        self.opened = gr.State(None, time_to_live=STATE_SECONDS)
        with gr.Column(visible=False, elem_id="result") as self.column:
            self.card = gr.HTML(js_on_load=PART_SCRIPT, elem_id="card")  # its event `part`: a photo's id and a crop
            with gr.Column(visible=False) as self.actions:
                self._lay_out_actions()
                self.occlusion = OcclusionPanel()
        self._connect()

    def _lay_out_actions(self) -> None:
        with gr.Group(elem_id="correct"):
            self.others = gr.Radio([], label=CORRECT, elem_id="others")
            self.typed = gr.Textbox(
                "", label="Or type its name", max_length=MAX_NAME, submit_btn="Save", elem_id="typed"
            )
        gr.Markdown(KEPT, elem_classes="note")
        with gr.Row(elem_id="share"):
            self.keep = gr.Button("Save to History", size="sm", min_width=120)
            self.copy = gr.Button("Copy text", size="sm", min_width=120)
            self.picture = gr.Button("Picture (PNG)", size="sm", min_width=120)
            self.page = gr.DownloadButton("Page (HTML)", size="sm", min_width=120, elem_id="download-page")
            self.json = gr.DownloadButton("Data (JSON)", size="sm", min_width=120, elem_id="download")

    def _connect(self) -> None:
        shown = [self.card, self.typed, self.keep, self.page, self.json]
        self.corrected = [
            self.others.input(self.correct, {self.opened, self.key, self.others}, shown, **PRIVATE),
            self.typed.submit(self.correct_typed, {self.opened, self.key, self.typed}, shown, **PRIVATE),
        ]
        self.keep.click(self.store, {self.opened, self.key}, self.keep, **PRIVATE)
        self.copy.click(None, None, None, js=COPY, api_visibility="private")
        self.picture.click(None, None, None, js=PICTURE, api_visibility="private")

    @property
    def outputs(self) -> list:
        """Return the components that `hidden`, `growing` and `opened_card` change."""
        return [
            self.column,
            self.card,
            self.actions,
            self.opened,
            self.others,
            self.typed,
            self.keep,
            self.page,
            self.json,
            self.occlusion.identified,
        ]

    def hidden(self) -> dict:
        """Show nothing."""
        return {
            self.column: gr.Column(visible=False),
            self.card: "",
            self.opened: None,
            self.occlusion.identified: None,
        }

    def identified(self, entry: Entry) -> Iterator[dict]:
        """Identify the photo of an entry, and show its card as it grows."""
        shown = 0.0
        for _ in entry.identify():
            if time.monotonic() - shown >= UPDATE_SECONDS:
                shown = time.monotonic()
                yield self.growing(entry)

    def growing(self, entry: Entry) -> dict:
        """Show the card of an entry that is not finished."""
        return {
            self.column: gr.Column(visible=True),
            self.actions: gr.Column(visible=False),
            self.card: card_html(entry.card) if entry.card else "",
        }

    def restated_card(self, entry: Entry) -> dict:
        """Show the card of an entry anew, and leave a correction that is being typed."""
        return {part: value for part, value in self.opened_card(entry).items() if part is not self.typed}

    def opened_card(self, entry: Entry) -> dict:
        """Show the card of an entry with what can be done with it; nothing where it has none."""
        if entry.card is None:
            return self.hidden()
        names = [species.name for species in entry.card.others]
        return {
            **self.growing(entry),
            self.card: card_html(entry.card, entry.id),
            self.actions: gr.Column(visible=True),
            self.opened: entry,
            self.others: gr.Radio(
                names, value=None, label=CORRECT if entry.card.result.known else NAME_IT, visible=bool(names)
            ),
            self.typed: "",
            self.keep: _keep_button(entry),
            **self._files(entry),
            self.occlusion.identified: _explained(entry),
        }

    def correct(self, values: dict) -> dict:
        """Store the name that was chosen from the ranking."""
        return self._correct(values, values[self.others])

    def correct_typed(self, values: dict) -> dict:
        """Store the name that was typed."""
        return self._correct(values, values[self.typed])

    def _correct(self, values: dict, name: str | None) -> dict:
        entry: Entry | None = values[self.opened]
        if entry is None or entry.card is None:
            return {self.typed: ""}
        with on_page():
            name, key = checked_name(name or ""), values[self.key] or ""
            keep(self._history, key, entry)
            stored = self._history.correct(key, entry.row or 0, name)
        entry.card = replace(entry.card, correction=stored)
        return {
            self.card: card_html(entry.card, entry.id),
            self.typed: "",
            self.keep: _keep_button(entry),
            **self._files(entry),
        }

    def store(self, values: dict) -> dict:
        """Keep the open identification in the history."""
        entry: Entry | None = values[self.opened]
        if entry is None:
            return {self.keep: gr.Button()}
        with on_page():
            keep(self._history, values[self.key] or "", entry)
        return {self.keep: _keep_button(entry)}

    def _files(self, entry: Entry) -> dict:
        folder, card = new_download_folder(), entry.card
        assert card
        page, data = folder / "identification.html", folder / "identification.json"
        write_atomically(page, card_page(card).encode())
        write_atomically(data, result_json(card.result, card.photo, card.sure))
        return {self.page: str(page), self.json: str(data)}


def keep(history: History, key: str, entry: Entry) -> None:
    """Add an entry to the history under a key, unless it is there already. Raises `UserError` if that cannot be done.

    A part of a photo is kept as a photo of its own: a correction is of what it shows, not of the rest.
    """
    if entry.row is None and entry.card:
        result, upload = entry.card.result, entry.path.read_bytes()
        if result.box:
            upload += json.dumps(rounded_box(result.box)).encode()
        entry.row = history.keep(key, upload, named_photo(entry), result.as_dict(entry.card.photo, entry.card.sure))


def named_photo(entry: Entry) -> Image.Image:
    """Return the photo of an entry, or the part of it that was named. Raises `UserError` if it is no longer there."""
    photo = opened_photo(entry.path).image
    return cut(photo, entry.card.result.box) if entry.card and entry.card.result.box else photo


def _keep_button(entry: Entry) -> gr.Button:
    kept = entry.row is not None
    return gr.Button("In History" if kept else "Save to History", interactive=not kept)


def _explained(entry: Entry) -> IdentifiedPhoto | None:
    """Return what an occlusion map needs, or None where there is none of this photo."""
    namer, card = entry.namer, entry.card
    if not card or not card.result.known or isinstance(namer.model, AskedModel):
        return None
    assert isinstance(namer.space, LabelSpace)
    try:
        photo = named_photo(entry)
    except UserError:  # the upload was deleted since
        return None
    return IdentifiedPhoto(namer.model, photo, namer.space, card.result)
