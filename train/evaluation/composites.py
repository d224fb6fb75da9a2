"""Photos pasted small into other scenes, with the boxes that they were pasted at.

The scenes are generated textures, pictures of other things that come with installed packages, and blurred photos of
other data sets. The pasted photo has rounded corners and a soft edge, so that no frame gives it away.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SCENE = (640, 480)  # pixels
SHARES = (0.08, 0.3)  # of the scene's area, that a pasted photo takes
SECOND_SHARES = (0.08, 0.15)  # the same for the second object
INSET, FEATHER = 0.05, 0.03  # of the pasted photo's shorter side: how far the mask stays inside, and its blur
SCENE_BLUR = 24  # pixels: nothing in a photo blurred like this can be named
OCTAVES = (4, 16, 64)  # cells beside each other in the layers of a texture

Box = tuple[float, float, float, float]  # left, top, width, height, as shares of the scene


@dataclass(frozen=True)
class Composite:
    """A scene with one or two photos in it."""

    scene: Image.Image
    boxes: list[Box]  # of each photo, in their order


def composite(photos: Sequence[Image.Image], scene: Image.Image, chance: random.Random) -> Composite:
    """Return the scene, shrunk or grown to `SCENE`, with one or two photos pasted into it.

    A single photo lies anywhere, of two one lies in each half of the scene.
    """
    canvas, boxes = cover(scene, SCENE), []
    halves = chance.sample((0, 1), len(photos)) if len(photos) == 2 else [None]
    for photo, half, shares in zip(photos, halves, (SHARES, SECOND_SHARES), strict=False):
        room = SCENE if half is None else (SCENE[0] // 2, SCENE[1])
        small = _resized(photo, chance.uniform(*shares), room)
        left = chance.randint(0, room[0] - small.width) + (half or 0) * SCENE[0] // 2
        top = chance.randint(0, room[1] - small.height)
        canvas.paste(small, (left, top), _mask(small.size))
        boxes.append((left / SCENE[0], top / SCENE[1], small.width / SCENE[0], small.height / SCENE[1]))
    return Composite(canvas, boxes)


def _resized(photo: Image.Image, share: float, room: tuple[int, int]) -> Image.Image:
    """Return the photo at a share of the scene's area, or smaller where the room's width or height asks for it."""
    scale = (share * SCENE[0] * SCENE[1] / (photo.width * photo.height)) ** 0.5
    scale = min(scale, room[0] / photo.width, room[1] / photo.height)
    return photo.resize((int(photo.width * scale), int(photo.height * scale)), Image.Resampling.LANCZOS)


def _mask(size: tuple[int, int]) -> Image.Image:
    """Return the opacity of a pasted photo: a rounded rectangle with a soft edge."""
    shorter, mask = min(size), Image.new("L", size, 0)
    inset = INSET * shorter
    edges = (inset, inset, size[0] - 1 - inset, size[1] - 1 - inset)
    ImageDraw.Draw(mask).rounded_rectangle(edges, radius=shorter / 4, fill=255)
    return mask.filter(ImageFilter.GaussianBlur(FEATHER * shorter))


def cover(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the middle of a picture, resized so that it covers `size`."""
    scale = max(size[0] / picture.width, size[1] / picture.height)
    grown = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    left, top = (grown.width - size[0]) // 2, (grown.height - size[1]) // 2
    return grown.crop((left, top, left + size[0], top + size[1]))


def texture(chance: random.Random) -> Image.Image:
    """Return a texture of random colours: noise of several sizes, from patches to grain."""
    noise = np.random.default_rng(chance.getrandbits(32))
    base = noise.uniform(60, 200, 3)
    layers = np.zeros((SCENE[1], SCENE[0], 3))
    for cells in OCTAVES:
        coarse = noise.uniform(-40, 40, (cells * 3 // 4, cells, 3)).astype("float32")
        layers += np.stack([_grown(coarse[..., channel]) for channel in range(3)], axis=-1)
    return Image.fromarray(np.clip(base + layers, 0, 255).astype("uint8"))


def _grown(layer: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(layer).resize(SCENE, Image.Resampling.BICUBIC))


def blurred(photo: Image.Image) -> Image.Image:
    """Return a photo as an out-of-focus scene."""
    return cover(photo, SCENE).filter(ImageFilter.GaussianBlur(SCENE_BLUR))
