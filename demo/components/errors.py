"""User errors as the page shows them."""

import html
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from core.errors import UserError


@contextmanager
def on_page() -> Iterator[None]:
    """Turn a `UserError` raised inside into the page's error message, with its text escaped."""
    try:
        yield
    except UserError as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from error
