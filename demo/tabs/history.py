"""The History tab: what this browser chose to keep, to correct, to export and to delete."""

import secrets
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from core.data.images import data_url
from core.errors import UserError
from demo.components.errors import on_page
from demo.components.events import FRESH, PRIVATE
from demo.history_store import MAX_NAME, PHOTO_SIDE, History, HistoryRow, is_key, new_key

KEPT = (
    f"While the box is ticked, every finished identification is kept on the machine that serves this page: a small copy "
    f"of the photo (at most {PHOTO_SIDE} pixels a side), the photo's hash, the result, the time, and what you correct. "
    "Only this browser can list it."
)
DELETED = (
    "Deleting overwrites the bytes in the history. The uploads themselves, and the ZIP files made here, lie in a "
    "temporary folder for at most two hours."
)
HEADERS = ["no.", "photo", "named", "model", "time (UTC)", "it is actually"]
DATATYPES: Any = ["number", "html", "str", "str", "str", "str"]  # the HTML is our own: a thumbnail
WIDTHS: Any = ["70px", "190px", "290px", "200px", "230px", "230px"]  # on a phone the table scrolls


def browser_key(page: gr.Blocks) -> gr.BrowserState:
    """The key that this browser's rows are kept under: made when `page` is first opened, and stored in the browser.

    Made any later, two windows that were opened before would make one each, and the rows under the first be lost.
    """
    # Not a secret of ours: Gradio scrambles what it stores with it, and a new one at every start would lose the key.
    key = gr.BrowserState(None, storage_key="finedefics-history", secret="finedefics")  # noqa: S106
    page.load(_own_key, key, key, **FRESH)
    return key


def _own_key(key: str | None) -> str:
    return key if key and is_key(key) else new_key()


def keep_box(key: gr.BrowserState) -> gr.State:
    """Lay out the box "Keep my identifications", not ticked; the state holds the key while it is, else None."""
    keep = gr.State(None)
    box = gr.Checkbox(False, label="Keep my identifications on this machine", info=KEPT, elem_id="keep")
    box.input(_ticked, [box, key], [key, keep], api_visibility="private", queue=False)
    return keep


def _ticked(ticked: bool, key: str | None) -> tuple[str | None, str | None]:
    if ticked:
        key = _own_key(key)
    return key, key if ticked else None


def build(history: History, key: gr.BrowserState, tab: gr.Tab) -> None:
    """Lay out the tab inside the current `gr.Blocks`; the table is read anew whenever the tab is opened."""
    chosen = gr.State(None)  # the id of a row
    gr.Markdown(f"{KEPT} Tick the box on the Identify tab to begin.\n\n{DELETED}", elem_classes="note")
    table = gr.Dataframe(
        headers=HEADERS,
        datatype=DATATYPES,
        column_widths=WIDTHS,
        label="Kept identifications",
        interactive=False,
        wrap=True,
        elem_id="kept",
    )
    with gr.Row():
        shown = gr.Textbox(
            label="Chosen", placeholder="Click a row of the table.", interactive=False, elem_id="chosen", scale=2
        )
        name = gr.Textbox(label="It is actually ...", max_length=MAX_NAME, elem_id="correction", scale=2)
        save = gr.Button("Save correction", variant="primary")
        delete = gr.Button("Delete")
    with gr.Row():
        export = gr.Button("Export corrections")
        download = gr.DownloadButton("Download the ZIP", interactive=False, elem_id="corrections")
        clear = gr.Button("Delete everything")
        really = gr.Button("Yes, delete everything for good", variant="stop", visible=False)
    gr.Markdown(
        "The ZIP holds `train.csv` and the small copies of the corrected photos: unpacked, "
        "`.venv/bin/python -m train run --data FOLDER --name NAME` trains on it.",
        elem_classes="note",
    )

    def choose(event: gr.SelectData, key: str | None) -> tuple[object, ...]:
        with on_page():
            row = next(
                (row for row in _rows(history, key) if [str(row.id)] == list(map(str, event.row_value[:1]))), None
            )
        return (row.id, _summary(row), row.correction) if row else (None, "", "")

    def correct(key: str | None, row: int | None, name: str) -> tuple[object, ...]:
        with on_page():
            stored = history.correct(key or "", _chosen(row), name)
            return _table(history, key), stored

    def remove(key: str | None, row: int | None) -> tuple[object, ...]:
        with on_page():
            history.delete(key or "", _chosen(row))
            return _table(history, key), None, "", ""

    def remove_all(key: str | None) -> tuple[object, ...]:
        with on_page():
            history.clear(key or "")
            return _table(history, key), None, "", "", gr.Button(visible=False)

    def pack(key: str | None) -> gr.DownloadButton:
        with on_page():
            packed = history.export_corrections(key or "")
            path = Path(get_upload_folder()) / secrets.token_hex() / "corrections.zip"  # where Gradio tidies up
            path.parent.mkdir(parents=True)
            path.write_bytes(packed)
            return gr.DownloadButton(value=str(path), interactive=True)

    def refresh(key: str | None) -> tuple[object, ...]:
        with on_page():
            return _table(history, key), gr.Button(visible=False)

    tab.select(refresh, key, [table, really], **PRIVATE)
    table.select(choose, key, [chosen, shown, name], **PRIVATE)
    save.click(correct, [key, chosen, name], [table, name], **PRIVATE)
    delete.click(remove, [key, chosen], [table, chosen, shown, name], **PRIVATE)
    clear.click(lambda: gr.Button(visible=True), None, really, **PRIVATE)
    really.click(remove_all, key, [table, chosen, shown, name, really], **PRIVATE)
    export.click(pack, key, download, **PRIVATE)


def _chosen(row: int | None) -> int:
    if row is None:
        raise UserError("Nothing is chosen: click a row of the table first.")
    return row


def _rows(history: History, key: str | None) -> list[HistoryRow]:
    return history.rows(key) if key and is_key(key) else []


def _table(history: History, key: str | None) -> list[list[object]]:
    return [
        [
            row.id,
            _picture(row.thumbnail),
            _named(row),
            row.model,
            row.time.replace("T", " ").removesuffix("+00:00"),
            row.correction,
        ]
        for row in _rows(history, key)
    ]


def _picture(thumbnail: bytes) -> str:
    """A JPEG within the page: no file that outlives the row."""
    return f'<img alt="" src="{data_url(thumbnail)}">'


def _named(row: HistoryRow) -> str:
    first = row.result["species"][0]
    return f"{first['name']} ({first['probability']:.0%})" if row.result["known"] else f"unknown ({first['name']}?)"


def _summary(row: HistoryRow) -> str:
    return f"No. {row.id}: {_named(row)}, by {row.model}"
