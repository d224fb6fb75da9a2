"""Cached vision features, by a stand-in for the vision encoder."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import UserError
from core.models.base_models import open_base
from core.models.vlm import VisionFeatures
from train.data.feature_cache import cache_features, mean_features
from train.data.records import Record


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("train.data.feature_cache.base_id", lambda base: base)
    made = []
    for i in range(3):
        Image.new("RGB", (20, 10), (50 * i, 10, 10)).save(tmp_path / f"{i}.png")
        made.append(Record(tmp_path / f"{i}.png", "crow", "bird", str(i)))
    return made


class Encoder(SimpleNamespace):
    """The mean colour of a view as its features; counts the photos that it is given."""

    base, encoder_id, count = "stand-in", "", 0

    def vision_features(self, views):
        self.count += 1
        states = torch.tensor([[[1 + np.asarray(view).mean()]] for view in views]).float()
        return VisionFeatures(states, torch.ones(states.shape[:2], dtype=torch.bool))


@pytest.mark.parametrize("suffix", ["npy", "part"])
def test_damaged_features_are_computed_again(records, tmp_path, caplog, suffix):
    model = Encoder()
    whole = np.array(cache_features(model, records, 2, seed=0).array)
    assert model.count == 3
    assert np.array_equal(cache_features(model, records, 2, seed=0).array, whole)
    assert model.count == 3
    (path,) = (tmp_path / "cache/features").glob("*.npy")
    path.unlink()
    path.with_suffix(f".{suffix}").write_bytes(b"damaged")
    assert np.array_equal(cache_features(model, records, 2, seed=0).array, whole)
    assert model.count == 6
    assert "damaged" in caplog.text


def test_other_versions_views_and_seeds_are_other_features(records, monkeypatch):
    model = Encoder()
    for change in ({}, {"seed": 1}, {"views": 3}):
        cache_features(model, records, **{"views": 2, "seed": 0, **change})
    cache_features(model, records, 2, 0)
    assert model.count == 9
    monkeypatch.setattr("train.data.feature_cache.VERSION", 99)
    cache_features(model, records, 2, 0)
    assert model.count == 12
    model.encoder_id = "tuned"
    cache_features(model, records, 2, 0)
    assert model.count == 15


def test_a_cache_that_cannot_be_written_is_one_sentence(records, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written"):
        cache_features(Encoder(), records, 2, seed=0)


def test_an_interrupted_computation_is_resumed(records, tmp_path):
    model = Encoder()
    whole = np.array(cache_features(model, records, 2, seed=0).array)
    (path,) = (tmp_path / "cache/features").glob("*.npy")
    cut = np.lib.format.open_memmap(path.rename(path.with_suffix(".part")), mode="r+")
    cut[2:] = 0
    cut.flush()
    assert np.array_equal(cache_features(model, records, 2, seed=0).array, whole)
    assert model.count == 4


def test_mean_features_are_those_of_the_first_view(data, reduced_idefics2):
    mllm = open_base(str(reduced_idefics2), dtype=torch.float32)
    names = [category.name for category in data.categories]
    cached = mean_features(mllm, data.records, data.features, names)
    assert torch.allclose(cached, mean_features(mllm, data.records, None, names), atol=1e-3)
