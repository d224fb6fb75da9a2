"""Photos of many pixels: JPEGs are decoded at a reduced size in bounded memory, others are refused by their header."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from core.data import large
from core.data.images import NO_END, load_photo, open_image, open_photo
from core.errors import UserError

WIDTH, HEIGHT = 16_384, 12_288  # 200 megapixels
WORKING_MEMORY = 1_000  # MB, as the README states it
MEASURE = """
import resource, sys
from core.data.images import open_photo
from core.errors import UserError
data = open(sys.argv[1], "rb").read()
open_photo(open(sys.argv[2], "rb").read())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(*open_photo(data).image.size)
except UserError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def jpeg(width=WIDTH, height=HEIGHT, **options):
    """A JPEG of any size, from one encoded row of blocks, which is repeated as often as the height asks for."""
    ramp = np.linspace(0, 255, width).astype("uint8")
    row = Image.fromarray(np.stack([ramp, ramp[::-1], np.full_like(ramp, 90)], axis=-1)[None].repeat(16, 0))
    buffer = io.BytesIO()
    row.save(buffer, "JPEG", quality=80, restart_marker_rows=1, **options)
    data = buffer.getvalue()
    scan = data.index(b"\xff\xda")
    scan += 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    head = bytearray(data[:scan])
    frame = head.index(b"\xff\xc0")
    head[frame + 5 : frame + 7] = struct.pack(">H", height)
    rows = height // 16
    blocks = data[scan : -len(b"\xff\xd9")]
    return bytes(head) + b"".join(blocks + bytes([0xFF, 0xD0 + i % 8]) for i in range(rows))[:-2] + b"\xff\xd9"


def png(width=WIDTH, height=HEIGHT):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compressobj(1)
    packed = b"".join(rows.compress(bytes(1 + 3 * width)) for _ in range(height)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("make", "outcome", "megabytes"),
    [
        (jpeg, "1600 1200", 100),
        (lambda: jpeg()[:-2], "1600 1200", 150),
        (png, "The picture has more than 50 million pixels, the limit of all formats but JPEG", 20),
        (lambda: jpeg(8_160, 6_112)[:-2], "1600 1198", WORKING_MEMORY),  # decoded whole, and twice
    ],
    ids=["JPEG", "JPEG without its end", "PNG", "48 megapixels without its end"],
)
def test_the_memory_that_200_megapixels_take(tmp_path, encode, make, outcome, megabytes):
    (tmp_path / "large").write_bytes(make())
    (tmp_path / "small").write_bytes(encode(Image.new("RGB", (64, 64))))  # what the first photo alone costs
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "large"), str(tmp_path / "small")]
    said, taken = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said.startswith(outcome)
    assert float(taken) < megabytes


def test_a_jpeg_of_a_reduced_size_has_the_colours_of_the_whole():
    image = open_photo(jpeg(WIDTH, 4_096)).image
    assert image.size == (1_600, 400)
    for x in (100, 800, 1_500):
        value = 255 * (x + 0.5) / 1_600
        assert image.getpixel((x, 200)) == pytest.approx((value, 255 - value, 90), abs=5)


def test_an_orientation_and_a_missing_end_count_at_a_reduced_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = open_photo(jpeg(WIDTH, 4_096, exif=exif.tobytes())[:-2])
    assert photo.image.size == (400, 1_600)
    assert photo.note == NO_END


def with_a_second_picture(data, second):
    """A multi-picture file, as phones and stereo cameras write it."""

    def segment(total):
        numbers = [(0xB000, 7, 4, 0x30303130), (0xB001, 4, 1, 2), (0xB002, 7, 32, 50)]
        tags = struct.pack("<IH", 8, len(numbers)) + b"".join(struct.pack("<HHII", *number) for number in numbers)
        pictures = struct.pack("<IIIHHIIIHH", 0x030000, total, 0, 0, 0, 0, len(second), max(total - 10, 0), 0, 0)
        body = b"MPF\0II*\0" + tags + bytes(4) + pictures
        return b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body

    total = len(data) + len(segment(0))
    return data[:2] + segment(total) + data[2:] + second


def test_the_first_picture_of_a_large_file_of_several_is_used(encode):
    data = with_a_second_picture(jpeg(WIDTH, 4_096), encode(Image.new("RGB", (64, 64)), "JPEG"))
    with open_image(io.BytesIO(data)) as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
    assert open_photo(data).image.tobytes() == open_photo(jpeg(WIDTH, 4_096)).image.tobytes()


def test_a_large_jpeg_that_lacks_pixels_is_refused():
    data = jpeg(WIDTH, 4_096)
    with pytest.raises(UserError, match="damaged or incomplete"):
        open_photo(data[: len(data) // 2])


def bitmap(width, height):
    """The header of a BMP alone."""
    sizes = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return b"BM" + bytes(8) + b"\x36\0\0\0\x28\0\0\0" + sizes + b"\1\0\x18\0" + bytes(24)


@pytest.fixture
def undecoded(monkeypatch):
    """Decoding a pixel fails the test."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("pixels were decoded"))


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (20_001, 20_000, "more than 400 million pixels: use a smaller copy"),
        (65_500, 65_500, "more than 400 million pixels"),
        (8_000, 6_251, "more than 50 million pixels, .* JPEG .400 million.: save it as JPEG, or use a smaller copy"),
    ],
)
def test_decompression_bombs_are_refused_from_the_header(undecoded, width, height, message):
    with pytest.raises(UserError, match=message):
        open_photo(bitmap(width, height))


def test_a_jpeg_of_more_than_400_million_pixels_is_refused_from_the_header(undecoded):
    data = jpeg(32_000, 16)
    frame = data.index(b"\xff\xc0") + 5
    data = data[:frame] + struct.pack(">H", 12_501) + data[frame + 2 :]
    with pytest.raises(UserError, match="more than 400 million pixels"):
        open_photo(data)


def progressive(encode, width, height, **options):
    """A progressive JPEG of 64 x 64 pixels that declares a larger size."""
    data = bytearray(encode(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG", progressive=True, **options))
    frame = data.index(b"\xff\xc2") + 5
    data[frame : frame + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(("subsampling", "limit"), [(0, 111), (2, 223)])  # limits in megapixels
def test_a_progressive_jpeg_is_refused_where_it_would_take_too_much_memory(encode, monkeypatch, subsampling, limit):
    def damaged(self):
        raise OSError

    monkeypatch.setattr(ImageFile.ImageFile, "load", damaged)
    for megapixels, message in ((limit, "damaged or incomplete"), (limit + 2, "progressive JPEG .*: save it without")):
        with pytest.raises(UserError, match=message):
            open_photo(progressive(encode, 20_000, megapixels * 50, subsampling=subsampling))


def test_a_jpeg_whose_colours_are_in_scans_of_their_own_counts_as_progressive(monkeypatch):
    monkeypatch.setattr(large, "scan_components", lambda data: 1)
    with pytest.raises(UserError, match="progressive JPEG has 201 million pixels"):
        open_photo(jpeg(subsampling=0))


def test_a_picture_in_memory_has_the_limit_of_those_decoded_whole():
    with pytest.raises(UserError, match="more than 50 million pixels: give its file instead"):
        load_photo(Image.new("1", (8_000, 6_251)))
