"""The History tab: what this browser chose to keep, to correct, to export and to delete."""

from typing import Any

import gradio as gr

from core.data.images import data_url
from core.errors import UserError
from core.storage.files import write_atomically
from demo.components.downloads import new_download_folder
from demo.components.errors import on_page
from demo.components.events import FRESH, PRIVATE
from demo.components.templates import render
from demo.history_store import MAX_NAME, PHOTO_SIDE, History, HistoryRow, is_key, new_key

KEPT = (
    f"While the box is ticked, every finished identification is kept on the machine that serves this page: a small copy "
    f"of the photo (at most {PHOTO_SIDE} pixels a side), the photo's hash, the result, the time, and your correction. "
    "Only this browser can list it."
)
DELETED = (
    "Deleting overwrites the bytes in the history. The uploads themselves, and the ZIP files made here, stay in a "
    "temporary folder for at most two hours."
)
TRAINING = (
    "The ZIP holds `train.csv` and the small copies of the corrected photos: unpacked, "
    "`.venv/bin/python -m train run --data FOLDER --name NAME` trains on it."
)
HEADERS = ["no.", "photo", "named", "model", "time (UTC)", "true name"]
DATATYPES: Any = ["number", "html", "str", "str", "str", "str"]  # the HTML is a thumbnail, made here
WIDTHS: Any = ["70px", "190px", "290px", "200px", "230px", "230px"]  # in a narrow window the table scrolls


def browser_key(page: gr.Blocks) -> gr.BrowserState:
    """Add the key that this browser's rows are kept under: made when `page` is first opened, stored in the browser.

    If it were made later, two windows opened before would make one each, and the rows under the first would be lost.
    """
    # Not a secret of ours: Gradio scrambles what it stores with it, and a new one at every start would lose the key.
    key = gr.BrowserState(None, storage_key="finedefics-history", secret="finedefics")  # noqa: S106
    page.load(_own_key, key, key, **FRESH)
    return key


def _own_key(key: str | None) -> str:
    return key if key and is_key(key) else new_key()


class KeepBox:
    """The box "Keep my identifications", not ticked; the state `keep` is the browser's key while it is, else None."""

    def __init__(self, key: gr.BrowserState) -> None:
        self.key, self.keep = key, gr.State(None)
        self.box = gr.Checkbox(False, label="Keep my identifications on this machine", info=KEPT, elem_id="keep")
        self.box.input(self.tick, {self.box, key}, [key, self.keep], api_visibility="private", queue=False)

    def tick(self, values: dict) -> dict:
        """Begin to keep, under a new key if the browser has none; or stop it."""
        ticked, key = values[self.box], values[self.key]
        key = _own_key(key) if ticked else key
        return {self.key: key, self.keep: key if ticked else None}


