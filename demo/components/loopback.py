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
    own = is_loopback(getattr(page, "server_name", "")) and names_this_machine(f"//{request.headers.get('host', '')}")
    return not page.share and own


def names_this_machine(address: str) -> bool:
    """Return True if an address, such as "http://localhost:7860" or "//127.0.0.1", is one of this machine."""
    try:
        return is_loopback(urlsplit(address).hostname or "")
    except ValueError:  # no address at all
        return False
