"""The page: a header and its tabs."""

from pathlib import Path

import gradio as gr
import httpx
from gradio import processing_utils
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core.data.images import MAX_BYTES
from demo.alignment import map_view
from demo.components.models import ModelPool
from demo.history_store import History
from demo.tabs import compare as compare_tab
from demo.tabs import diagnose as diagnose_tab
from demo.tabs import history as history_tab
from demo.tabs import identify as identify_tab
from demo.tabs import models as models_tab
from demo.tabs import study as case_study_tab
from demo.tabs.alignment import AlignmentTab

TITLE = "Finedefics: what is it, and how can you tell?"
STYLE = Path(__file__).parent / "assets" / "style.css"


class NoForeignFiles:
    """Answers 403 where Gradio would fetch a web address for a client (`/gradio_api/file=http://...`)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request goes on unless it asks for a file by a web address."""
        if scope["type"] == "http" and "file=http" in scope["path"].lower():
            await PlainTextResponse("Web addresses are not fetched.", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def build(history: History | None = None, photos: Path | None = None) -> gr.Blocks:
    """The whole page, with its queue. What people keep goes into the history of the cache folder, unless given.

    In the folder `photos` lie, the owner says, the photos that the checkpoints' embeddings are of.
    """
    models, history = ModelPool(), history or History()
    with gr.Blocks(title="Finedefics", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(
            f"# {TITLE}\nBirds, dogs, cats, flowers, cars and aircraft, named down to the species, breed or model."
        )
        key = history_tab.browser_key(page)
        with gr.Tab("Identify"):
            identify_tab.build(models, history, key, page)
        with gr.Tab("Compare"):
            compare_tab.build(models, page)
        with gr.Tab("Case study"):
            studied = case_study_tab.build(models, page)
        with gr.Tab("Alignment") as tab:
            AlignmentTab(models, studied, tab, photos)
        with gr.Tab("Diagnose"):
            diagnose_tab.build(models, page)
        with gr.Tab("History") as tab:
            history_tab.build(history, key, tab)
        with gr.Tab("ModelPool") as tab:
            models_tab.build(models, tab)
    return page.queue(max_size=64)


def launch(page: gr.Blocks, host: str, port: int | None, block: bool = True) -> tuple:
    """Serve the page; uploads are limited to what `core.data.images` accepts, and no web address is ever fetched."""
    processing_utils.async_transport = httpx.MockTransport(lambda _: httpx.Response(403))  # type: ignore[assignment]
    return page.launch(
        server_name=host,
        server_port=port,
        max_file_size=MAX_BYTES,
        prevent_thread_lock=not block,
        show_error=True,
        footer_links=["api"],
        ssr_mode=False,
        app_kwargs={"middleware": [Middleware(NoForeignFiles)], "routes": [map_view.route()]},
        theme=gr.themes.Soft(),
        head=map_view.head(),
        css_paths=STYLE,
    )
