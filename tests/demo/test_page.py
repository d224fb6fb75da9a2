"""The page through its HTTP interface, as another program would use it."""

import http.client
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from served_tab import data_of, event_of, serving

from core.data.images import MAX_BYTES
from core.taxonomy.categories import super_categories
from demo.components.models import example_photos


@pytest.fixture(scope="module")
def page():
    from demo.page import build

    page = build()
    assert identifying(page).api_visibility == "private"
    identifying(page).api_visibility = "undocumented"  # the client calls no private events, as a browser does
    return page


def identifying(page):
    """The event of the button Identify."""
    return event_of(page, next(block for block in page.blocks.values() if block.elem_id == "identify"))


@pytest.fixture(scope="module")
def address(page):
    with serving(page) as url:
        yield url


@pytest.fixture(scope="module")
def client(address):
    return Client(address, verbose=False)


@pytest.fixture
def photo(tmp_path):
    def save(name, image=None, data=None):
        if image:
            image.save(tmp_path / name)
        else:
            (tmp_path / name).write_bytes(data)
        return handle_file(tmp_path / name)

    return save


def test_a_missing_checkpoint_is_said_on_the_page(monkeypatch, tmp_path):
    from demo.page import build

    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", tmp_path)
    said = [block.value for block in build().blocks.values() if isinstance(block, gr.Markdown)]
    assert any("**finedefics-tiny** cannot be loaded: The checkpoint finedefics-tiny is missing" in s for s in said)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("diary.jpg", b"Dear diary"),
        ("picture.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("paper.pdf", b"%PDF-1.4"),
        ("paper.eps", b"%!PS-Adobe-3.0 EPSF-3.0"),
    ],
)
def test_files_that_are_no_photos_are_one_sentence(client, photo, name, data):
    with pytest.raises(AppError, match="not a readable image"):
        client.predict(photo=photo(name, data=data), api_name="/identify")


def test_stop_stops_the_writing(address, page):
    event = identifying(page)
    values = {block: block.value for block in event.inputs if not block.stateful}
    cat = next(path for path in example_photos() if "chelsea" in path)
    photo = next(block for block in values if block.elem_id == "photo")
    client = Client(address, verbose=False)
    job = client.submit(*data_of(event, {**values, photo: handle_file(cat)}), fn_index=event._id)
    deadline = time.monotonic() + 60
    while not writers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert writers()
    job.cancel()
    stopped = time.monotonic() + 2
    while writers() and time.monotonic() < stopped:
        time.sleep(0.01)
    assert not writers()


def writers():
    return [thread for thread in threading.enumerate() if thread.name == "generation"]


def test_two_people_get_their_own_results(address):
    cat = next(path for path in example_photos() if "chelsea" in path)
    jobs = {
        kind: Client(address, verbose=False).submit(photo=handle_file(cat), super_category=kind, api_name="/identify")
        for kind in ("dog", "cat")
    }
    for kind, job in jobs.items():
        assert list(job.result(timeout=120)["attributes"]) == list(super_categories()[kind].attributes)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd"])
def test_files_of_the_server_are_out_of_reach(address, path):
    server = urlsplit(address)
    for route in ("/file=", "/gradio_api/file="):
        connection = http.client.HTTPConnection(server.hostname, server.port, timeout=30)
        connection.request("GET", f"{route}{path}")  # as it stands: other clients resolve the dots themselves
        assert connection.getresponse().status in (403, 404)
        connection.close()


def identify_by_http(address, photo):
    """The server's events for a photo given as a raw file description, past the client's own uploading."""
    started = httpx.post(f"{address}gradio_api/call/v2/identify", json={"photo": photo}, timeout=30)
    if started.status_code != 200:
        return "event: error"
    return httpx.get(f"{address}gradio_api/call/identify/{started.json()['event_id']}", timeout=60).text


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}, {"meta": {"_type": "x"}}, {"meta": None}])
def test_a_picture_on_the_server_that_was_not_uploaded_is_refused(address, tmp_path, meta):
    Image.new("RGB", (64, 64), "green").save(tmp_path / "private.png")
    os.mkfifo(tmp_path / "pipe")  # opening it would block for ever
    for name in ("private.png", "pipe"):
        events = identify_by_http(address, {"path": str(tmp_path / name), **meta})
        assert "event: error" in events
        assert "event: complete" not in events


def test_an_example_leaves_the_checks_in_place(client, photo):
    """Gradio builds the photo's input anew for a session in which an example was clicked."""
    example = next(i for i, f in enumerate(client.config["dependencies"]) if f["api_name"] == "load_example")
    client.predict(0, fn_index=example)
    with pytest.raises(AppError, match="not a readable image"):
        client.predict(photo=photo("diary.jpg", data=b"Dear diary"), api_name="/identify")
    header = b"BM" + bytes(8) + b"\x36\0\0\0\x28\0\0\0" + (9000).to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24)
    with pytest.raises(AppError, match="more than 50 million pixels"):
        client.predict(photo=photo("huge.bmp", data=header), api_name="/identify")


@pytest.mark.parametrize("host", ["127.0.0.1:9", "169.254.169.254", "100.100.100.200", "[::1]"])
def test_no_web_address_is_handed_through(address, host):
    for path in (f"http://{host}/latest/meta-data", f"HTTP%3A//{host}/"):
        assert httpx.get(f"{address}gradio_api/file={path}", timeout=10).status_code == 403
    events = identify_by_http(address, {"path": f"http://{host}/a.png", "meta": {"_type": "gradio.FileData"}})
    assert "event: error" in events


def test_addresses_inside_the_network_are_never_fetched(address, encode):
    picture, hits = encode(Image.new("RGB", (64, 64), "green")), []

    class Inside(BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            self.wfile.write(picture)

    with ThreadingHTTPServer(("127.0.0.1", 0), Inside) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/secret.png"
        for payload in ({"path": url}, {"path": "x.png", "url": url}, {"path": url, "url": url}, {"url": url}):
            for meta in ({}, {"meta": {"_type": "gradio.FileData"}}):
                assert "event: error" in identify_by_http(address, {**payload, **meta})
        server.shutdown()
    assert not hits


def test_uploads_over_the_limit_are_refused(address):
    files = {"files": ("big.jpg", b"\0" * (MAX_BYTES + 1), "image/jpeg")}
    refused = httpx.post(f"{address}gradio_api/upload", files=files, timeout=60)
    assert refused.status_code == 413
    assert "size" in refused.text.lower()
