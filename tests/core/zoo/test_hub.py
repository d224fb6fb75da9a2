"""Models of the hub: told apart without a network, and loaded, in the architecture of the real ones but reduced."""

import json

import pytest
import torch
from PIL import Image
from skimage import data as pictures

from core.errors import UserError
from core.models import base_models as bases
from core.taxonomy.categories import categories, super_categories
from core.zoo import hub
from core.zoo.registry import availability, find_entry, load, zoo
from demo.components.models import ModelPool

NAME = "idefics2-8b"


@pytest.fixture
def entry():
    return find_entry(NAME)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    for name in ("socket.socket.connect", "socket.getaddrinfo"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("a connection was tried"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def downloaded(cache, entry, reduced_idefics2):
    """The reduced model in the cache, where the hub's tools would put the real one."""
    snapshots = cache / f"models--{entry.hub.repository.replace('/', '--')}" / "snapshots"
    snapshots.mkdir(parents=True)
    snapshot = snapshots / entry.hub.revision
    snapshot.mkdir()
    for file in reduced_idefics2.iterdir():
        if file.name != "chat_template.jinja":  # the real one has none
            (snapshot / file.name).symlink_to(file)
    return snapshot


@pytest.fixture
def memory(monkeypatch):
    def free(gigabytes, gpu=True):
        monkeypatch.setattr(hub, "free_memory", lambda: (gpu, gigabytes))

    free(24)
    return free


def test_the_zoo_tells_what_each_needs(entry):
    assert entry.hub.repository == "HuggingFaceM4/idefics2-8b"
    assert entry.hub.revision == "2c42686c57fe21cf0348c9ce1077d094b72e7698"
    assert str(entry.hub.licence) == "Apache-2.0"
    for name in (NAME, "finedefics-8b"):
        assert zoo()[name].hub.needs == "18.8 GB (bf16) or 8.4 GB (4-bit)"
    assert entry.hub.command == ".venv/bin/python -m core download HuggingFaceM4/idefics2-8b"


@pytest.mark.parametrize(
    ("free", "gpu", "state"),
    [
        (24, True, "It needs a download of 33.6 GB: run `.venv/bin/python -m core download Hug"),
        (4, True, "There is not enough memory: 4.0 GB of the GPU's are free"),
        (12, True, "run `.venv/bin/pip install bitsandbytes`"),
        (12, False, "There is no GPU, and not enough memory without one: 12.0 GB"),
        (64, False, "It needs a download of 33.6 GB"),
    ],
)
def test_the_reason_why_a_model_is_not_ready_is_said(entry, memory, monkeypatch, free, gpu, state):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    memory(free, gpu)
    assert state in availability(entry)


def test_a_model_that_is_here_whole_is_ready(entry, memory, downloaded):
    assert availability(entry) == "ready"
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (downloaded / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "needs a download" in availability(entry)  # the second file is not here yet
    for broken in ("[]", '{"weight_map": [1]}', '{"weight_map": {"a": {"b": 1}}}', '{"weight_map": {"a": 1}}'):
        (downloaded / "model.safetensors.index.json").write_text(broken)
        assert "needs a download" in availability(entry)
    (downloaded / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="is not here"):
        load(NAME)


@pytest.mark.parametrize(
    ("name", "weights", "config"),
    [
        ("mobilevlm-v2-7b", "pytorch_model.bin", "config.json"),
        ("bioclip-2", "open_clip_model.safetensors", "open_clip_config.json"),
    ],
)
def test_weights_in_another_form_have_to_be_converted(name, weights, config, memory, cache):
    other = find_entry(name)
    folder = cache / f"models--{other.hub.repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    for path in (folder / "refs/main", snapshot / weights, snapshot / config):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0" * 40)
    assert availability(other) == (
        f"It needs a conversion: run `.venv/bin/python -m core convert {other.hub.repository} FOLDER`, and name that "
        "folder as the model."
    )


def test_four_bits_are_taken_where_bf16_does_not_fit(entry, memory, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert hub.best_precision(entry.hub) == "bf16"
    memory(12)
    assert hub.best_precision(entry.hub) == "4-bit"


def test_memory_is_looked_at(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    gpu, free = hub.free_memory()
    assert not gpu
    assert 0 < free < 1e5
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (5e9, 8e9))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda: 2e9)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda: 1.5e9)
    assert hub.free_memory() == (True, 5.5)


def test_a_model_of_the_hub_identifies(memory, downloaded):
    told = []
    recogniser = load(NAME, told.append)
    assert told == ["Reading 33.6 GB of weights, bf16 in memory", "Embedding the names of the categories"]
    assert recogniser.mllm.model.dtype == torch.bfloat16
    result = recogniser.identify(Image.fromarray(pictures.chelsea()))
    assert result.model == NAME
    assert not result.calibrated
    assert result.known
    assert len(result.species) == 5
    assert 0 < sum(species.probability for species in result.species) <= 1 + 1e-5
    space = recogniser.label_space()
    assert space.labels == list(categories())
    assert recogniser.label_space(super_category="cat").group == super_categories()["cat"]

    mllm = recogniser.mllm
    assert mllm.object_ids()[0] == mllm.image_token  # as the release embeds a photo
    assert mllm.tokenizer.decode(mllm.answer_ids("a crow")[-1]) == "<end_of_utterance>"
    assert mllm.answer_end in recogniser.writer._settings(8)["eos_token_id"]
    prompt = mllm.tokenizer.decode(mllm.question_ids("What is it?"))
    assert prompt.startswith("User:<fake_token_around_image><image>")
    assert prompt.endswith("What is it?<end_of_utterance>\nAssistant:")
    assert prompt.count("<image>") == 64


def test_running_out_of_memory_leaves_the_models_that_were_there(memory, downloaded, monkeypatch):
    def too_large(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    models, before = ModelPool(), object()
    models._loaded["finedefics-tiny"] = before
    monkeypatch.setattr(bases, "open_base", too_large)
    with pytest.raises(UserError, match=r"memory was not enough to load idefics2-8b \(bf16\)"):
        models.prepare(NAME, None, None)
    assert models._loaded == {"finedefics-tiny": before}
    assert NAME not in models


def test_listing_reads_the_weights_once(monkeypatch):
    entry = find_entry("finedefics-tiny")
    assert availability(entry) == "ready"
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("a file was hashed again"))
    assert availability(entry) == "ready"
