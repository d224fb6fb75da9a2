"""A server that answers the questions of `train attributes`, and calls of its steps."""

import argparse
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from train import attributes

KEY = "sk-do-not-show-0123456789"
MARKS = ["cap", "gills", "stem", "ring", "flesh"]
VALUES = dict.fromkeys(MARKS, "red with white flakes")
TEXT = (
    "The cap is red with white flakes. Its gills are pale. The stem is white. A ring hangs from it. The flesh is white."
)
NAMES = ("Fly Agaric", "Death Cap")
PHOTOS = 8


def said(text: str, **message) -> dict:
    """A chat completion."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


class Server(ThreadingHTTPServer):
    """Answers with what `script` holds, in order, and then with what `reply(request)` returns.

    An answer is a text, a body, (status, body, headers), "drop", or a number of seconds before a good answer.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list = []
        self.reply = lambda request: good(request)
        self.requests: list[dict] = []
        self.times: list[float] = []
        self.active = self.most_active = 0
        self.lock = threading.Lock()

    def handle_error(self, request, client_address) -> None:
        """A client that hung up is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append(request)
            server.times.append(time.monotonic())
            server.active += 1
            server.most_active = max(server.most_active, server.active)
            answer = server.script.pop(0) if server.script else server.reply(request)
        if isinstance(answer, float):
            time.sleep(answer)
            answer = good(request)
        with server.lock:
            server.active -= 1
        if answer == "drop":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, body, headers = answer if isinstance(answer, tuple) else (200, answer, {})
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def question(request: dict) -> str:
    """The text of the first message."""
    content = request["messages"][0]["content"]
    return content if isinstance(content, str) else content[1]["text"]


def good(request: dict) -> dict:
    """What a capable model answers in each of the steps."""
    text = question(request)
    if text.startswith("You help"):
        return said(json.dumps({"attributes": MARKS}))
    return said(json.dumps(VALUES) if text.startswith("The photo shows") else TEXT)


def step(name: str, work: Path, *arguments: str) -> None:
    parser = argparse.ArgumentParser()
    attributes.add_arguments(parser)
    attributes.run(
        parser.parse_args([name, "--super-category", work.name, "--work", str(work.parent), *map(str, arguments)])
    )


def extract(work: Path, photos: Path, *arguments: object) -> None:
    step("extract", work, "--vlm-model", "m", "--data", photos, *arguments)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def reasons(work: Path) -> list[str]:
    return [entry["reason"] for entry in lines(work / "quarantine.jsonl")]
