"""User errors as the page shows them."""

import html
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from core.errors import UserError


@contextmanager
def on_page() -> Iterator[None]:
    """A `UserError` raised inside becomes the page's error message, its text inert."""
    try:
        yield
    except UserError as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from error
