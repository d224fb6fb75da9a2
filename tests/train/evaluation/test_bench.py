import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from core.data.images import open_photo
from core.recognition.conclusion import Species
from core.recognition.results import Identification
from train.evaluation.bench import CAT, latency, package_pictures, picture_files, prefix_speed, unknown_share
from train.evaluation.throughput import throughput
from train.recipe import read_preset


@pytest.fixture
def cat():
    return open_photo(picture_files()[CAT].read_bytes()).image


@pytest.fixture(autouse=True)
def once(monkeypatch):
    """A test needs no median."""
    monkeypatch.setattr("train.evaluation.bench.REPEATS", 1)


def test_the_shared_prefix_ranks_alike(recogniser, cat, monkeypatch):
    monkeypatch.setattr("train.evaluation.bench.NAMES", 8)
    result = prefix_speed(recogniser, cat)
    assert result["same_ranking"]
    assert result["largest_difference"] < 1e-3  # in float32, in which all tests run; the closest names are 0.0015 apart


def test_words_come_after_the_species(cat):
    named = Identification("a", True, [Species("Bengal", 1.0)])

    def stream(photo):
        for state in (named, replace(named, answer="Bengal"), replace(named, attributes={"coat": "short"}), named):
            time.sleep(0.005)
            yield state

    seconds = latency(SimpleNamespace(stream=stream), cat)
    assert 0 < seconds["species"] < seconds["first_attribute_word"] < seconds["all"]


def test_pictures_of_other_things_are_unknown(recogniser, monkeypatch):
    pictures = package_pictures()
    assert len(pictures) >= 25
    monkeypatch.setattr("train.evaluation.bench.package_pictures", lambda: dict(list(pictures.items())[::3]))
    assert unknown_share(recogniser)["detected"] >= 0.8


@pytest.fixture
def throughput_of_reduced(reduced_idefics2, monkeypatch):
    """The measurements of training on a reduced model."""
    for name, value in {"PHOTOS": 6, "PICTURES_PER_CATEGORY": 1, "STEPS": 1}.items():
        monkeypatch.setattr(f"train.evaluation.throughput.{name}", value)
    preset = read_preset("tiny-cpu", base=str(reduced_idefics2))
    monkeypatch.setattr("train.evaluation.throughput.read_preset", lambda _: preset)
    return throughput()


def test_training_has_the_loss_of_the_released_shape(throughput_of_reduced):
    assert throughput_of_reduced["loss_difference"] < 1e-4
    assert set(throughput_of_reduced["speedup"]) == {"released shape", "same losses", "preset"}
