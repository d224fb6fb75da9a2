"""One tab alone on a page that is served, for tests that trigger its events as a browser does."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.blocks import Block
from gradio_client import Client
from gradio_client.client import Job


@contextmanager
def serving(page: gr.Blocks) -> Iterator[str]:
    """Serve the whole page as the app does; the address."""
    from demo.page import launch

    _, url, _ = launch(page, "127.0.0.1", None, block=False)
    yield url
    page.close()


def event_of(page: gr.Blocks, component: Block, trigger: str = "click") -> BlockFunction:
    """The event of a page that a component triggers, and that runs a function."""
    return next(fn for fn in page.fns.values() if fn.fn and (component._id, trigger) in fn.targets)


def data_of(event: BlockFunction, values: dict[Block, Any]) -> list[Any]:
    """The values of an event's inputs in the order in which they are sent; the server itself has those of states."""
    return [values[component] for component in event.inputs if not component.stateful]


class ServedTab:
    """The tab that `build` returns. `looked` are the photos that the stand-in for a model has looked at."""

    def __init__(self, build: Callable[[gr.Blocks], Any], looked: list[str]) -> None:
        with gr.Blocks() as self.page:
            self.tab = build(self.page)
        for fn in self.page.fns.values():
            assert fn.api_visibility == "private"
            fn.api_visibility = "undocumented"  # the client calls no private events, as a browser does
        _, self.url, _ = self.page.queue().launch(prevent_thread_lock=True, quiet=True, show_error=True)
        self.client = Client(self.url, verbose=False)
        self.looked = looked

    def submit(self, component: Block, values: dict, trigger: str = "click", client: Client | None = None) -> Job:
        """Trigger an event with the values of its inputs."""
        event = event_of(self.page, component, trigger)
        return (client or self.client).submit(*data_of(event, values), fn_index=event._id)

    def result(self, component: Block, values: dict, trigger: str = "click", client: Client | None = None) -> dict:
        """Trigger an event, wait for its end, and return its last outputs by component."""
        output = self.submit(component, values, trigger, client).result(timeout=60)
        return self.outputs(component, output, trigger)

    def outputs(self, component: Block, output: Any, trigger: str = "click") -> dict:
        """What the client got of an event, by component."""
        shown = [block for block in event_of(self.page, component, trigger).outputs if not block.stateful]
        return dict(zip(shown, [output] if len(shown) == 1 else output, strict=True))

    def wait_for(self, photos: int) -> None:
        """Until that many photos were looked at, or for half a minute."""
        deadline = time.monotonic() + 30
        while len(self.looked) < photos and time.monotonic() < deadline:
            time.sleep(0.05)

    def at_rest(self) -> bool:
        """Whether no further photo is looked at, a tick later."""
        time.sleep(1)  # a tick may still be under way
        done = len(self.looked)
        time.sleep(0.5)
        return len(self.looked) == done


def text_of(value):
    """The value of an output, whether it came alone or as an update."""
    return value["value"] if isinstance(value, dict) else value
