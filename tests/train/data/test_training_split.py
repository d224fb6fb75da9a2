"""What a run trains on, and what it holds out."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from core.errors import UserError
from train.data.feature_cache import FeatureCache
from train.data.records import Record
from train.data.training_set import TrainingSet
from train.data.training_split import TrainingSplit
from train.recipe import read_preset

BIRDS = ("Cedar Waxwing", "Bohemian Waxwing", "Downy Woodpecker")


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path))
    return [Record(Path(f"{name}{i}.jpg"), name, "bird", f"{name}{i:02}") for name in BIRDS for i in range(10)]


def test_features_of_photos_held_out_are_not_computed(records, monkeypatch):
    given = []

    def cache_features(mllm, records, views, seed):
        given.append((records, views, seed))
        return FeatureCache(np.zeros((len(records), views, 1, 1), np.float16), list(range(len(records))))

    monkeypatch.setattr("train.data.training_split.cache_features", cache_features)
    split = TrainingSplit.of("birds", records)
    data = split.training_set(SimpleNamespace(), read_preset("tiny-cpu", seed=3))
    assert given == [(split.training, 4, 3)]
    assert data.records == split.training
    assert {record.sha256 for record in split.held_out}.isdisjoint(record.sha256 for record in data.records)
    assert len(split.held_out) == 3
    assert len(split.records) == 30


def test_look_alikes_are_ranked_by_descriptions_or_by_photos(records, monkeypatch):
    means = SimpleNamespace(cpu=lambda: SimpleNamespace(numpy=lambda: np.array([[1.0, 0], [0, 1], [0.9, 0.1]])))
    monkeypatch.setattr("train.data.training_set.mean_features", lambda *_: means)
    described = TrainingSet.build(records, None)
    seen = TrainingSet.build(records, None, negatives_by="photos", mllm=SimpleNamespace())
    names = [category.name for category in described.categories]
    assert names == sorted(BIRDS)
    assert names[described.nearest_categories[0][0]] == "Cedar Waxwing"
    assert names[seen.nearest_categories[0][0]] == "Downy Woodpecker"


def test_a_run_needs_enough_categories_and_photos(records):
    stranger = replace(records[0], category="Purple Martian", data_set="bird-200")  # asked for its species as birds are
    with pytest.raises(UserError, match="No attributes are known for 'Purple Martian'"):
        TrainingSet.build([*records, stranger], None).check_described()
    with pytest.raises(UserError, match="No category has 8 photos"):
        TrainingSplit.of("few", records[:7])
    with pytest.raises(UserError, match="only one kind of bird"):
        TrainingSet.build(records[:3], None)
