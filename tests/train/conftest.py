"""Generated pictures of birds, and a model of next to no size to train on them."""

import random

import pytest
import torch
from PIL import Image, ImageDraw
from small_training import small_recipe

from core.models.base_models import open_base
from train.data.decoded_photos import decoded_photos
from train.data.feature_cache import cache_features
from train.data.source import read_folder
from train.data.training_set import TrainingSet
from train.loop.trainable import add_adapter
from train.objectives.stage_model import initialise_connector

NAMES = ["Cedar_Waxwing", "Bohemian_Waxwing", "Downy_Woodpecker", "Baltimore_Oriole", "Hooded_Oriole"]


@pytest.fixture(scope="session")
def birds(tmp_path_factory):
    """A folder of class folders: 8 generated pictures of each of 5 species."""
    folder = tmp_path_factory.mktemp("data") / "birds"
    rng = random.Random(0)
    for i, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for k in range(8):
            picture = Image.new("RGB", (64, 64), (40 * i, 90, 200 - 30 * i))
            ImageDraw.Draw(picture).ellipse([rng.randint(0, 20), 10 + k, 50, 60], fill=(rng.randint(0, 255), 50, 30 * i))
            picture.save(folder / name / f"{k}.png")
    return folder


@pytest.fixture
def reduced(reduced_idefics2):
    """Open a model of next to no size, for what does not depend on a model's being any good."""
    return lambda: open_base(str(reduced_idefics2), dtype=torch.float32)


@pytest.fixture
def fresh(reduced, recipe):
    """Open such a model with a fresh connector and an adapter."""

    def build():
        mllm = reduced()
        initialise_connector(mllm, seed=0)
        add_adapter(mllm, recipe)
        return mllm

    return build


@pytest.fixture(scope="session")
def recipe(reduced_idefics2):
    """A recipe of all stages, with cached features."""
    return small_recipe(reduced_idefics2)


@pytest.fixture(scope="session")
def data(birds, reduced_idefics2, recipe, tmp_path_factory):
    """The pictures with cached features."""
    records, cache = read_folder(birds, "none.csv")[::3], tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.storage.cache.cache_root", lambda: cache)
        mllm = open_base(str(reduced_idefics2), dtype=torch.float32)
        features = cache_features(mllm, records, recipe.views, seed=0)
    return TrainingSet.build(records, features)


@pytest.fixture(scope="session")
def decoded(birds, tmp_path_factory):
    """The pictures decoded, for fresh views at every step."""
    records, cache = read_folder(birds, "none.csv")[::3], tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.storage.cache.cache_root", lambda: cache)
        photos = decoded_photos(records)
    return TrainingSet.build(records, None, photos=photos)


@pytest.fixture
def pictures(birds):
    """The pictures, without features."""
    return TrainingSet.build(read_folder(birds, "none.csv"), None)
