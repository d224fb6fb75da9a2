"""Whether a page can be reached from its own machine only. Imports no gradio, so that options are checked quickly."""

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr


def is_loopback(host: str) -> bool:
    """Return True if a server on this host can be reached from this machine only."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_private(page: "gr.Blocks") -> bool:
    """Return True if a page that is served can be reached from this machine only."""
    return not page.share and is_loopback(getattr(page, "server_name", ""))
