"""A server, photos of mushrooms, and a folder for the steps."""

import random
import threading

import pytest
import yaml
from attribute_server import (
    KEY,
    MARKS,
    NAMES,
    PHOTOS,
    Server,
)
from PIL import Image


@pytest.fixture
def server(monkeypatch):
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.02)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Class folders of mushrooms, which no table knows."""
    folder, rng = tmp_path_factory.mktemp("photos") / "mushrooms", random.Random(0)
    for i in range(PHOTOS):
        path = folder / NAMES[i % 2].replace(" ", "_") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (8, 8), rng.randbytes(192)).resize((64, 64)).save(path)
    return folder


@pytest.fixture
def work(tmp_path):
    """The folder of the mushrooms after discovery."""
    folder = tmp_path / "work" / "mushroom"
    folder.mkdir(parents=True)
    table = {"super_category": "mushroom", "noun": "mushroom", "rank": "species", "attributes": MARKS}
    (folder / "super_category.yaml").write_text(yaml.safe_dump(table))
    return folder
