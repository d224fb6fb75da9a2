"""One tab alone on a page that is served, for tests that send its events as a browser does."""

import time
from collections.abc import Callable

import gradio as gr
from gradio_client import Client


class ServedTab:
    """The tab that `build` lays out. `looked` are the photos that the stand-in for a model has looked at."""

    def __init__(self, build: Callable[[gr.Blocks], object], looked: list[str]) -> None:
        with gr.Blocks() as self.page:
            build(self.page)
        for fn in self.page.fns.values():
            assert fn.api_visibility == "private"
            fn.api_visibility = "undocumented"  # the client calls no private events, as a browser does
        _, self.url, _ = self.page.queue().launch(prevent_thread_lock=True, quiet=True, show_error=True)
        self.client = Client(self.url, verbose=False)
        self.looked = looked

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


def event(client: Client, place: int) -> int:
    """The number of the `place`-th event of the tab."""
    return [fn["id"] for fn in client.config["dependencies"] if fn["backend_fn"]][place]


def text_of(value):
    """The value of an output, whether it came alone or as an update."""
    return value["value"] if isinstance(value, dict) else value
