"""The Diagnose tab: which of the three capabilities that naming a photo takes a model has."""

import json
import tempfile
import time
from collections.abc import Generator
from html import escape
from pathlib import Path

import gradio as gr

from core.data.images import MAX_BYTES
from core.data.photo_sets import MAX_PHOTOS, open_photo_set
from core.errors import UserError
from core.evaluation.capabilities import diagnose
from core.evaluation.capability_report import Diagnosis, Row
from core.evaluation.linear_probe import FOLDS
from core.progress import Progress
from core.storage.files import write_atomically
from demo.components.errors import on_page
from demo.components.events import FRESH, HEAVY, PRIVATE
from demo.components.models import ModelPool, default_choice, ready_models
from demo.components.uploads import uploaded

TICK = 0.5  # seconds between two looks at the progress
HINT = (
    f"Up to {MAX_PHOTOS} photos with true names, {FOLDS} or more of a category: a ZIP of class folders, or files with a "
    f"CSV (columns image_path and label); at most {MAX_BYTES // 2**20} MB a file."
)
ABOUT = (
    "Naming a photo takes three things: **object information** (is it still there behind the language model?), "
    "**category knowledge** (can it tell descriptions of the categories apart?) and their **alignment** (do photo and "
    "name lie together?). The first two are measured by linear probes: classifiers on the model's features, always "
    "tested on photos and wordings that they were not fitted to."
)
CAUTION = (
    "The published numbers were measured with other photos and categories: compare how they relate to each other, not "
    "their size. Retrieval asks for the right name among the categories given here."
)
HEAD = ("", "features", "measured here", "chance", "on", "published (arXiv 2501.15140)")


def build(models: ModelPool, page: gr.Blocks) -> None:
    """Lay out the tab inside the current `gr.Blocks`, `page`."""
    downloads = tempfile.TemporaryDirectory(prefix="finedefics-")  # gone when the process ends
    ready = ready_models()
    gr.Markdown(ABOUT)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            photos = gr.File(file_count="multiple", label="Photos, or one ZIP", height=180, elem_id="diagnose-photos")
            gr.Markdown(HINT, elem_classes="note")
        with gr.Column(min_width=320):
            model = gr.Dropdown(ready, value=default_choice(ready), label="Model")
            with gr.Row():
                start = gr.Button("Diagnose", variant="primary", elem_id="diagnose-start")
                cancel = gr.Button("Cancel", elem_id="diagnose-cancel")
    status = gr.Markdown("Choose photos, then press **Diagnose**.", elem_id="diagnose-status")
    shown = gr.HTML(elem_id="diagnosis", js_on_load=None)
    files = gr.File(label="Download", file_count="multiple", interactive=False, visible=False, elem_id="diagnose-files")

    def run(uploads: list | None, name: str | None) -> Generator[tuple[object, ...]]:
        with on_page():
            if not name:
                raise UserError("There is no model: choose one first.")
            with open_photo_set([uploaded(upload) for upload in uploads or []]) as items:
                yield "Loading the model ...", "", gr.File(value=None, visible=False)
                recogniser, _ = models.prepare(name, None, None)
                diagnosis = yield from _progress_of(diagnose(items, recogniser))
                saved = _saved(diagnosis, Path(tempfile.mkdtemp(dir=downloads.name)))
                yield "Done.", as_html(diagnosis), gr.File(value=saved, visible=True)

    event = start.click(
        run,
        [photos, model],
        [status, shown, files],
        **PRIVATE,
        **HEAVY,
    )
    cancel.click(lambda: "Cancelled.", None, status, cancels=[event], api_visibility="private", queue=False)
    page.load(lambda: gr.Dropdown(ready_models()), None, model, **FRESH)


def _progress_of(steps: Generator[Progress, None, Diagnosis]) -> Generator[tuple[object, ...], None, Diagnosis]:
    """Show the progress of a diagnosis every `TICK` seconds at most, and return the diagnosis."""
    shown = 0.0
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            diagnosis: Diagnosis = end.value
            return diagnosis
        if time.monotonic() - shown >= TICK:
            shown = time.monotonic()
            yield progress.message, gr.skip(), gr.skip()


def _saved(diagnosis: Diagnosis, folder: Path) -> list[str]:
    """The files diagnosis.json and diagnosis.csv in a folder."""
    content = {
        "diagnosis.json": json.dumps(diagnosis.as_dict(), indent=1, ensure_ascii=False),
        "diagnosis.csv": diagnosis.as_csv(),
    }
    for name, text in content.items():
        write_atomically(folder / name, text.encode())
    return [str(folder / name) for name in content]


def as_html(diagnosis: Diagnosis) -> str:
    """The reading and the table, everything escaped."""
    lines, capability = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in HEAD)}</tr>"], ""
    for row in diagnosis.rows():
        first = f"<b>{escape(row.capability)}</b>" if row.capability != capability else ""
        capability = row.capability
        lines.append(f"<tr><td>{first}</td>{_cells(row)}</tr>")
    return (
        f'<p class="reading">{escape(diagnosis.reading())}</p><table>{"".join(lines)}</table>'
        f'<p class="note">{escape(diagnosis.measured())} {escape(CAUTION)}</p>'
    )


def _cells(row: Row) -> str:
    published = "" if row.published is None else f"{row.published_model} {row.published:.2%}"
    number, text = '<td class="number">', "<td>"
    cells = [
        (text, f"{row.part}: {row.measure}"),
        (number if not row.note else text, row.note or row.measured()),
        (number, "" if row.chance is None else row.shown(row.chance)),
        (text, row.on()),
        (number, published),
    ]
    return "".join(f"{tag}{escape(cell)}</td>" for tag, cell in cells)