class HistoryTab:
    """The tab, laid out inside the current `gr.Blocks`; the table is updated whenever `tab` is opened."""

    def __init__(self, history: History, key: gr.BrowserState, tab: gr.Tab) -> None:
        self._history, self.key = history, key
        self.chosen = gr.State(None)  # the id of a row
        self._lay_out()
        self._connect(tab)

    def _lay_out(self) -> None:
        gr.Markdown(
            f"{KEPT} Tick the box on the Identify tab to begin, or save or correct a single card there.\n\n{DELETED}",
            elem_classes="note",
        )
        self.table = gr.Dataframe(
            headers=HEADERS,
            datatype=DATATYPES,
            column_widths=WIDTHS,
            label="Kept identifications",
            interactive=False,
            wrap=True,
            elem_id="kept",
        )
        with gr.Row():
            self.summary = gr.Textbox(
                label="Chosen", placeholder="Click a row of the table.", interactive=False, elem_id="chosen", scale=2
            )
            self.name = gr.Textbox(label="True name", max_length=MAX_NAME, elem_id="correction", scale=2)
            self.save = gr.Button("Save correction", variant="primary")
            self.remove = gr.Button("Delete")
        with gr.Row():
            self.export = gr.Button("Export corrections")
            self.download = gr.DownloadButton("Download the ZIP", interactive=False, elem_id="corrections")
            self.clear = gr.Button("Delete everything")
            self.confirm = gr.Button("Yes, delete everything for good", variant="stop", visible=False)
        gr.Markdown(TRAINING, elem_classes="note")

    def _connect(self, tab: gr.Tab) -> None:
        row = [self.chosen, self.summary, self.name]
        tab.select(self.refresh, self.key, [self.table, self.confirm], **PRIVATE)
        self.table.select(self.choose, self.key, row, **PRIVATE)
        self.save.click(self.correct, {self.key, self.chosen, self.name}, [self.table, self.name], **PRIVATE)
        self.remove.click(self.delete, {self.key, self.chosen}, [self.table, *row], **PRIVATE)
        self.clear.click(lambda: gr.Button(visible=True), None, self.confirm, **PRIVATE)
        self.confirm.click(self.delete_all, self.key, [self.table, *row, self.confirm], **PRIVATE)
        self.export.click(self.pack, self.key, self.download, **PRIVATE)

    def refresh(self, key: str | None) -> dict:
        """Read the table again."""
        with on_page():
            return {self.table: self._table(key), self.confirm: gr.Button(visible=False)}

    def choose(self, key: str | None, event: gr.SelectData) -> dict:
        """Choose the row that was clicked."""
        with on_page():
            clicked = [str(cell) for cell in event.row_value[:1]]
            row = next((row for row in self._rows(key) if [str(row.id)] == clicked), None)
        if row is None:
            return self._nothing_chosen()
        return {self.chosen: row.id, self.summary: _summary(row), self.name: row.correction}

    def correct(self, values: dict) -> dict:
        """Store the true name of the chosen row's photo."""
        key = values[self.key]
        with on_page():
            stored = self._history.correct(key or "", _row_id(values[self.chosen]), values[self.name])
            return {self.table: self._table(key), self.name: stored}

    def delete(self, values: dict) -> dict:
        """Delete the chosen row."""
        key = values[self.key]
        with on_page():
            self._history.delete(key or "", _row_id(values[self.chosen]))
            return {self.table: self._table(key), **self._nothing_chosen()}

    def delete_all(self, key: str | None) -> dict:
        """Delete all rows of this browser."""
        with on_page():
            self._history.clear(key or "")
            return {
                self.table: self._table(key),
                **self._nothing_chosen(),
                self.confirm: gr.Button(visible=False),
            }

    def pack(self, key: str | None) -> gr.DownloadButton:
        """Offer the corrections of this browser as a ZIP."""
        with on_page():
            packed = self._history.export_corrections(key or "")
            path = new_download_folder() / "corrections.zip"
            write_atomically(path, packed)
            return gr.DownloadButton(value=str(path), interactive=True)

    def _nothing_chosen(self) -> dict:
        return {self.chosen: None, self.summary: "", self.name: ""}

    def _rows(self, key: str | None) -> list[HistoryRow]:
        return self._history.rows(key) if key and is_key(key) else []

    def _table(self, key: str | None) -> list[list[object]]:
        return [
            [
                row.id,
                render("thumbnail.html", url=data_url(row.thumbnail)),  # no file that outlives the row
                _name_of(row),
                row.model,
                row.time.replace("T", " ").removesuffix("+00:00"),
                row.correction,
            ]
            for row in self._rows(key)
        ]


def _row_id(row: int | None) -> int:
    if row is None:
        raise UserError("Nothing is chosen: click a row of the table first.")
    return row


def _name_of(row: HistoryRow) -> str:
    if not row.result["species"]:
        return f"{row.result['answer'] or 'nothing'} (its answer)"
    first = row.result["species"][0]
    return f"{first['name']} ({first['probability']:.0%})" if row.result["known"] else f"unknown ({first['name']}?)"


def _summary(row: HistoryRow) -> str:
    return f"No. {row.id}: {_name_of(row)}, by {row.model}"
