import random

import numpy as np
import pytest
from PIL import Image

from train.evaluation.composites import SCENE, SECOND_SHARES, SHARES, blurred, composite, texture

RED, BLUE, GREY = (255, 0, 0), (0, 0, 255), (128, 128, 128)


def photo(colour, size=(300, 240)):
    return Image.new("RGB", size, colour)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [(300, 240), (120, 320), (320, 60)])
def test_a_photo_is_pasted_at_its_box_alone(seed, size):
    made = composite([photo(RED, size)], photo(GREY), random.Random(seed))
    ((left, top, width, height),) = made.boxes
    assert made.scene.size == SCENE
    assert min(left, top) >= 0
    assert max(left + width, top + height) <= 1
    assert width * height <= SHARES[1]
    assert width * height > SHARES[0] - 0.01 or width > 0.99 or height > 0.99
    pixels = np.asarray(made.scene)
    x, y = round((left + width / 2) * SCENE[0]), round((top + height / 2) * SCENE[1])
    assert tuple(pixels[y, x]) == RED
    inside = np.zeros(pixels.shape[:2], bool)
    edges = [round(value) for value in (left * SCENE[0], top * SCENE[1], width * SCENE[0], height * SCENE[1])]
    inside[edges[1] : edges[1] + edges[3], edges[0] : edges[0] + edges[2]] = True
    assert (pixels[~inside] == GREY).all()


def test_no_frame_gives_the_photo_away():
    made = composite([photo(RED)], photo(GREY), random.Random(0))
    ((left, top, _, height),) = made.boxes
    middle = round((top + height / 2) * SCENE[1])
    row = np.asarray(made.scene)[middle, :, 0].astype(int)
    assert np.abs(np.diff(row)).max() < 40  # of the 127 between scene and photo
    corner = made.scene.getpixel((round(left * SCENE[0]) + 2, round(top * SCENE[1]) + 2))
    assert corner == GREY


def test_of_two_photos_one_lies_in_each_half():
    made = composite([photo(RED), photo(BLUE)], photo(GREY), random.Random(1))
    first, second = sorted(made.boxes)
    assert first[0] + first[2] <= 0.5 <= second[0]
    assert made.boxes[1][2] * made.boxes[1][3] <= SECOND_SHARES[1]
    for colour, (left, top, width, height) in zip((RED, BLUE), made.boxes, strict=True):
        middle = round((left + width / 2) * SCENE[0]), round((top + height / 2) * SCENE[1])
        assert made.scene.getpixel(middle) == colour


def test_one_seed_makes_one_picture():
    pictures = [composite([photo(RED)], texture(chance), chance).scene for chance in map(random.Random, (3, 3, 4))]
    assert pictures[0] == pictures[1]
    assert pictures[0] != pictures[2]


def test_a_blurred_photo_has_no_edges_left():
    half = photo((255, 255, 255))
    half.paste((0, 0, 0), (0, 0, 150, 240))
    row = np.asarray(blurred(half))[100, :, 0].astype(int)
    assert np.abs(np.diff(row)).max() < 8
