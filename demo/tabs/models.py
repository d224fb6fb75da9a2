"""The Models tab: which models there are, whether each can run here, how to get it, and loading one in advance.

Where whoever started the app allows it, models are downloaded from here, too.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from threading import Event, Thread
from typing import Any

import gradio as gr

from core.errors import UserError
from core.zoo.hub import UNCALIBRATED
from core.zoo.registry import ModelEntry, availability, zoo
from demo.components.download_panel import DownloadPanel
from demo.components.errors import on_page
from demo.components.events import FRESH, HEAVY, PRIVATE
from demo.components.models import ModelPool

HEADERS = ["model", "state", "size", "licence", "memory", "route", "needs", "how to get it"]
WIDTHS: Any = ["140px", "310px", "150px", "140px", "180px", "220px", "120px", "270px"]  # a narrow window scrolls
WITH_THE_APP = "comes with the app, or was trained here"
NO_DOWNLOADS = (
    "Nothing is ever downloaded from here: run the command in a terminal, then open the page again; or start the app "
    "with --allow-downloads."
)
ONLY_CHOSEN = "Nothing is downloaded but what is chosen above; open the page again to use it."
NOTE = (
    "Models of the hub "
    f"take their memory when they are loaded, and keep it. {UNCALIBRATED} A contrastive model ranks them by similarity "
    "with the photo. "
    "What is not verified was read nowhere; where the rest was read is in assets/models.yaml."
)
STOPPED = (
    "Stopped. Reading weights cannot be interrupted: it goes on in the background, other models wait for it, and then "
    "the weights are discarded."
)
POLL_SECONDS = 0.5  # between two updates while a model is loaded


class ModelsTab:
    """The tab, laid out inside the current `gr.Blocks`; the table is updated whenever `tab` is opened.

    Without `downloads` there is nothing on the page, nor behind it, that starts one.
    """

    def __init__(self, models: ModelPool, tab: gr.Tab, page: gr.Blocks, downloads: bool = False) -> None:
        self._models = models
        self.table = gr.Dataframe(
            headers=HEADERS,
            datatype="str",
            column_widths=WIDTHS,
            label="Models",
            interactive=False,
            wrap=True,
            elem_id="models",
        )
        with gr.Row():
            names = [name for name, entry in zoo().items() if entry.on_pages]
            self.name = gr.Dropdown(names, value=None, label="Load a model in advance", elem_id="to-load")
            self.load = gr.Button("Load")
            self.stop = gr.Button("Stop loading")
        self.status = gr.Textbox(label="Loading", interactive=False, elem_id="loading")
        if downloads:
            self.download = DownloadPanel(page, self.table, self.rows)
        gr.Markdown(f"{ONLY_CHOSEN if downloads else NO_DOWNLOADS} {NOTE}", elem_classes="note")
        tab.select(self.rows, None, self.table, **PRIVATE)
        event = self.load.click(self.run, self.name, [self.status, self.table], **PRIVATE, **HEAVY)
        self.stop.click(lambda: STOPPED, None, self.status, cancels=[event], **FRESH)

    def run(self, name: str | None) -> Iterator[dict]:
        """Load a model, and show for how long it has been loading."""
        with on_page():
            if name is None:
                raise UserError("There is no model: choose one first.")
            try:
                for line in loading(self._models, name):
                    yield {self.status: line}
            except UserError as error:  # shown in place of "Loading ..."
                yield {self.status: str(error), self.table: self.rows()}
                return
        yield {self.status: f"{name} is loaded.", self.table: self.rows()}

    def rows(self) -> list[list[str]]:
        """Return the rows of the table."""
        return [self._row(entry) for entry in zoo().values()]

    def _row(self, entry: ModelEntry) -> list[str]:
        state = "ready, loaded" if entry.name in self._models else availability(entry)
        route, needs = entry.row.route, ", ".join(entry.row.needs)
        if entry.hub is None:
            return [entry.name, state, entry.size, "see its model card", "", route, needs, WITH_THE_APP]
        server = entry.row.server
        command = server.command if server else entry.hub.command
        return [entry.name, state, entry.size, str(entry.hub.licence), entry.hub.needs, route, needs, command]


def loading(models: ModelPool, name: str) -> Iterator[str]:
    """Load a model in a thread; yield the current step and the seconds so far. Raises `UserError` if it fails.

    Closing the iterator does not wait: the thread gives up after the step it is in.
    """
    lines, given_up = [f"Loading {name}"], Event()
    done: Future[None] = Future()
    started = time.monotonic()

    def progress(line: str) -> None:
        if given_up.is_set():
            raise UserError("The loading was stopped.")
        lines.append(line)

    def load() -> None:
        try:
            models.prepare(name, None, None, progress)
            done.set_result(None)
        except BaseException as error:  # raised again by `done.result()`
            done.set_exception(error)

    Thread(target=load, name="loading", daemon=True).start()  # daemon: quitting the app does not wait for it either
    try:
        while not done.done():
            yield f"{lines[-1]} ... {time.monotonic() - started:.0f} s"
            wait([done], POLL_SECONDS)
    finally:
        given_up.set()
    done.result()
