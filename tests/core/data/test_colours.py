"""The same colours, stored in many ways, come out the same."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from core.data.images import open_photo

COLOUR = (180, 90, 60)


def wide_gamut() -> bytes:
    """Return a profile like sRGB, with red and green as far as Adobe RGB has them: its red and green columns changed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile = profile.replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be"))
    columns = {b"rXYZ": (0.6097, 0.3111, 0.0195), b"gXYZ": (0.2053, 0.6257, 0.0609), b"bXYZ": (0.1492, 0.0632, 0.7446)}
    for i in range(struct.unpack_from(">I", profile, 128)[0]):
        tag, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if tag in columns:
            struct.pack_into(">3i", profile, offset + 8, *(round(value * 65536) for value in columns[tag]))
    return bytes(profile)


def stored_in(profile: bytes, colour=COLOUR) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    wide = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(Image.new("RGB", (16, 16), colour), srgb, wide)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_a_wide_gamut_profile_is_applied(encode, file_format):
    profile = wide_gamut()
    stored = stored_in(profile)
    assert np.abs(np.subtract(stored.getpixel((8, 8)), COLOUR)).max() > 10
    opened = open_photo(encode(stored, file_format, icc_profile=profile)).image
    assert opened.getpixel((8, 8)) == pytest.approx(COLOUR, abs=5)


def test_an_srgb_profile_changes_nothing(encode):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), "uint8"))
    assert open_photo(encode(picture, icc_profile=profile)).image.tobytes() == picture.tobytes()


@pytest.mark.parametrize("profile", [b"nonsense", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()])
def test_a_profile_that_cannot_be_used_is_left_out(encode, profile):
    assert open_photo(encode(Image.new("RGB", (9, 9), COLOUR), icc_profile=profile)).image.getpixel((4, 4)) == COLOUR


def test_a_profile_of_other_colours_than_the_picture_is_left_out(encode):
    stored = Image.new("L", (9, 9), 100)
    assert open_photo(encode(stored, icc_profile=wide_gamut())).image.getpixel((4, 4))[0] == pytest.approx(100, abs=3)


def test_lab_is_converted(encode):
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (9, 9), COLOUR), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert open_photo(encode(lab, "TIFF")).image.getpixel((4, 4)) == pytest.approx(COLOUR, abs=4)
