"""Models that are only asked questions: refused before anything of them is loaded if their weights do not fit."""

import json

import pytest
import torch
from reduced_models import save_reduced
from safetensors.torch import save_file

from core.embeddings.compute import model_id
from core.errors import UserError
from core.models.hub_files import memory_bytes
from core.recognition.asked_model import AskedModel
from core.zoo import hub
from core.zoo.registry import find_entry, load, zoo
from demo.components.models import ModelPool

LISTED = "siglip-so400m"


@pytest.fixture
def folder(tmp_path):
    return save_reduced("siglip", tmp_path / "siglip")


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A reduced model in the cache of the hub, where a row of the table is."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "free_memory", lambda: (True, 80))
    source = find_entry(LISTED).hub
    snapshot = tmp_path / "cache" / f"models--{source.repository.replace('/', '--')}" / "snapshots" / source.revision
    snapshot.parent.mkdir(parents=True)
    return save_reduced("siglip", snapshot)


def test_memory_is_that_of_the_weights_in_the_type_they_get(tmp_path):
    weights = {"a": torch.zeros(6, dtype=torch.float16), "b": torch.zeros(2, dtype=torch.int64)}
    save_file(weights, tmp_path / "model-1.safetensors")
    save_file({"c": torch.zeros(5)}, tmp_path / "model-2.safetensors")
    assert memory_bytes(tmp_path, torch.float32) == 6 * 4 + 2 * 8 + 5 * 4
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    assert memory_bytes(tmp_path, torch.bfloat16) == 6 * 2 + 2 * 8
    (tmp_path / "model-1.safetensors").write_bytes(b"damaged")
    assert memory_bytes(tmp_path, torch.float32) == len(b"damaged")


def test_weights_that_do_not_fit_are_refused_before_they_are_read(folder, monkeypatch):
    monkeypatch.setattr("core.models.open_question_model", lambda *_, **__: pytest.fail("it was opened"))
    monkeypatch.setattr(hub, "free_memory", lambda: (False, 0.0))
    with pytest.raises(UserError, match="not enough memory for siglip: its weights take 0.0 GB .float32., and 0.0 GB"):
        load(str(folder))


def test_the_model_before_stays_loaded_and_usable(listed, monkeypatch):
    models = ModelPool()
    before, _ = models.prepare(LISTED, ["a crow", "a wren"], None)
    assert isinstance(before, AskedModel)
    monkeypatch.setattr(hub, "free_memory", lambda: (True, 0.0))
    other = next(name for name, entry in zoo().items() if entry.row.family == "general")
    with pytest.raises(UserError, match=r"not enough memory: 0\.0 GB|needs a download"):
        models.prepare(other, None, None)
    assert models.prepare(LISTED, ["a crow", "a wren"], None)[0] is before
    assert other not in models


def test_a_repository_of_the_hub_is_opened_from_the_local_copy(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0" * 40)
    save_reduced("clip", repository / "snapshots" / ("0" * 40))
    for name in ("hf:owner/name", f"hf:owner/name@{'0' * 40}"):
        model = load(name)
        assert (model.name, model.writes) == (name, False)
        assert model_id(name) == model_id(str(repository / "snapshots" / ("0" * 40)))
    with pytest.raises(UserError, match="owner/name is neither a folder nor"):
        load("hf:owner/name@another")
