"""Vision features of training photos, computed once: the tower is frozen in both stages.

A few augmented views per photo are cached with it (the whole photo, its mirror image, random crops), because
with one view the connector learns the photos by heart.
"""

import hashlib
import logging
import os
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from core.mllm import Mllm, VisionFeatures
from core.photos import read_photo
from core.weights import base_fingerprint, cache_root
from train.data import Record

log = logging.getLogger(__name__)

PHOTOS_PER_BATCH = 1  # times the views: small batches keep the feature maps in the processor's cache


def augmented_view(photo: Image.Image, view: int, rng: random.Random) -> Image.Image:
    """View 0 is the photo, view 1 its mirror image, the rest are random crops (half to all of the area)."""
    if view == 0:
        return photo
    if view == 1 or rng.random() < 0.5:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if view == 1:
        return photo
    width, height = (round(side * rng.uniform(0.65, 1.0)) for side in photo.size)
    left, top = rng.randint(0, photo.width - width), rng.randint(0, photo.height - height)
    crop = photo.crop((left, top, left + width, top + height))
    return ImageEnhance.Brightness(ImageEnhance.Color(crop).enhance(rng.uniform(0.7, 1.3))).enhance(
        rng.uniform(0.8, 1.2)
    )


class FeatureCache:
    """Vision features [photos on disk, views, P, D] float16, memory-mapped; record i is photo `positions[i]`."""

    def __init__(self, array: np.ndarray, positions: list[int]) -> None:
        self.array = array
        self.positions = positions
        self.views = array.shape[1]

    def of(self, records: list[Record], part: list[Record]) -> "FeatureCache":
        """The same cache for a part of the records it was made for."""
        position = {record.sha256: p for record, p in zip(records, self.positions, strict=True)}
        return FeatureCache(self.array, [position[record.sha256] for record in part])

    def get(self, rows: list[int], views: list[int], device: torch.device) -> VisionFeatures:
        """The features of photos `rows` in `views` (same length): states [B, P, D] float32."""
        states: Tensor = torch.from_numpy(self.array[[self.positions[row] for row in rows], views]).to(device).float()
        return VisionFeatures(states, torch.ones(states.shape[:2], dtype=torch.bool, device=device))


def cache_features(mllm: Mllm, records: list[Record], views: int, seed: int) -> FeatureCache:
    """The cached features of the records, in their order; computed and stored if they are not there yet."""
    folder = cache_root() / "features"
    folder.mkdir(parents=True, exist_ok=True)
    index = {digest: i for i, digest in enumerate(sorted({record.sha256 for record in records}))}
    key = hashlib.sha256(" ".join(index).encode()).hexdigest()[:16]
    path = folder / f"{base_fingerprint()}-{key}-{views}-{seed}.npy"
    if not path.exists():
        unique = {record.sha256: record for record in records}
        _compute(mllm, [unique[digest] for digest in index], views, seed, path)
    return FeatureCache(np.load(path, mmap_mode="r"), [index[record.sha256] for record in records])


def _compute(mllm: Mllm, records: list[Record], views: int, seed: int, path: Path) -> None:
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    array = None
    try:
        for start in range(0, len(records), PHOTOS_PER_BATCH):
            chosen = records[start : start + PHOTOS_PER_BATCH]
            photos = []
            for record in chosen:
                rng = random.Random(f"{seed} {record.sha256}")
                photo = read_photo(record.image).image
                photos += [augmented_view(photo, view, rng) for view in range(views)]
            states = mllm.vision_features(photos).states
            if array is None:
                shape = (len(records), views, *states.shape[1:])
                array = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.float16, shape=shape)
            array[start : start + len(chosen)] = (
                states.half().cpu().numpy().reshape(len(chosen), views, *states.shape[1:])
            )
            if start % 250 == 0:
                log.info("vision features: %d of %d photos", start + len(chosen), len(records))
        assert array is not None
        array.flush()
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
