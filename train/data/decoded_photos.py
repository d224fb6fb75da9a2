"""Training photos decoded once, as one array of small squares, so that fresh views can be drawn at every step."""

import os
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.data.images import read_photo
from core.progress import Progress, count_progress
from core.storage.cache import entry_path, fingerprint
from train.data.photo_array import cached_photo_array, distinct_photos, new_array
from train.data.records import Record

VERSION = 2  # of the cached arrays: raise when decoding changes
SIDE = 256  # pixels
PHOTOS_AT_ONCE = 256


class DecodedPhotos:
    """Photos [distinct photos, S, S, 3] uint8, squashed to squares; record i is photo `positions[i]`."""

    def __init__(self, array: np.ndarray, positions: list[int]) -> None:
        self.array = array
        self.positions = positions

    def get(self, rows: list[int]) -> Tensor:
        """Return photos `rows` [B, S, S, 3] uint8."""
        return torch.from_numpy(self.array[[self.positions[row] for row in rows]])


def decoded_photos(records: list[Record]) -> DecodedPhotos:
    """Return the decoded photos of the records, in their order; decoded and stored if they are not there yet."""
    path = entry_path("photos", VERSION, fingerprint(list(distinct_photos(records)), SIDE), ".npy")
    return DecodedPhotos(*cached_photo_array(records, path, _decode, "decoding photos: "))


def _decode(records: list[Record], part: Path) -> Generator[Progress, None, np.ndarray]:
    array = new_array(part, np.uint8, (len(records), SIDE, SIDE, 3))
    started = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(records), PHOTOS_AT_ONCE):
            group = records[start : start + PHOTOS_AT_ONCE]
            for row, pixels in enumerate(pool.map(_squashed, group), start=start):
                array[row] = pixels
            yield count_progress(start + len(group), len(records), started)
    array.flush()
    return np.load(part, mmap_mode="r")


def _squashed(record: Record) -> np.ndarray:
    return np.asarray(read_photo(record.image).image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
