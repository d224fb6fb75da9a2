"""Whether a page can be reached from its own machine only."""

from typing import TYPE_CHECKING

from core.loopback import is_loopback

if TYPE_CHECKING:
    import gradio as gr


def is_private(page: "gr.Blocks") -> bool:
    """Return True if a page that is served can be reached from this machine only."""
    return not page.share and is_loopback(getattr(page, "server_name", ""))
