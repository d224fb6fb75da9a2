"""The Case study tab: many photos through two models."""

import time
from collections.abc import Iterator

import gradio as gr
from gradio.blocks import Block

from core.data.images import MAX_BYTES
from core.data.photo_sets import MAX_PHOTOS, open_photo_set
from core.evaluation.study import (
    EVERYTHING,
    FILTERS,
    OWN_LABELS,
    PAIR,
    Study,
    StudyRow,
    check_models,
    choose_candidates,
    examine,
)
from core.evaluation.study_report import accuracy_table, photo_table, save
from core.taxonomy.categories import super_categories
from core.zoo.registry import available_models
from demo.components.downloads import new_download_folder
from demo.components.errors import on_page
from demo.components.events import FRESH, HEAVY, PRIVATE
from demo.components.models import ModelPool
from demo.components.templates import render
from demo.components.uploads import uploaded

UPDATE_SECONDS = 0.5  # between two updates of the progress
NEWEST_ROWS = 8  # shown while the study runs
PAGE_ROWS = 50  # shown per page afterwards
STATE_SECONDS = 24 * 3600  # after which a session's study is deleted from memory
HINT = (
    f"Up to {MAX_PHOTOS} photos, or one ZIP of them; at most {MAX_BYTES // 2**20} MB per file. True names are optional: "
    "class folders in the ZIP, or a CSV with the columns image_path and label among the files."
)


class StudyTab:
    """The tab, laid out inside the current `gr.Blocks`, `page`. `photos` holds its uploads."""

    def __init__(self, models: ModelPool, page: gr.Blocks) -> None:
        self._models = models
        self.study = gr.State(None, time_to_live=STATE_SECONDS)
        with gr.Row(equal_height=False):
            self._lay_out_inputs()
        self._lay_out_results()
        self._connect(page)

    def _lay_out_inputs(self) -> None:
        ready = available_models()
        first, second = [name if name in ready else None for name in PAIR]
        with gr.Column(min_width=320):
            self.photos = gr.File(file_count="multiple", label="Photos, or one ZIP", height=180, elem_id="study-photos")
            gr.Markdown(HINT, elem_classes="note")
        with gr.Column(min_width=320):
            with gr.Row():
                self.model_a = gr.Dropdown(ready, value=first, label="Model A")
                self.model_b = gr.Dropdown(ready, value=second, label="Model B")
            choices = [("everything the model knows", EVERYTHING), ("the labels of the photos", OWN_LABELS)]
            self.candidates = gr.Dropdown(
                [*choices, *((name, name) for name in super_categories())], value=EVERYTHING, label="Candidates"
            )
            self.ask = gr.Checkbox(label="Ask for free answers, too (takes several times as long)")
            with gr.Row():
                self.start = gr.Button("Compare the models", variant="primary", elem_id="study-start")
                self.stop = gr.Button("Stop", elem_id="study-stop")

    def _lay_out_results(self) -> None:
        self.status = gr.Markdown("Choose photos, then press **Compare the models**.", elem_id="study-status")
        self.accuracy = gr.HTML(elem_id="study-accuracy", js_on_load=None)
        self.files = gr.File(
            label="Download", file_count="multiple", interactive=False, visible=False, elem_id="study-files"
        )
        with gr.Row():
            self.filter = gr.Radio(list(FILTERS), value="all", label="Show", elem_id="study-filter")
            self.number = gr.Number(
                value=1, minimum=1, precision=0, label=f"Page ({PAGE_ROWS} photos each)", scale=0, min_width=180
            )
        self.table = gr.HTML(elem_id="study-table", js_on_load=None)

    def _connect(self, page: gr.Blocks) -> None:
        results = [self.status, self.study, self.accuracy, self.files, self.table, self.number]
        inputs: set[Block] = {
            self.photos,
            self.model_a,
            self.model_b,
            self.candidates,
            self.ask,
            self.filter,
        }
        event = self.start.click(self.run, inputs, results, **PRIVATE, **HEAVY)
        self.stop.click(
            self.stopped, {self.study, self.filter}, results, cancels=[event], api_visibility="private", queue=False
        )
        self.filter.input(
            self.show_first_page, {self.study, self.filter}, [self.table, self.number], api_visibility="private"
        )
        self.number.input(self.show_page, {self.study, self.filter, self.number}, self.table, **PRIVATE)
        models = [self.model_a, self.model_b]
        page.load(lambda: dict.fromkeys(models, gr.Dropdown(available_models())), None, models, **FRESH)

    def run(self, values: dict) -> Iterator[dict]:
        """Put the uploaded photos through both models."""
        with on_page():
            names = check_models([values[self.model_a] or "", values[self.model_b] or ""])
            choice = values[self.candidates]
            with open_photo_set([uploaded(upload) for upload in values[self.photos] or []]) as items:
                labels, group = choose_candidates(items, choice)
                yield {
                    self.status: "Loading the models ...",
                    self.study: None,
                    self.accuracy: "",
                    self.files: gr.File(value=None, visible=False),
                    self.table: "",
                    self.number: 1,
                }
                pair = [self._models.prepare(name, labels, group) for name in names]
                study = Study(names, choice, len(items))
                yield {self.status: study.progress(), self.study: study}
                shown = time.monotonic()
                for row in examine(items, pair, values[self.ask]):
                    study.rows.append(row)  # the session holds this object: if stopped, it keeps what is done
                    if time.monotonic() - shown >= UPDATE_SECONDS:
                        shown = time.monotonic()
                        yield {
                            self.status: study.progress(),
                            self.accuracy: accuracy_table(study),
                            self.table: _newest(study),
                        }
            yield {self.status: f"Done: {study.progress()}", **self._finished(study, values[self.filter])}

    def stopped(self, values: dict) -> dict:
        """Show what was done before Stop was pressed."""
        study: Study | None = values[self.study]
        if study is None:
            return {self.status: "Stopped."}
        status = f"Stopped: {len(study.rows)} of {study.total} photos."
        return {self.status: status, **self._finished(study, values[self.filter])}

    def _finished(self, study: Study, only: str) -> dict:
        saved = save(study, new_download_folder()) if study.rows else []
        return {
            self.study: study,
            self.accuracy: accuracy_table(study),
            self.files: gr.File(value=[str(path) for path in saved], visible=bool(saved)),
            self.table: page_of(study, only, 1),
            self.number: 1,
        }

    def show_first_page(self, values: dict) -> dict:
        """Show the first page of the photos that the chosen filter lets through."""
        return {self.table: page_of(values[self.study], values[self.filter], 1), self.number: 1}

    def show_page(self, values: dict) -> str:
        """Return the chosen page."""
        return page_of(values[self.study], values[self.filter], values[self.number])


def _newest(study: Study) -> str:
    rows = study.rows[: -NEWEST_ROWS - 1 : -1]
    return _page_html("The newest first:", photo_table(study.models, rows))


def page_of(study: Study | None, only: str, number: float | None) -> str:
    """Return one page of the photos that a filter lets through, as HTML."""
    if study is None:
        return ""
    rows: list[StudyRow] = list(filter(FILTERS[only], list(study.rows)))
    first = PAGE_ROWS * (max(1, int(number or 1)) - 1)
    part = rows[first : first + PAGE_ROWS]
    if not part:
        return _page_html(f"No photos here: {len(rows)} in all.")
    return _page_html(f"{first + 1} to {first + len(part)} of {len(rows)} photos", photo_table(study.models, part))


def _page_html(heading: str, table: str = "") -> str:
    return render("study_page.html", heading=heading, table=table)
