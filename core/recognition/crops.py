"""The part of a photo that is identified: a box given by hand, one that is found, or the whole photo."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from core.errors import UserError

Box = tuple[float, float, float, float]  # left, top, width, height, as shares of the photo's width and height
Crop = Box | Literal["auto", "none"]  # auto: see `core.recognition.regions.choose_part`; none: the whole photo

MIN_SIDE = 16  # pixels of a box's shorter side
ROUNDING = 1e-3  # by which a box may reach beyond the photo
WRONG_CROP = (
    "{!r} is no part of a photo: give auto, none, or left,top,width,height as shares of the photo between 0 and 1, such "
    "as 0.25,0.1,0.5,0.6 (pixels divided by its width and height)."
)


def parse_crop(text: str) -> Crop:
    """Return the crop of a command line: "auto", "none" or "left,top,width,height".

    Raises `UserError` for anything else.
    """
    if text == "auto":
        return "auto"
    if text == "none":
        return "none"
    try:
        left, top, width, height = map(float, text.split(","))
    except ValueError:
        raise UserError(WRONG_CROP.format(text)) from None
    return checked_box((left, top, width, height))


def checked_box(box: Box) -> Box:
    """Return the box within the photo. Raises `UserError` for one that is not four shares inside it."""
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise UserError(WRONG_CROP.format(",".join(map(str, box))))
    left, top, width, height = box
    inside = min(left, top) >= -ROUNDING and max(left + width, top + height) <= 1 + ROUNDING
    if not inside or min(width, height) <= 0:
        raise UserError(WRONG_CROP.format(",".join(f"{value:g}" for value in box)))
    left, top = max(left, 0.0), max(top, 0.0)
    return left, top, min(width, 1 - left), min(height, 1 - top)


def cut(photo: Image.Image, box: Box) -> Image.Image:
    """Return the part of a photo in a box. Raises `UserError` if that is smaller than `MIN_SIDE` pixels."""
    left, top, width, height = checked_box(box)
    right, bottom = round((left + width) * photo.width), round((top + height) * photo.height)
    part = photo.crop((round(left * photo.width), round(top * photo.height), right, bottom))
    if min(part.size) < MIN_SIDE:
        raise UserError(
            f"The chosen part has {part.width} x {part.height} pixels: choose one of at least {MIN_SIDE} x {MIN_SIDE}."
        )
    return part


def rounded_box(box: Box) -> list[float]:
    """Return the JSON form of a box."""
    return [round(share, 4) for share in box]


@dataclass(frozen=True)
class Region:
    """A part of a photo that shows something the model knows, named from one look at it."""

    box: Box
    score: float  # cosine in [-1, 1] of its vision features with those of the nearest known category
    name: str
    probability: float

    def crop(self, photo: Image.Image) -> Image.Image:
        """Return this part of the photo."""
        return cut(photo, self.box)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"box": rounded_box(self.box), "name": self.name, "probability": round(self.probability, 4)}
