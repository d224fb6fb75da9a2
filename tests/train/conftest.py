"""Generated pictures of birds."""

import random

import pytest
from PIL import Image, ImageDraw

NAMES = ["Cedar_Waxwing", "Bohemian_Waxwing", "Downy_Woodpecker", "Baltimore_Oriole", "Hooded_Oriole"]


@pytest.fixture(scope="session")
def birds(tmp_path_factory):
    """A folder of class folders: 8 generated pictures of each of 5 species."""
    folder = tmp_path_factory.mktemp("data") / "birds"
    rng = random.Random(0)
    for i, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for k in range(8):
            picture = Image.new("RGB", (64, 64), (40 * i, 90, 200 - 30 * i))
            ImageDraw.Draw(picture).ellipse([rng.randint(0, 20), 10 + k, 50, 60], fill=(rng.randint(0, 255), 50, 30 * i))
            picture.save(folder / name / f"{k}.png")
    return folder
