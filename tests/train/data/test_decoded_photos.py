"""Photos decoded once: their order, and what becomes of a damaged cache."""

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import UserError
from train.data import decoded_photos as module
from train.data.decoded_photos import SIDE, decoded_photos
from train.data.records import Record

COLOURS = [(200, 10, 10), (10, 200, 10), (10, 10, 200)]


@pytest.fixture
def records(tmp_path, monkeypatch):
    """Photos of one colour each, not in the order of their hashes."""
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path / "cache"))
    for i, colour in enumerate(COLOURS):
        Image.new("RGB", (20, 10), colour).save(tmp_path / f"{i}.png")
    return [Record(tmp_path / f"{i}.png", "crow", "bird", "cab"[i]) for i in range(3)]


@pytest.fixture
def read(monkeypatch):
    """The photos that were read."""
    seen, read_photo = [], module.read_photo

    def noted(path):
        seen.append(path.name)
        return read_photo(path)

    monkeypatch.setattr(module, "read_photo", noted)
    return seen


def test_photos_keep_the_order_of_the_records_and_are_stored_once(records, read):
    photos = decoded_photos([*records, records[0]])
    assert photos.array.shape == (3, SIDE, SIDE, 3)
    taken = photos.get([3, 1, 2, 0])
    assert taken.dtype == torch.uint8
    assert [tuple(photo[5, 5].tolist()) for photo in taken] == [COLOURS[i] for i in (0, 1, 2, 0)]
    assert sorted(read) == ["0.png", "1.png", "2.png"]
    again = decoded_photos(records[::-1])
    assert [tuple(photo[5, 5].tolist()) for photo in again.get([0, 1, 2])] == COLOURS[::-1]
    assert len(read) == 3


def test_a_damaged_cache_is_computed_again(records, read, tmp_path, caplog):
    whole = np.array(decoded_photos(records).array)
    (path,) = (tmp_path / "cache/photos").glob("*.npy")
    path.unlink()
    path.write_bytes(b"damaged")
    assert np.array_equal(decoded_photos(records).array, whole)
    assert len(read) == 6
    assert "damaged" in caplog.text


def test_what_an_interrupted_run_left_is_computed_from_the_start(records, read, tmp_path):
    whole = np.array(decoded_photos(records).array)
    (path,) = (tmp_path / "cache/photos").glob("*.npy")
    cut = np.lib.format.open_memmap(path.rename(path.with_suffix(".part")), mode="r+")
    cut[1:] = 0
    cut.flush()
    assert np.array_equal(decoded_photos(records).array, whole)
    assert len(read) == 6


def test_another_version_is_another_entry(records, read, monkeypatch):
    decoded_photos(records)
    monkeypatch.setattr(module, "VERSION", 99)
    decoded_photos(records)
    assert len(read) == 6


def test_a_cache_that_cannot_be_written_is_one_sentence(records, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written"):
        decoded_photos(records)
