"""Training photos decoded once, as one array of small squares, so that fresh views can be drawn at every step."""

import logging
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
from core.errors import UserError
from core.progress import Progress, count_progress, log_progress, run
from core.storage.cache import cached_steps, entry_path, fingerprint
from train.data.records import Record

log = logging.getLogger(__name__)

VERSION = 1  # of the cached arrays: raise when decoding changes
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
    unique = {record.sha256: record for record in sorted(records, key=lambda record: record.sha256)}
    path = entry_path("photos", VERSION, fingerprint(list(unique), SIDE), ".npy")
    part = path.with_suffix(".part")
    steps = cached_steps(
        path,
        lambda: _decode(list(unique.values()), part),
        lambda _, path: part.replace(path),
        lambda path: np.load(path, mmap_mode="r"),
    )
    array = run(steps, log_progress(log, "decoding photos: "))
    index = {digest: i for i, digest in enumerate(unique)}
    return DecodedPhotos(array, [index[record.sha256] for record in records])


def _decode(records: list[Record], part: Path) -> Generator[Progress, None, np.ndarray]:
    try:
        array = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(len(records), SIDE, SIDE, 3))
    except OSError as error:
        raise UserError(f"{part} cannot be written ({error.strerror}).") from error
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
