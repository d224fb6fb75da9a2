"""The same colours, stored in many ways, come out the same."""

import io
import struct
import zlib

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


def png_of_16_bits(kind: int, samples: tuple[int, ...], profile: bytes = b"") -> bytes:
    """A PNG of one colour, `kind` as in its header: 0 grey, 2 RGB, 4 grey and alpha, 6 RGB and alpha."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    row = b"\0" + struct.pack(f">{len(samples)}H", *samples) * 9
    colours = chunk(b"iCCP", b"wide\0\0" + zlib.compress(profile)) if profile else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + colours + chunk(b"IDAT", zlib.compress(row * 9)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "samples", "expected"),
    [
        (0, (30_000,), (117, 117, 117)),
        (2, (46_260, 23_130, 15_420), COLOUR),
        (4, (0, 32_768), (127, 127, 127)),  # half transparent black over white
        (6, (65_535, 0, 0, 32_768), (255, 127, 127)),
    ],
)
def test_sixteen_bits_of_every_kind_are_scaled(kind, samples, expected):
    assert open_photo(png_of_16_bits(kind, samples)).image.getpixel((4, 4)) == pytest.approx(expected, abs=1)


def test_a_wide_gamut_profile_is_applied_to_sixteen_bits():
    profile = wide_gamut()
    stored = tuple(257 * value for value in stored_in(profile).getpixel((8, 8)))
    assert open_photo(png_of_16_bits(2, stored, profile)).image.getpixel((4, 4)) == pytest.approx(COLOUR, abs=5)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("ink", "expected"),
    [
        ((0, 255, 255, 0), (255, 0, 0)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0,) * 4, (255,) * 3),
    ],
)
def test_cmyk_without_a_profile_is_no_negative(encode, file_format, ink, expected):
    opened = open_photo(encode(Image.new("CMYK", (16, 16), ink), file_format)).image
    assert opened.getpixel((8, 8)) == pytest.approx(expected, abs=3)


def cmyk_profile() -> bytes:
    """Return the profile of inks that mix linearly from white to dull ones: cyan is the Lab colour 60, -30, -40."""
    inks = ((60, -30, -40), (50, 60, 0), (90, 0, 70), (10, 0, 0))
    grid = bytearray()
    for mask in range(16):  # corners of the grid, the first ink changing slowest
        colour = np.array([100.0, 0.0, 0.0])
        for place, ink in enumerate(inks):
            if mask >> (3 - place) & 1:
                colour = np.array([colour[0] * ink[0] / 100, colour[1] + ink[1], colour[2] + ink[2]])
        grid += bytes([round(colour[0] * 2.55), *(int(np.clip(value + 128, 0, 255)) for value in colour[1:])])
    matrix = struct.pack(">9i", *(65_536 * (i % 4 == 0) for i in range(9)))
    table = (
        b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + bytes(range(256)) * 4 + bytes(grid) + bytes(range(256)) * 3
    )
    head = struct.pack(">I4sI4s4s4s12s4s", 144 + len(table), b"", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"", b"acsp")
    head += bytes(28) + struct.pack(">3i", 63_190, 65_536, 54_061) + bytes(48)
    return head + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_has_the_colours_of_its_profile(encode, file_format):
    stored = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    opened = open_photo(encode(stored, file_format, icc_profile=cmyk_profile())).image
    assert opened.getpixel((8, 8)) == pytest.approx((0, 162, 215), abs=4)  # in sRGB; without the profile (0, 255, 255)
