"""The Models tab: which models there are, whether each can run here, how to get it, and loading one ahead of use."""

import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import gradio as gr

from core.errors import UserError
from core.zoo.hub import UNCALIBRATED
from core.zoo.registry import ModelEntry, availability, zoo
from demo.components.errors import on_page
from demo.components.events import HEAVY, PRIVATE
from demo.components.models import ModelPool

HEADERS = ["model", "state", "size", "licence", "memory", "how to get it"]
WIDTHS: Any = ["140px", "310px", "150px", "140px", "180px", "270px"]  # on a phone the table scrolls
WITH_THE_APP = "comes with the app, or was trained here"
NOTE = (
    "Nothing is ever downloaded from here: run the command in a terminal, then open the page again. Models of the hub "
    f"take their memory when they are loaded, and keep it. {UNCALIBRATED}"
)
STOPPED = (
    "Stopped. Reading weights cannot be interrupted: it goes on until it is done, other models wait for it, and then it "
    "is thrown away."
)
POLL = 0.5  # seconds between two looks at a model that is being loaded


def build(models: ModelPool, tab: gr.Tab) -> None:
    """Lay out the tab inside the current `gr.Blocks`; the table is made anew whenever the tab is opened."""
    table = gr.Dataframe(
        headers=HEADERS,
        datatype="str",
        column_widths=WIDTHS,
        label="ModelPool",
        interactive=False,
        wrap=True,
        elem_id="models",
    )
    with gr.Row():
        name = gr.Dropdown(list(zoo()), value=None, label="Load a model ahead of its use", elem_id="to-load")
        load = gr.Button("Load")
        stop = gr.Button("Stop loading")
    told = gr.Textbox(label="Loading", interactive=False, elem_id="loading")
    gr.Markdown(NOTE, elem_classes="note")

    def run(name: str | None) -> Iterator[tuple[object, object]]:
        with on_page():
            if name is None:
                raise UserError("There is no model: choose one first.")
            try:
                for line in loading(models, name):
                    yield line, gr.skip()
            except UserError as error:  # where "Loading ..." stood, so that this does not stay
                yield str(error), _table(models)
                return
        yield f"{name} is loaded.", _table(models)

    tab.select(lambda: _table(models), None, table, **PRIVATE)
    event = load.click(run, name, [told, table], **PRIVATE, **HEAVY)
    stop.click(lambda: STOPPED, None, told, cancels=[event], queue=False, **PRIVATE)


def loading(models: ModelPool, name: str) -> Iterator[str]:
    """Load a model in a thread; yields what it does and for how long. Raises `UserError` if it cannot be loaded.

    A caller who closes the iterator waits for nothing: the loading gives up at the end of the step it is in.
    """
    lines, given_up = [f"Loading {name}"], Event()
    failure: list[BaseException] = []
    started = time.monotonic()

    def progress(line: str) -> None:
        if given_up.is_set():
            raise UserError("The loading was stopped.")
        lines.append(line)

    def work() -> None:
        try:
            models.prepare(name, None, None, progress)
        except BaseException as error:  # handed to the caller's thread below
            failure.append(error)

    worker = Thread(target=work, name="loading", daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            yield f"{lines[-1]} ... {time.monotonic() - started:.0f} s"
            worker.join(POLL)
    finally:
        given_up.set()
    if failure:
        raise failure[0]


def _table(models: ModelPool) -> list[list[str]]:
    return [_row(models, entry) for entry in zoo().values()]


def _row(models: ModelPool, entry: ModelEntry) -> list[str]:
    state = "ready, loaded" if entry.name in models else availability(entry)
    if entry.hub is None:
        return [entry.name, state, entry.size, "see its model card", "", WITH_THE_APP]
    return [entry.name, state, entry.size, entry.hub.licence, entry.hub.needs, entry.hub.command]
