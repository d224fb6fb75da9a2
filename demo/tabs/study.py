"""The Case study tab: many photos through two models."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from core.data.images import MAX_BYTES
from core.data.photo_sets import MAX_PHOTOS, open_photo_set
from core.evaluation.study import (
    EVERYTHING,
    FILTERS,
    OWN_LABELS,
    PAIR,
    Row,
    Study,
    check_models,
    choose_candidates,
    examine,
)
from core.evaluation.study_report import accuracy_table, photo_table, save
from core.taxonomy.categories import super_categories
from demo.components.errors import on_page
from demo.components.events import FRESH, HEAVY, PRIVATE
from demo.components.models import ModelPool, ready_models
from demo.components.uploads import uploaded

TICK = 0.5  # seconds between two looks at the progress
NEWEST = 8  # rows shown while it runs
PAGE = 50  # rows shown at once afterwards
HINT = (
    f"Up to {MAX_PHOTOS} photos, or one ZIP of them; at most {MAX_BYTES // 2**20} MB a file. True names are optional: "
    "class folders in the ZIP, or a CSV with the columns image_path and label among the files."
)


def build(models: ModelPool, page: gr.Blocks) -> gr.File:
    """Lay out the tab inside the current `gr.Blocks`, `page`. Returns the component that holds its uploads."""
    downloads = tempfile.TemporaryDirectory(prefix="finedefics-")  # gone when the process ends
    ready = ready_models()
    first, second = [name if name in ready else None for name in PAIR]
    state = gr.State()
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            photos = gr.File(file_count="multiple", label="Photos, or one ZIP", height=180, elem_id="study-photos")
            gr.Markdown(HINT, elem_classes="note")
        with gr.Column(min_width=320):
            with gr.Row():
                model_a = gr.Dropdown(ready, value=first, label="Model A")
                model_b = gr.Dropdown(ready, value=second, label="Model B")
            choices = [("everything the model knows", EVERYTHING), ("the labels of the photos", OWN_LABELS)]
            candidates = gr.Dropdown(
                [*choices, *((name, name) for name in super_categories())], value=EVERYTHING, label="Candidates"
            )
            ask = gr.Checkbox(label="Ask for free answers, too (takes several times as long)")
            with gr.Row():
                start = gr.Button("Compare the models", variant="primary", elem_id="study-start")
                stop = gr.Button("Stop", elem_id="study-stop")
    status = gr.Markdown("Choose photos, then press **Compare the models**.", elem_id="study-status")
    accuracy = gr.HTML(elem_id="study-accuracy", js_on_load=None)
    files = gr.File(label="Download", file_count="multiple", interactive=False, visible=False, elem_id="study-files")
    with gr.Row():
        shown = gr.Radio(list(FILTERS), value="all", label="Show", elem_id="study-filter")
        number = gr.Number(value=1, minimum=1, precision=0, label=f"Page ({PAGE} photos each)", scale=0, min_width=180)
    table = gr.HTML(elem_id="study-table", js_on_load=None)

    def finished(study: Study, only: str) -> tuple[object, ...]:
        saved = save(study, Path(tempfile.mkdtemp(dir=downloads.name))) if study.rows else []
        return (
            study,
            accuracy_table(study),
            gr.File(value=[str(path) for path in saved], visible=bool(saved)),
            _page(study, only, 1),
            1,
        )

    def run(
        uploads: list | None, name_a: str | None, name_b: str | None, choice: str, ask: bool, only: str
    ) -> Iterator[tuple[object, ...]]:
        with on_page():
            names = check_models([name_a or "", name_b or ""])
            with open_photo_set([uploaded(upload) for upload in uploads or []]) as items:
                labels, group = choose_candidates(items, choice)
                yield "Loading the models ...", None, "", gr.File(value=None, visible=False), "", 1
                pair = [models.prepare(name, labels, group) for name in names]
                study = Study(names, choice, len(items))
                yield study.progress(), study, *[gr.skip()] * 4
                said = time.monotonic()
                for row in examine(items, pair, ask):
                    study.rows.append(row)  # the session has this very object: nothing is lost if it is stopped here
                    if time.monotonic() - said >= TICK:
                        said = time.monotonic()
                        yield study.progress(), gr.skip(), accuracy_table(study), gr.skip(), _newest(study), gr.skip()
            yield f"Done: {study.progress()}", *finished(study, only)

    def stopped(study: Study | None, only: str) -> tuple[object, ...]:
        if study is None:
            return "Stopped.", *[gr.skip()] * 5
        return f"Stopped: {len(study.rows)} of {study.total} photos.", *finished(study, only)

    results = [status, state, accuracy, files, table, number]
    event = start.click(
        run,
        [photos, model_a, model_b, candidates, ask, shown],
        results,
        **PRIVATE,
        **HEAVY,
    )
    stop.click(stopped, [state, shown], results, cancels=[event], api_visibility="private", queue=False)
    shown.input(
        lambda study, only: (_page(study, only, 1), 1), [state, shown], [table, number], api_visibility="private"
    )
    number.input(_page, [state, shown, number], table, **PRIVATE)
    page.load(lambda: [gr.Dropdown(ready_models())] * 2, None, [model_a, model_b], **FRESH)
    return photos


def _newest(study: Study) -> str:
    return f"<p>The newest first:</p>{photo_table(study.models, study.rows[: -NEWEST - 1 : -1])}"


def _page(study: Study | None, only: str, number: float | None) -> str:
    """One page of the photos that a filter lets through, as HTML."""
    if study is None:
        return ""
    rows: list[Row] = list(filter(FILTERS[only], list(study.rows)))
    first = PAGE * (max(1, int(number or 1)) - 1)
    part = rows[first : first + PAGE]
    if not part:
        return f"<p>No photos here: {len(rows)} in all.</p>"
    return f"<p>{first + 1} to {first + len(part)} of {len(rows)} photos</p>{photo_table(study.models, part)}"
