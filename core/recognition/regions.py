"""Find the objects in a photo of which they are a small part, and choose the part that is identified.

The patches of the vision encoder, which the photo goes through in any case, propose boxes: windows of patches whose mean
is near the mean features of a known category and unlike the rest of the photo, and whose patches are nearer to known
categories than the photo's patches are on average. The best boxes are cut out and encoded, and scored by how near they
are to the nearest category, the measure by which `Recogniser.knows` rejects photos. A photo that is near enough as a
whole, as tight crops are, is not searched.
"""

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from core.errors import UserError
from core.models.vlm import VisionFeatures
from core.recognition.crops import Box, Crop, Region, checked_box, cut
from core.recognition.photo_encoding import PhotoEncoding, encode_each, tta_views
from core.recognition.results import Identification

if TYPE_CHECKING:
    from core.recognition.label_space import LabelSpace
    from core.recognition.recogniser import Recogniser

MAX_REGIONS = 5  # boxes that are encoded, and at most returned
MIN_PATCHES = 2  # of a window's sides
MAX_ASPECT = 2.5  # of a window, in patches
CONTRAST_WEIGHT = 0.5  # of the cosine between a window and the rest of the photo
SALIENCY_WEIGHT = 0.05  # of how much nearer than average the window's patches are to known categories
MAX_OVERLAP = 0.35  # intersection over union of two proposals
MAX_SHARED = 0.5  # intersection of two regions over the smaller one: with more they show one object
SEARCHED = 0.6  # of the distance of unknown photos: a photo that is nearer as a whole is not searched
GAIN = 0.05  # of the score, by which the best region is nearer than the whole photo
SURER, LOSS = 0.1, 0.03  # or of the first name's probability, by which it is surer; then the score may be lower by this
UNFITTED = "{} is not calibrated, so it does not look for the object: give the part as left,top,width,height, or none."


@dataclass(frozen=True)
class Part:
    """The part of a photo that is identified, encoded."""

    encoding: PhotoEncoding
    box: Box | None  # None: the whole photo
    regions: list[Region]  # what was found, the best first; none where nothing was looked for
    seconds: float

    def placed(self, result: Identification) -> Identification:
        """Return an identification of this part with its box; the time for the names includes the search."""
        seconds = {**result.seconds, "species": result.seconds["species"] + self.seconds}
        return replace(result, box=self.box, objects=self.regions, seconds=seconds)


def choose_part(recogniser: "Recogniser", photo: Image.Image, space: "LabelSpace", crop: Crop) -> Part:
    """Return the part of a photo that `crop` names; for "auto" the best region if it is nearer than the whole photo.

    Raises `UserError` for a box that cannot be cut, and for "auto" with a model that is not calibrated.
    """
    started = time.perf_counter()
    box: Box | None = None
    regions: list[Region] = []
    if crop == "none":
        encoding = recogniser.encode(photo)
    elif crop == "auto":
        encoding, regions = _search(recogniser, photo, space)
        box = regions[0].box if regions else None
    else:
        box = checked_box(crop)
        encoding = recogniser.encode(cut(photo, box))
    return Part(encoding, box, regions, time.perf_counter() - started)


def find_regions(recogniser: "Recogniser", photo: Image.Image, space: "LabelSpace") -> list[Region]:
    """Return at most `MAX_REGIONS` parts of a photo that show something the model knows, the nearest first.

    They are ranked among the names of `space`, and looked for by its categories. Raises `UserError` for a model that is
    not calibrated.
    """
    check_searchable(recogniser)
    _, grid = _encode_patches(recogniser, [photo])
    return _regions(recogniser, photo, space, grid)


def check_searchable(recogniser: "Recogniser") -> None:
    """Raise `UserError` for a model that is not calibrated: it knows no distance of a photo from its categories."""
    if not recogniser.calibration.fitted:
        raise UserError(UNFITTED.format(recogniser.name))


def _search(recogniser: "Recogniser", photo: Image.Image, space: "LabelSpace") -> tuple[PhotoEncoding, list[Region]]:
    """Return the encoding of the best region, and the regions, or of the whole photo and none.

    The best region must be nearer than the whole photo by `GAIN`, or surer by `SURER`.
    """
    check_searchable(recogniser)
    vision, grid = _encode_patches(recogniser, tta_views(photo))
    whole = recogniser.encode_features(vision)
    score = _nearness(whole.features, space.means).item()
    if 1 - score < SEARCHED * recogniser.calibration.unknown_distance:
        return whole, []
    regions = _regions(recogniser, photo, space, grid)
    if regions:
        share = recogniser.logits(recogniser.compare(whole, space)).softmax(dim=0).max().item()
        nearer, surer = regions[0].score - score, regions[0].probability - share
        if nearer >= GAIN or (surer >= SURER and nearer >= -LOSS):
            return recogniser.encode(regions[0].crop(photo)), regions
    return whole, []


