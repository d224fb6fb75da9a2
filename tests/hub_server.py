"""A server on loopback that speaks as much of the hub's protocol as a download needs, and fails on demand."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REPOSITORY = "owner/reduced"
CHUNK = 10 << 20  # bytes in which the hub's package writes
COMMIT = "c0" * 20
TABLE = """
reduced: {family: contrastive, hub: {repository: owner/reduced, revision: not verified, licence: {name: MIT},
          download_gb: 0.1, memory_gb: not verified}}
pickled: {family: general, hub: {repository: owner/pickled, revision: not verified, licence: {name: MIT},
          download_gb: 0.1, memory_gb: not verified, weights: pytorch_model.bin}}
served: {family: endpoint, hub: {repository: owner/served, revision: not verified, licence: {name: MIT},
         download_gb: 0.1, memory_gb: not verified}, server: {engine: E, version: '1', command: serve it}}
finedefics-tiny: {family: embedded}
"""


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """One repository at one commit; its large files are those with weights."""

    repository: str
    files: dict[str, bytes]
    url: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    refuse: tuple[int, str] | None = None  # status and error code instead of a file
    refuse_list: tuple[int, str] | None = None  # the same instead of the list of files
    sent: dict[str, bytes] = field(default_factory=dict)  # other contents than those that are listed
    break_at: int = 0  # bytes of a file after which the connection is cut, once
    hold: threading.Event | None = None  # large files wait for it in their middle
    holding: threading.Event = field(default_factory=threading.Event)  # one of them does
    etags: dict[str, str] = field(default_factory=dict)  # other hashes than the files have, where they are sent
    listed: dict[str, str] = field(default_factory=dict)  # other names than the files have

    def take_over(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        """Let this process and its children take the server for the hub, and the folder for its cache."""
        for name, value in {"HF_ENDPOINT": self.url, "HF_HUB_CACHE": str(cache), "NO_PROXY": "127.0.0.1"}.items():
            monkeypatch.setenv(name, value)
        constants = {
            "ENDPOINT": self.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": self.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_OFFLINE": True,  # as in the app: only the process that downloads is online
            "DOWNLOAD_CHUNK_SIZE": 1024,
        }
        for name, value in constants.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)  # before it tries again

    def ranges(self, name: str) -> list[str]:
        return [part for method, path, part in self.requests if method == "GET" and path.endswith(f"/{name}")]

    def info(self) -> dict:
        siblings = []
        for name, data in self.files.items():
            sibling = {"rfilename": self.listed.get(name, name), "size": len(data), "blobId": git_sha1(data)}
            if is_large(name):
                sibling["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(sibling)
        return {"id": self.repository, "sha": COMMIT, "siblings": siblings, "tags": []}


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".onnx"))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        if path.startswith(f"/api/models/{self.hub.repository}"):
            if self.hub.refuse_list:
                return self.refuse(*self.hub.refuse_list)
            return self.send(200, json.dumps(self.hub.info()).encode(), {"Content-Type": "application/json"}, body)
        place = f"/{self.hub.repository}/resolve/{COMMIT}/"
        name = path.removeprefix(place)
        if self.hub.refuse or not path.startswith(place) or name not in self.hub.files:
            return self.refuse(*(self.hub.refuse or (404, "EntryNotFound")))
        return self.send_file(name, body)

    def refuse(self, status: int, code: str) -> None:
        self.send(status, b"", {"X-Error-Code": code} if code else {}, True)

    def send(self, status: int, data: bytes, headers: dict, body: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.write(data)

    def send_file(self, name: str, body: bool) -> None:
        listed = self.hub.files[name]
        data = self.hub.sent.get(name, listed)
        etag = hashlib.sha256(listed).hexdigest() if is_large(name) else git_sha1(listed)
        etag = self.hub.etags.get(name, etag)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.send(206 if start else 200, data[start:], headers, body)

    def write(self, data: bytes) -> None:
        if self.hub.break_at and len(data) > self.hub.break_at:
            self.wfile.write(data[: self.hub.break_at])
            self.hub.break_at = 0
            self.close_connection = True
            return
        half = len(data) // 2
        try:
            self.wfile.write(data[:half])
            if self.hub.hold and len(data) > 100_000:
                self.wfile.flush()
                self.hub.holding.set()
                self.hub.hold.wait(30)
            self.wfile.write(data[half:])
        except OSError:  # whoever downloads was stopped
            self.close_connection = True


@contextmanager
def running(repository: str, files: dict[str, bytes]) -> Iterator[Hub]:
    """Serve the files of a repository."""
    hub = Hub(repository, files)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub})) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            if hub.hold:
                hub.hold.set()
            server.shutdown()
