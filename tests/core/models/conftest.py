"""Reduced models of the hub's families, saved once and opened once for each file of tests."""

from functools import cache

import pytest


@pytest.fixture(scope="session")
def reduced_folder(tmp_path_factory):
    """The folder of the reduced model of a family."""

    @cache
    def save(family):
        from reduced_models import save_reduced

        return save_reduced(family, tmp_path_factory.mktemp("hub") / family)

    return save


@pytest.fixture(scope="module")
def opened(reduced_folder):
    """The reduced model of a family, opened as one of the hub."""

    @cache
    def open_one(family):
        from core.models import open_question_model

        return open_question_model(str(reduced_folder(family)))

    return open_one


@pytest.fixture(scope="session")
def two_photos():
    """Two photos of coloured noise, 80 x 60 pixels."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3), dtype="uint8")
    return [Image.fromarray(pixels) for pixels in noise]