def _encode_patches(recogniser: "Recogniser", views: list[Image.Image]) -> tuple[VisionFeatures, Tensor]:
    """Return the vision features of the views, and the first view's as a grid of patches [h, w, D]."""
    pixels, mask = recogniser.mllm.pixels(views)
    vision = recogniser.mllm.encode_vision(pixels, mask)
    height, width = int(mask[0].any(dim=1).sum()), int(mask[0].any(dim=0).sum())
    return vision, vision.states[0][vision.mask[0]].reshape(height, width, -1).float().cpu()


def _nearness(features: Tensor, means: Tensor) -> Tensor:
    """Return the cosine [...] of features [..., D] with the nearest of the categories' means [M, D]."""
    return (F.normalize(features, dim=-1) @ F.normalize(means, dim=-1).T).amax(dim=-1)


def _regions(recogniser: "Recogniser", photo: Image.Image, space: "LabelSpace", grid: Tensor) -> list[Region]:
    boxes = propose(grid, space.means)
    regions = []
    for box, encoding in zip(boxes, encode_each(recogniser.mllm, [cut(photo, box) for box in boxes]), strict=True):
        score = _nearness(encoding.features, space.means).item()
        if 1 - score <= recogniser.calibration.unknown_distance:
            shares = recogniser.logits(recogniser.compare(encoding, space)).softmax(dim=0)
            regions.append(Region(box, score, space.labels[int(shares.argmax())], shares.max().item()))
    regions.sort(key=lambda region: region.score, reverse=True)
    kept: list[Region] = []
    for region in regions:
        shared = overlaps(torch.tensor([region.box]), torch.tensor([k.box for k in kept]).reshape(-1, 4), union=False)
        if not (shared > MAX_SHARED).any():
            kept.append(region)
    return kept


def propose(grid: Tensor, means: Tensor) -> list[Box]:
    """Return at most `MAX_REGIONS` boxes of windows in a grid of patches [h, w, D], the most promising first.

    With m the mean of a window's patches and r that of the others, a window of n patches scores
    max_c cos(m, c) - `CONTRAST_WEIGHT` cos(m, r) + `SALIENCY_WEIGHT` sum (a - mean a) / (std a sqrt n), where a is the
    cosine of a patch with the nearest category.
    """
    height, width = grid.shape[:2]
    windows = _windows(height, width)
    if not len(windows):
        return []
    area = (windows[:, 2] * windows[:, 3]).float()
    inside, total = _sums(grid, windows), grid.sum(dim=(0, 1))
    outside = (total - inside) / (height * width - area)[:, None]
    near = _nearness(grid, means)
    salient = _sums(((near - near.mean()) / near.std().clamp(min=1e-6))[..., None], windows)[:, 0] / area.sqrt()
    scores = (
        _nearness(inside, means)
        - CONTRAST_WEIGHT * F.cosine_similarity(inside, outside, dim=-1)
        + SALIENCY_WEIGHT * salient
    )
    boxes = windows / torch.tensor([width, height, width, height])
    kept: list[Box] = []
    while len(kept) < MAX_REGIONS and scores.isfinite().any():
        best = int(scores.argmax())
        left, top, wide, high = boxes[best].tolist()
        kept.append((left, top, wide, high))
        scores[overlaps(boxes[best : best + 1], boxes)[0] >= MAX_OVERLAP] = float("-inf")
    return kept


@lru_cache(maxsize=8)
def _windows(height: int, width: int) -> Tensor:
    """Return the windows [W, 4] (left, top, width, height in patches) of a grid, without the whole of it."""
    return torch.tensor(
        [
            (left, top, wide, high)
            for high in range(MIN_PATCHES, height + 1)
            for wide in range(MIN_PATCHES, width + 1)
            if max(wide, high) <= MAX_ASPECT * min(wide, high) and (wide, high) != (width, height)
            for top in range(height - high + 1)
            for left in range(width - wide + 1)
        ]
    ).reshape(-1, 4)


def _sums(grid: Tensor, windows: Tensor) -> Tensor:
    """Return the sums [W, D] of a grid [h, w, D] over windows [W, 4]."""
    table = F.pad(grid.cumsum(dim=0).cumsum(dim=1), (0, 0, 1, 0, 1, 0))
    left, top, wide, high = windows.T
    right, bottom = left + wide, top + high
    return table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]


def overlaps(first: Tensor, second: Tensor, union: bool = True) -> Tensor:
    """Return the intersections [A, B] of boxes [A, 4] and [B, 4] over their unions, or over the smaller of the two."""
    corner = torch.minimum(first[:, None, :2] + first[:, None, 2:], second[:, :2] + second[:, 2:])
    shared = (corner - torch.maximum(first[:, None, :2], second[:, :2])).clamp(min=0).prod(dim=-1)
    areas, others = first[:, 2:].prod(dim=-1)[:, None], second[:, 2:].prod(dim=-1)
    return shared / (areas + others - shared if union else torch.minimum(areas, others))
