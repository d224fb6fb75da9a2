"""User errors as the page shows them."""

import html
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from core.errors import UserError


@contextmanager
def on_page() -> Iterator[None]:
    """Turn a `UserError` raised inside into the page's error message, with its text escaped.

    Quotes stay as they are: the page shows the message as an element's content, and a client of the HTTP API as text.
    """
    try:
        yield
    except UserError as error:
        raise gr.Error(html.escape(str(error), quote=False), print_exception=False) from error
