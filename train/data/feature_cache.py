"""Vision features of training photos, computed once: the tower is frozen in both stages.

A few augmented views per photo are cached with it (the whole photo, its mirror image, random crops), because
with one view the connector learns the photos by heart. This is for towers that see every photo in one size.
"""

import logging
import random
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
from core.storage.cache import cached, entry_path, fingerprint
from train.data.records import Record

log = logging.getLogger(__name__)

VERSION = 1  # of the cached features: raise when `augmented_view` or the vision encoder's input changes
PHOTOS_AT_ONCE = 16


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

    def get(self, rows: list[int], views: list[int], device: torch.device) -> VisionFeatures:
        """The features of photos `rows` in `views` (same length): states [B, P, D] float32."""
        states: Tensor = torch.from_numpy(self.array[[self.positions[row] for row in rows], views]).to(device).float()
        return VisionFeatures(states, torch.ones(states.shape[:2], dtype=torch.bool, device=device))


def cache_features(mllm: VisionLanguageModel, records: list[Record], views: int, seed: int) -> FeatureCache:
    """Return the cached features of the records, in their order; computed and stored if they are not there yet.

    A computation that was interrupted is resumed.
    """
    unique = {record.sha256: record for record in sorted(records, key=lambda record: record.sha256)}
    path = entry_path("features", VERSION, fingerprint(base_id(mllm.base), list(unique), views, seed), ".npy")
    part = path.with_suffix(".part")
    array = cached(
        path,
        lambda: _compute(mllm, list(unique.values()), views, seed, part),
        lambda _, path: part.replace(path),
        lambda path: np.load(path, mmap_mode="r"),
    )
    index = {digest: i for i, digest in enumerate(unique)}
    return FeatureCache(array, [index[record.sha256] for record in records])


def _compute(mllm: VisionLanguageModel, records: list[Record], views: int, seed: int, part: Path) -> np.ndarray:
    array = _resume(part)
    for i, record in enumerate(records):
        if array is not None and array[i, -1, -1].any():
            continue  # written to its end before the last run was cut off: what is not is still zero there
        rng = random.Random(f"{seed} {record.sha256}")
        photo = read_photo(record.image).image
        # Small batches keep the feature maps in the processor's cache.
        states = mllm.vision_features([augmented_view(photo, view, rng) for view in range(views)]).states
        if array is None:
            shape = (len(records), *states.shape)
            try:
                array = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
            except OSError as error:
                raise UserError(f"{part} cannot be written ({error.strerror}).") from error
        array[i] = states.half().cpu().numpy()
        if i % 250 == 0:
            log.info("vision features: %d of %d photos", i + 1, len(records))
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
    """[N, D] float32 normalised mean of the pooled vision features of every category's photos, from the cache if any.

    Raises `UserError` for a category without photos.
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
