"""The page: a header and its tabs."""

import html
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import gradio as gr
import httpx
from gradio import processing_utils
from gradio.utils import get_upload_folder, is_in_or_equal
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core.data.images import MAX_BYTES
from core.taxonomy.categories import table_errors
from demo.alignment import map_view
from demo.components import card, uploads
from demo.components.models import ModelPool
from demo.endpoints import JsonEndpoints
from demo.history_store import History
from demo.mcp_server import PrivateMcp, answer_in_json
from demo.tabs.alignment import AlignmentTab
from demo.tabs.compare import CompareTab
from demo.tabs.diagnose import DiagnoseTab
from demo.tabs.history import HistoryTab, browser_key
from demo.tabs.identify import IdentifyTab
from demo.tabs.leaderboard import LeaderboardTab
from demo.tabs.models import ModelsTab
from demo.tabs.study import StudyTab

TITLE = "Finedefics: what is it, and how can you tell?"
MAX_SESSIONS = 200  # whose states (photos, studies, maps) are kept in memory; the oldest are dropped
STYLE = Path(__file__).parent / "assets" / "style.css"


class NoForeignFiles:
    """Middleware that answers 403 where Gradio would fetch a web address for a client (`/file=http://...`)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on unless it asks for a file by a web address."""
        if scope["type"] == "http" and "file=http" in scope["path"].lower():
            await PlainTextResponse("Web addresses are not fetched.", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def build(
    history: History | None = None,
    photos: Path | None = None,
    results: Path = Path("results"),
    downloads: bool = False,
) -> gr.Blocks:
    """Return the whole page, with its queue. `history` is that of the cache folder unless given.

    `photos` is the folder with the photos of the checkpoints' embeddings, or of the questions that were asked, if the
    owner of the machine has them; `results` is where `train evaluate --foci` keeps its results.
    `downloads`: whether the models of the table can be downloaded from a page that is served on a loopback host.
    """
    models, history = ModelPool(), history or History()
    with gr.Blocks(title="Finedefics", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        JsonEndpoints(models)  # first: Gradio numbers a name that an event has already
        gr.Markdown(
            f"# {TITLE}\nBirds, dogs, cats, flowers, cars and aircraft, named down to the species, breed or model."
        )
        if errors := table_errors():
            gr.Markdown("\n\n".join(map(html.escape, errors)))
        key = browser_key(page)
        with gr.Tab("Identify"):
            IdentifyTab(models, history, key, page)
        with gr.Tab("Compare"):
            CompareTab(models, page)
        with gr.Tab("Case study"):
            study = StudyTab(models, page)
        with gr.Tab("Alignment") as tab:
            AlignmentTab(models, study.photos, tab, photos)
        with gr.Tab("Diagnose"):
            DiagnoseTab(models, page)
        with gr.Tab("Leaderboard") as tab:
            LeaderboardTab(results, photos, tab)
        with gr.Tab("History") as tab:
            HistoryTab(history, key, tab)
        with gr.Tab("Models") as tab:
            ModelsTab(models, tab, page, downloads)
    return page.queue(max_size=64)


def launch(page: gr.Blocks, host: str, port: int | None, block: bool = True, mcp: bool = False) -> tuple:
    """Serve the page. Uploads are limited to what `core.data.images` accepts, and no web address is ever fetched.

    With `mcp`, the endpoints are tools of an MCP server, too. Raises `UserError` if that cannot be started.
    """
    # Gradio 6.31 fetches every web address that a client gives as a file, and has no setting against it: the transport
    # of its HTTP client is replaced by one that has no network.
    processing_utils.async_transport = httpx.MockTransport(_from_uploads)  # type: ignore[assignment]
    with _without_proxies():
        served = page.launch(
            server_name=host,
            server_port=port,
            max_file_size=MAX_BYTES,
            prevent_thread_lock=True,
            show_error=True,
            footer_links=["api"],
            ssr_mode=False,
            state_session_capacity=MAX_SESSIONS,
            app_kwargs={
                "middleware": [Middleware(NoForeignFiles), Middleware(PrivateMcp)],
                "routes": [map_view.route()],
            },
            theme=_theme(),
            head=map_view.head() + card.head() + uploads.head(),
            css_paths=STYLE,
            mcp_server=mcp,  # whatever GRADIO_MCP_SERVER says
        )
    if mcp:
        answer_in_json(page)
    if block:
        page.block_thread()
    return served


def _from_uploads(request: httpx.Request) -> httpx.Response:
    """Answer with a file that was uploaded here, for which MCP clients give its address; refuse all other addresses."""
    path = unquote(request.url.path).partition("/gradio_api/file=")[2]
    if not path or not is_in_or_equal(path, get_upload_folder()) or not Path(path).is_file():
        raise gr.Error("Web addresses are not fetched: upload the file.", print_exception=False)
    return httpx.Response(200, content=Path(path).read_bytes())


def _theme() -> gr.themes.Base:
    """Return Gradio's soft theme with WCAG AA contrast of text, and fields and boxes that have visible edges."""
    return gr.themes.Soft().set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*primary_700",
        block_title_text_color="*primary_700",
        input_border_width="1px",
        input_border_color="*neutral_500",
        input_border_color_dark="*neutral_400",
        checkbox_border_width="1px",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        checkbox_label_background_fill_selected="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )


@contextmanager
def _without_proxies() -> Iterator[None]:
    """Hide the proxies of the environment: as it starts, Gradio requests its own address, which a proxy cannot reach."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.lower().endswith("_proxy")}
    try:
        yield
    finally:
        os.environ.update(hidden)
