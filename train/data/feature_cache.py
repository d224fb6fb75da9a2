"""Vision features of training photos, computed once: the vision encoder is frozen in all stages.

A few augmented views of each photo are cached (the whole photo, its mirror image, random crops), because with a single
view the connector overfits to the photos. This is for vision encoders that resize every photo to one size.
"""

import logging
import random
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.nn import functional as F

from core.data.images import read_photo
from core.errors import UserError
from core.models.base_models import base_id
from core.models.scoring import pooled_features
from core.models.vlm import VisionFeatures, VisionLanguageModel
from core.progress import Progress, count_progress
from core.storage.cache import entry_path, fingerprint
from train.data.photo_array import cached_photo_array, distinct_photos, new_array
from train.data.records import Record

log = logging.getLogger(__name__)

VERSION = 3  # of the cached features: raise when `augmented_view` or the vision encoder's input changes
PHOTOS_AT_ONCE = 16


def augmented_view(photo: Image.Image, view: int, rng: random.Random) -> Image.Image:
    """Return a view of a photo: 0 is the photo, 1 its mirror image, others are random crops of at least 42 % of it."""
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

    def get(self, rows: list[int], views: list[int], device: torch.device) -> VisionFeatures:
        """Return the features of photos `rows` in `views` (same length): states [B, P, D] float32."""
        states: Tensor = torch.from_numpy(self.array[[self.positions[row] for row in rows], views]).to(device).float()
        return VisionFeatures(states, torch.ones(states.shape[:2], dtype=torch.bool, device=device))


def cache_features(mllm: VisionLanguageModel, records: list[Record], views: int, seed: int) -> FeatureCache:
    """Return the cached features of the records, in their order; computed and stored if they are not there yet.

    A computation that was interrupted is resumed.
    """
    key = fingerprint(base_id(mllm.base), mllm.encoder_id, list(distinct_photos(records)), views, seed)

    def compute(photos: list[Record], part: Path) -> Generator[Progress, None, np.ndarray]:
        return _compute(mllm, photos, views, seed, part)

    path = entry_path("features", VERSION, key, ".npy")
    return FeatureCache(*cached_photo_array(records, path, compute, "vision features: "))


def _compute(
    mllm: VisionLanguageModel, records: list[Record], views: int, seed: int, part: Path
) -> Generator[Progress, None, np.ndarray]:
    array, started = _resume(part), time.monotonic()
    # Rows that an interrupted run has not written to their ends are still zero there.
    missing = [i for i in range(len(records)) if array is None or not array[i, -1, -1].any()]
    for done, i in enumerate(missing, start=1):
        record = records[i]
        rng = random.Random(f"{seed} {record.sha256}")
        photo = read_photo(record.image).image
        # Small batches keep the feature maps in the processor's cache.
        states = mllm.vision_features([augmented_view(photo, view, rng) for view in range(views)]).states
        if array is None:
            array = new_array(part, np.float16, (len(records), *states.shape))
        array[i] = states.half().cpu().numpy()
        yield count_progress(done, len(missing), started)
    assert array is not None
    array.flush()
    return np.load(part, mmap_mode="r")


def _resume(part: Path) -> np.memmap | None:
    """Return the array of an interrupted computation; `None` if there is none or it is damaged."""
    try:
        return np.lib.format.open_memmap(part, mode="r+")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s is damaged (%s): the features are computed from the start.", part, error)
        return None


def mean_features(
    mllm: VisionLanguageModel, records: list[Record], features: FeatureCache | None, names: list[str]
) -> Tensor:
    """Return the normalised mean [N, D] float32 of the pooled vision features of every category's photos.

    The features are those of the cache, if there is one. Raises `UserError` for a category without photos.
    """
    sums: dict[str, Tensor] = {}
    for start in range(0, len(records), PHOTOS_AT_ONCE):
        rows = range(start, min(start + PHOTOS_AT_ONCE, len(records)))
        if features:
            vision = features.get(list(rows), [0] * len(rows), mllm.device)
        else:
            vision = mllm.vision_features([read_photo(records[row].image).image for row in rows])
        for row, pooled in zip(rows, pooled_features(vision), strict=True):
            name = records[row].category
            sums[name] = sums.get(name, torch.zeros_like(pooled)) + pooled
    if missing := [name for name in names if name not in sums]:
        raise UserError(f"There are no photos of {missing[0]}.")
    return F.normalize(torch.stack([sums[name] for name in names]), dim=-1)
