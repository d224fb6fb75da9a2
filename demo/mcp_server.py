"""Gradio's MCP server, whose tools are the JSON endpoints: who may ask it, and the form of its answers."""

import json
from typing import Any

import gradio as gr
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import UserError
from demo.components.loopback import names_this_machine

PATH = "/gradio_api/mcp"
COMMAND = ".venv/bin/pip install -r requirements-mcp.txt"


class PrivateMcp:
    """Middleware that answers 403 where the MCP server is asked for by a name of another machine, or by its pages.

    Gradio itself checks neither: a page whose owner leads its name here (DNS rebinding) could call the tools.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if it is none to the MCP server, or one of this machine."""
        if scope["type"] == "http" and PATH in scope["path"]:
            headers = Headers(scope=scope)
            addresses = [f"//{headers.get('host', '')}", *headers.getlist("origin")]
            if not all(map(names_this_machine, addresses)):
                await PlainTextResponse("The MCP server is for its own machine alone.", 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def answer_in_json(page: gr.Blocks) -> None:
    """Have the tools of a page that is served answer in JSON. Raises `UserError` if there is no MCP server."""
    server: Any = page.mcp_server_obj
    if page.mcp_error or server is None:
        page.close()
        raise UserError(f"The MCP server cannot be started ({page.mcp_error}): run `{COMMAND}`.")
    # Gradio 6.31 writes a dictionary as Python does, with single quotes.
    server.postprocess_output_data = lambda outputs, _: [
        server.types.TextContent(type="text", text=json.dumps(output)) for output in outputs
    ]
