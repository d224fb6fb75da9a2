"""A folder of class folders, of which one is too small for a held-out part."""

import pytest
from PIL import Image


@pytest.fixture
def class_folders(tmp_path):
    for name, first, count in (("Cedar_Waxwing", 0, 25), ("Bohemian_Waxwing", 100, 5)):
        (tmp_path / "birds" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (first + i, 0, 0)).save(tmp_path / "birds" / name / f"{i}.png")
    return tmp_path / "birds"
