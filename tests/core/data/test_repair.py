"""Files whose pixels are all there are used, whatever is missing or damaged beside them; others are refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from core.data.images import DAMAGED_METADATA, NO_END, open_photo
from core.errors import UserError

END = b"\xff\xd9"


def noise(side=64):
    pixels = np.random.default_rng(0).integers(0, 256, (side // 4, side // 4, 3), "uint8")
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_without_its_end_marker_is_used_with_a_note(encode, progressive, cut):
    data = encode(noise(), "JPEG", progressive=progressive)
    photo = open_photo(data[:-cut])
    assert photo.image.tobytes() == open_photo(data).image.tobytes()
    assert photo.note == NO_END


@pytest.mark.parametrize("trailer", [b"\0" * 64, b"SEFH camera", b"SEFH \xff\xd8\xff\xe0"])
def test_a_trailer_in_place_of_the_end_marker_is_left_out(encode, trailer):
    data = encode(noise(), "JPEG")
    assert open_photo(data.removesuffix(END) + trailer).image.tobytes() == open_photo(data).image.tobytes()


def test_a_jpeg_that_lacks_pixels_is_refused_however_few(encode):
    data = encode(noise(), "JPEG")
    whole = open_photo(data).image.tobytes()
    outcomes = []
    for cut in range(3, 60):
        try:
            outcomes.append(open_photo(data[:-cut]).image.tobytes() == whole)
        except UserError:
            outcomes.append(None)
    assert False not in outcomes
    assert outcomes.count(None) > 50


def chunk(kind, content, checksum=None):
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"tEXt", b"Comment\0a bird", checksum=1),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b" " * 3_000_000)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 3_000_000)),
        chunk(b"iCCP", b"wide\0\0" + zlib.compress(b" " * 3_000_000)),
        chunk(b"iCCP", b"wide\0\0damaged", checksum=1),
        chunk(b"eXIf", b"MM", checksum=1),
    ],
    ids=["checksum of a text", "long text", "long XMP", "long profile", "damaged profile", "checksum of EXIF"],
)
def test_a_png_is_used_without_what_is_damaged_beside_its_pixels(encode, extra):
    data = encode(noise())
    header = 8 + 25  # signature and IHDR
    photo = open_photo(data[:header] + extra + data[header:])
    assert photo.image.tobytes() == noise().tobytes()
    assert photo.note == DAMAGED_METADATA


def test_a_long_text_does_not_cost_a_png_its_colours(encode):
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 3_000_000, zip=True)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert open_photo(encode(noise(), pnginfo=text, icc_profile=profile)).note == DAMAGED_METADATA


@pytest.mark.parametrize("damage", [b"IDAT", b"IHDR"])
def test_a_png_with_damaged_pixels_is_refused(encode, damage):
    data = bytearray(encode(noise()))
    data[data.index(damage) + 9] ^= 0xFF
    with pytest.raises(UserError):
        open_photo(bytes(data))
