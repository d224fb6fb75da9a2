"""Fixtures that several folders of tests share."""

import io

import pytest
import torch
from PIL import Image


@pytest.fixture(scope="session")
def mllm():
    """The embedded base in float32 with a random connector (seeded): real weights, nothing learned."""
    from core.models import load_mllm
    from train.stages import initialise_connector

    model = load_mllm(torch.float32)
    initialise_connector(model, seed=0)
    return model


@pytest.fixture(scope="session")
def recogniser():
    """The committed checkpoint that users get by default."""
    from core.models import DEFAULT, load

    return load(DEFAULT)


@pytest.fixture
def encode():
    """Bytes of a picture in a format."""

    def to_bytes(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, file_format, **options)
        return buffer.getvalue()

    return to_bytes
