"""The panel that downloads models, on a page of this machine alone."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from huggingface_hub import constants

from core.errors import UserError
from core.progress import Progress, map_progress
from core.zoo.download import download
from core.zoo.registry import ModelEntry, availability, zoo
from demo.components.errors import on_page
from demo.components.events import FRESH, PRIVATE
from demo.components.loopback import is_private

NOT_HERE = "Models are downloaded only from a page that its own machine alone can reach: run the command in a terminal."
STOPPED = "Stopped. What is here already is kept: Download goes on from there."
# Beside everything else, and a child process does the work; its inputs arrive as the browser sends them.
# A browser would ignore a click while it takes the event for running, as it does for a while after Stop.
ASIDE: Any = {"concurrency_limit": None, "preprocess": False, "trigger_mode": "multiple"}


def downloadable() -> dict[str, ModelEntry]:
    """Return the models by name that run here as they are on the hub: none with pickled weights is among them."""
    return {name: entry for name, entry in zoo().items() if entry.hub and entry.hub.is_native and not entry.row.server}


def consent(entry: ModelEntry) -> str:
    """Return what is ticked before a model is downloaded: its name, its licence, and the page of that."""
    assert entry.hub is not None
    return f"I accept the licence of {entry.name}: {entry.hub.terms}"


class DownloadPanel:
    """The panel, laid out inside the current `gr.Blocks`, `page`; `table` gets `rows()` at the end of a download."""

    def __init__(self, page: gr.Blocks, table: gr.Dataframe, rows: Callable[[], list[list[str]]]) -> None:
        self._page, self._table, self._rows = page, table, rows
        with gr.Row():
            self.name = gr.Dropdown(list(downloadable()), value=None, label="Download a model", elem_id="to-download")
            self.start = gr.Button("Download")
            self.stop = gr.Button("Stop the download")
        self.about = gr.Markdown(elem_id="about-download")
        self.licence = gr.CheckboxGroup([], label="Licence", elem_id="licence", visible=False)
        self.status = gr.Textbox(label="Download", interactive=False, elem_id="downloading")
        self.name.change(self.describe, self.name, [self.about, self.licence], **PRIVATE)
        outputs = [self.status, self._table]
        event = self.start.click(self.run, {self.name, self.licence}, outputs, **PRIVATE, **ASIDE)
        self.stop.click(lambda: STOPPED, None, self.status, cancels=[event], **FRESH)

    def describe(self, name: str | None) -> dict:
        """Show the size, the free disk and the licence of the chosen model; nothing is accepted yet."""
        entry = downloadable().get(name or "")
        if entry is None or entry.hub is None:
            return {self.about: "", self.licence: gr.CheckboxGroup([], value=[], visible=False)}
        about = (
            f"{entry.hub.download} from [{entry.hub.repository}]({entry.hub.page}); {_free_disk()}. "
            f"Licence: [{entry.hub.licence}]({entry.hub.terms_page})."
        )
        return {self.about: about, self.licence: gr.CheckboxGroup([consent(entry)], value=[], visible=True)}

    def run(self, values: dict, request: gr.Request) -> Iterator[dict]:
        """Download the chosen model, once its licence is accepted, and show how far that is."""
        with on_page():
            if not is_private(self._page, request):
                raise UserError(NOT_HERE)
            entry = downloadable().get(str(values[self.name]))
            if entry is None:
                raise UserError("There is no model that can be downloaded: choose one of the list.")
            if values[self.licence] != [consent(entry)]:
                raise UserError(f"The licence of {entry.name} is not accepted: tick it first.")
        try:
            commit = yield from map_progress(download(entry), self._line)
        except UserError as error:  # shown in place of the progress
            yield {self.status: str(error)}
            return
        done = f"{entry.name} is here, at commit {commit}: {availability(entry)}"
        yield {self.status: done, self._table: self._rows()}

    def _line(self, progress: Progress) -> dict:
        return {self.status: f"{progress.fraction:.0%}: {progress.message}"}


def _free_disk() -> str:
    """Return how much room there is in the hub's cache, which need not exist yet."""
    cache = Path(constants.HF_HUB_CACHE).absolute()
    nearest = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    return f"{shutil.disk_usage(nearest).free / 1e9:.1f} GB are free in {cache}"
