"""The MCP server: its tools are the endpoints, and only this machine may ask it."""

import asyncio
import base64
import json
from importlib.util import find_spec

import gradio as gr
import httpx
import pytest
from stand_ins import reduced_recogniser
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from core.errors import UserError
from core.recognition.result_schema import RESULT
from demo.components.models import EXAMPLES
from demo.mcp_server import PATH, PrivateMcp, answer_in_json
from demo.page import build, launch

CAT = EXAMPLES / "chelsea.jpg"
needs_mcp = pytest.mark.skipif(
    find_spec("mcp") is None, reason="the package mcp of requirements-mcp.txt is not installed"
)


@pytest.fixture(scope="module")
def guarded():
    async def answer(_):
        return PlainTextResponse("passed on")

    routes = [Route(path, answer, methods=["GET", "POST"]) for path in ("/", f"{PATH}/", f"{PATH}/sse")]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(PrivateMcp)]))


@pytest.mark.parametrize("path", [f"{PATH}/", f"{PATH}/sse"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:7860"}, 200),
        ({"host": "localhost:7860", "origin": "http://localhost:7860"}, 200),
        ({"host": "[::1]:7860"}, 200),
        ({"host": "rebound.example:7860"}, 403),
        ({"host": "localhost.rebound.example"}, 403),
        ({"host": "192.168.1.5:7860"}, 403),
        ({"host": "127.0.0.1@rebound.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"host": ""}, 403),
        ({"host": "127.0.0.1:7860", "origin": "https://evil.example"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "null"}, 403),
    ],
)
def test_only_this_machine_may_ask(guarded, path, headers, status):
    assert guarded.post(path, headers=headers).status_code == status
    assert guarded.get("/", headers=headers).status_code == 200  # the page itself is not in question


def test_a_server_that_could_not_be_started_is_one_sentence():
    with gr.Blocks() as page:
        page.mcp_error = "Error launching MCP server: no such class"
    with pytest.raises(UserError, match=r"no such class\): run `.venv/bin/pip install -r requirements-mcp.txt`"):
        answer_in_json(page)


def test_without_the_option_there_is_none(monkeypatch):
    monkeypatch.setenv("GRADIO_MCP_SERVER", "True")
    with gr.Blocks() as page:
        gr.Markdown("A page.")
    try:
        _, url, _ = launch(page, "127.0.0.1", None, block=False)
        assert not page.mcp_server
        assert httpx.get(f"{url}gradio_api/mcp/schema", timeout=30).status_code == 404
    finally:
        page.close()


@pytest.fixture(scope="module")
def address(reduced_idefics2):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demo.components.models.load_listed", lambda name, _: reduced_recogniser(reduced_idefics2, name))
        page = build()
        _, url, _ = launch(page, "127.0.0.1", None, block=False, mcp=True)
        yield url
        page.close()


def session(address, use):
    """What `use` returns of a session with the server."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def run():
        transport = streamablehttp_client(f"{address}gradio_api/mcp/")
        async with transport as (read, write, _), ClientSession(read, write) as client:
            await client.initialize()
            return await use(client)

    return asyncio.run(run())


def call(address, tool, **arguments):
    result = session(address, lambda client: client.call_tool(tool, arguments))
    (content,) = result.content
    return result.isError, content.text


@needs_mcp
def test_the_tools_are_the_endpoints(address):
    tools = session(address, lambda client: client.list_tools()).tools
    assert [tool.name for tool in tools] == ["identify", "compare", "study", "models", "health"]
    photo = tools[0].inputSchema["properties"]["photo"]
    assert (photo["type"], tools[0].inputSchema["required"]) == ("string", ["photo"])
    assert "data URL" in photo["description"]


@needs_mcp
def test_a_photo_is_named_in_json(address):
    data = f"data:image/jpeg;base64,{base64.b64encode(CAT.read_bytes()).decode()}"
    failed, text = call(address, "identify", photo=data, top=2)
    assert not failed
    RESULT.validate_python(json.loads(text))
    with CAT.open("rb") as file:
        path = httpx.post(f"{address}gradio_api/upload", files={"files": file}, timeout=30).json()[0]
    failed, text = call(address, "identify", photo=f"{address}gradio_api/file={path}")
    assert not failed
    assert json.loads(text)["photo"] == "chelsea.jpg"
    assert json.loads(call(address, "health")[1])["status"] == "alive"


@needs_mcp
@pytest.mark.parametrize("photo", ["http://10.0.0.1/a.png", "https://example.org/a.png", "/etc/passwd", "a.png"])
def test_neither_web_addresses_nor_files_of_the_server_are_photos(address, photo):
    failed, text = call(address, "identify", photo=photo)
    assert failed
    assert "Web addresses are not fetched" in text if photo.startswith("http") else "Invalid file data format" in text
    assert len(text.splitlines()) == 1


@needs_mcp
def test_the_served_tools_are_guarded(address):
    for headers in ({"host": "rebound.example"}, {"origin": "https://evil.example"}):
        assert httpx.get(f"{address}gradio_api/mcp/schema", headers=headers, timeout=30).status_code == 403
    assert httpx.get(f"{address}gradio_api/mcp/schema", timeout=30).status_code == 200
