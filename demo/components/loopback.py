"""Whether a page can be reached from its own machine only."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from core.loopback import is_loopback

if TYPE_CHECKING:
    import gradio as gr


def is_private(page: "gr.Blocks", request: "gr.Request") -> bool:
    """Return True if a page can be reached from this machine only, and was asked for by an address of this machine.

    Another address leads here if its owner says so (DNS rebinding): a page of that owner then asks in the user's name.
    """
    asked_for = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    return not page.share and is_loopback(getattr(page, "server_name", "")) and is_loopback(asked_for)
