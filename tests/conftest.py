"""Fixtures that several folders of tests share."""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import chat_server as chat
import pytest
import torch
from PIL import Image

START_SECONDS = 60  # of `transformers serve`
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def mllm():
    """The embedded base in float32 with a random connector (seeded): real weights, nothing learned."""
    from core.models import load_mllm
    from train.stages import initialise_connector

    model = load_mllm(torch.float32)
    initialise_connector(model, seed=0)
    return model


@pytest.fixture(scope="session")
def recogniser():
    """The committed checkpoint that users get by default."""
    from core.models import DEFAULT, load

    return load(DEFAULT)


@pytest.fixture
def encode():
    """Bytes of a picture in a format."""

    def to_bytes(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, file_format, **options)
        return buffer.getvalue()

    return to_bytes


@pytest.fixture(scope="session")
def text_model(tmp_path_factory):
    """The embedded text model as a folder of its own."""
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from core.models import load_mllm

    mllm, folder = load_mllm(torch.float32), tmp_path_factory.mktemp("text-model")
    model = LlamaForCausalLM(mllm.model.config.text_config)
    model.model.load_state_dict(mllm.text_model.state_dict())
    model.tie_weights()
    model.generation_config.repetition_penalty = 1.15  # so small a model goes round in circles without
    model.save_pretrained(folder)
    names = {name: getattr(mllm.tokenizer, name) for name in ("bos_token", "eos_token", "pad_token")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=mllm.tokenizer.backend_tokenizer, **names)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    yield str(folder)
    shutil.rmtree(folder)  # half a gigabyte


@pytest.fixture(scope="session")
def served(text_model, tmp_path_factory):
    """The address of the server."""
    host = "127.0.0.1"
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = str(probe.getsockname()[1])
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [Path(sys.executable).with_name("transformers"), "serve", text_model, "--host", host, "--port", port]
    with log.open("w") as file:
        server = subprocess.Popen([*command, "--device", "cpu"], stdout=file, stderr=file, env=os.environ)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"http://{host}:{port}/health", timeout=2).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.skip(f"transformers serve does not start here: {log.read_text()[-300:]}")
                time.sleep(0.2)
        yield f"http://{host}:{port}/v1"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def chat_server():
    """A small server that streams an answer, "Egyptian Mau" unless it is told another one."""
    with chat.running() as server:
        yield server
