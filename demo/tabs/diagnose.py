"""The Diagnose tab: which of the three capabilities behind naming a photo a model has."""

import json
import time
from collections.abc import Generator
from pathlib import Path

import gradio as gr

from core.data.images import MAX_BYTES
from core.data.photo_sets import MAX_PHOTOS, open_photo_set
from core.errors import UserError
from core.evaluation.capabilities import diagnose
from core.evaluation.capability_report import as_csv, as_dict, provenance, reading, table
from core.evaluation.diagnosis import Diagnosis
from core.evaluation.linear_probe import FOLDS
from core.progress import Progress, map_progress
from core.storage.files import write_atomically
from core.zoo.registry import available_models
from demo.components.downloads import new_download_folder
from demo.components.errors import on_page
from demo.components.events import FRESH, HEAVY, PRIVATE
from demo.components.models import ModelPool, default_choice
from demo.components.templates import render
from demo.components.uploads import uploaded

UPDATE_SECONDS = 0.5  # between two updates of the progress
HINT = (
    f"Up to {MAX_PHOTOS} photos with true names, at least {FOLDS} per category: a ZIP of class folders, or files with a "
    f"CSV (columns image_path and label); at most {MAX_BYTES // 2**20} MB per file."
)
ABOUT = (
    "Naming a photo takes three things: **object information** (is it still there behind the language model?), "
    "**category knowledge** (can the model tell descriptions of the categories apart?) and their **alignment** (are the "
    "photo and its name close to each other?). The first two are measured by linear probes: classifiers on the model's "
    "features, always tested on photos and wordings that they were not fitted to."
)
CAUTION = (
    "The published numbers were measured on other photos and categories: compare how they relate to each other, not "
    "their size. Retrieval asks for the right name among the categories given here."
)
HEAD = ("", "features", "measured here", "chance", "on", "published (arXiv 2501.15140)")


class DiagnoseTab:
    """The tab, laid out inside the current `gr.Blocks`, `page`."""

    def __init__(self, models: ModelPool, page: gr.Blocks) -> None:
        self._models = models
        self._lay_out()
        event = self.start.click(
            self.run, {self.photos, self.model}, [self.status, self.table, self.files], **PRIVATE, **HEAVY
        )
        self.cancel.click(lambda: "Cancelled.", None, self.status, cancels=[event], **FRESH)
        page.load(lambda: gr.Dropdown(available_models()), None, self.model, **FRESH)

    def _lay_out(self) -> None:
        ready = available_models()
        gr.Markdown(ABOUT)
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                self.photos = gr.File(
                    file_count="multiple", label="Photos, or one ZIP", height=180, elem_id="diagnose-photos"
                )
                gr.Markdown(HINT, elem_classes="note")
            with gr.Column(min_width=320):
                self.model = gr.Dropdown(ready, value=default_choice(ready), label="Model")
                with gr.Row():
                    self.start = gr.Button("Diagnose", variant="primary", elem_id="diagnose-start")
                    self.cancel = gr.Button("Cancel", elem_id="diagnose-cancel")
        self.status = gr.Markdown("Choose photos, then press **Diagnose**.", elem_id="diagnose-status")
        self.table = gr.HTML(elem_id="diagnosis", js_on_load=None)
        self.files = gr.File(
            label="Download", file_count="multiple", interactive=False, visible=False, elem_id="diagnose-files"
        )

    def run(self, values: dict) -> Generator[dict]:
        """Diagnose the chosen model on the uploaded photos."""
        with on_page():
            name = values[self.model]
            if not name:
                raise UserError("There is no model: choose one first.")
            with open_photo_set([uploaded(upload) for upload in values[self.photos] or []]) as items:
                yield {
                    self.status: "Loading the model ...",
                    self.table: "",
                    self.files: gr.File(value=None, visible=False),
                }
                recogniser, _ = self._models.prepare(name, None, None)
                diagnosis = yield from self._with_progress(diagnose(items, recogniser))
                yield {
                    self.status: "Done.",
                    self.table: diagnosis_html(diagnosis),
                    self.files: gr.File(value=_saved(diagnosis, new_download_folder()), visible=True),
                }

    def _with_progress(self, steps: Generator[Progress, None, Diagnosis]) -> Generator[dict, None, Diagnosis]:
        """Show the progress of a diagnosis at most every `UPDATE_SECONDS`, and return the diagnosis."""
        updated = 0.0

        def update(progress: Progress) -> dict | None:
            nonlocal updated
            if time.monotonic() - updated < UPDATE_SECONDS:
                return None
            updated = time.monotonic()
            return {self.status: progress.message}

        return (yield from map_progress(steps, update))


def diagnosis_html(diagnosis: Diagnosis) -> str:
    """Return the reading of a diagnosis and its table."""
    return render(
        "diagnosis.html",
        reading=reading(diagnosis),
        rows=table(diagnosis),
        provenance=provenance(diagnosis),
        head=HEAD,
        caution=CAUTION,
    )


def _saved(diagnosis: Diagnosis, folder: Path) -> list[str]:
    content = {
        "diagnosis.json": json.dumps(as_dict(diagnosis), indent=1, ensure_ascii=False),
        "diagnosis.csv": as_csv(diagnosis),
    }
    for name, text in content.items():
        write_atomically(folder / name, text.encode())
    return [str(folder / name) for name in content]
