"""The names that `from core import ...` offers, and the example in the package's docstring."""

import doctest
import os
import subprocess
import sys

import pytest
from PIL import Image
from skimage import data as pictures

import core
from core.data.images import MAX_SIDE, load_photo
from core.errors import UserError


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(pictures.chelsea()).save(path)
    return path


def test_the_example_of_the_docstring_runs(photo, recogniser, monkeypatch):
    monkeypatch.chdir(photo.parent)
    monkeypatch.setattr("core.zoo.registry.load", lambda name: recogniser)
    result = doctest.testmod(core)
    assert result.attempted == 5
    assert result.failed == 0


def test_every_public_name_is_there():
    for name in core.__all__:
        assert getattr(core, name)
        assert name in dir(core)
    assert core.UserError is UserError
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        core.nothing  # noqa: B018


def test_available_models_are_those_that_can_be_loaded():
    assert "finedefics-tiny" in core.available_models()
    assert "idefics2-8b" not in core.available_models()


def test_importing_the_package_imports_nothing_heavy():
    code = "import core, sys; print([m for m in ('torch', 'transformers', 'PIL', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_path_bytes_and_a_picture_are_one_photo(photo, recogniser):
    options = {"labels": ["tabby house cat", "garden gnome"], "top": 1}
    results = [
        recogniser.identify(source, **options).species
        for source in (photo, str(photo), photo.read_bytes(), Image.open(photo))
    ]
    assert results.count(results[0]) == 4
    assert len(results[0]) == 1


def test_pictures_become_rgb_of_a_limited_size():
    large = Image.new("RGBA", (2 * MAX_SIDE, 400), (255, 0, 0, 0))
    image = load_photo(large).image
    assert (image.mode, image.size) == ("RGB", (MAX_SIDE, 200))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert large.mode == "RGBA"


def test_what_is_no_photo_is_one_sentence(tmp_path, recogniser):
    for source in (tmp_path / "none.jpg", b"no picture", Image.new("RGB", (1000, 10))):
        with pytest.raises(UserError):
            recogniser.identify(source)


SET = ("OMP_WAIT_POLICY", "HF_HUB_OFFLINE")


@pytest.mark.parametrize("entry", ["core.cli", "train.cli", "app"])
@pytest.mark.parametrize(("given", "expected"), [({}, ["passive", "1"]), (dict.fromkeys(SET, "0"), ["0", "0"])])
def test_threads_wait_without_spinning_and_the_hub_is_not_asked(entry, given, expected):
    check = f"import os, sys, {entry}; print('torch' in sys.modules, *map(os.environ.get, {SET}))"
    environment = {name: value for name, value in os.environ.items() if name not in SET} | given
    shown = subprocess.run([sys.executable, "-c", check], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", *expected]
