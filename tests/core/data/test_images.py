import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data import images as photos
from core.data.images import data_url, open_photo, to_jpeg
from core.errors import UserError


def picture(width=40, height=30, mode="RGB"):
    gradient = np.linspace(0, 255, width * height * 3).reshape(height, width, 3).astype("uint8")
    return Image.fromarray(gradient).convert(mode)


def test_an_empty_file_is_named_as_such():
    with pytest.raises(UserError, match="file is empty"):
        open_photo(b"")


def test_text_renamed_to_jpg_is_not_an_image():
    with pytest.raises(UserError, match="not a readable image"):
        open_photo(b"Dear diary, today I saw a bird.")


def test_truncated_jpeg_is_refused(encode):
    data = encode(picture(400, 300), "JPEG")
    with pytest.raises(UserError, match="damaged or incomplete"):
        open_photo(data[: len(data) // 2])


def test_a_strip_is_refused(encode):
    with pytest.raises(UserError, match="narrow strip"):
        open_photo(encode(Image.new("RGB", (1, 20000))))


@pytest.mark.parametrize("file_format", ["PPM", "ICO", "PDF", "EPS", "TGA"])
def test_formats_outside_the_list_are_never_parsed(encode, file_format):
    with pytest.raises(UserError, match="not a readable image"):
        open_photo(encode(picture(), file_format))


def test_svg_is_refused():
    with pytest.raises(UserError, match="not a readable image"):
        open_photo(b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_formats_of_the_list_are_read(encode, file_format):
    assert open_photo(encode(picture(), file_format)).image.size == (40, 30)


@pytest.mark.parametrize(
    ("mode", "file_format", "expected"),
    [
        ("RGBA", "PNG", (200, 40, 40)),
        ("CMYK", "JPEG", (200, 40, 40)),
        ("P", "GIF", (200, 40, 40)),
        ("L", "PNG", (88, 88, 88)),
        ("1", "PNG", (255, 255, 255)),
    ],
)
def test_every_mode_becomes_rgb(encode, mode, file_format, expected):
    colour = "white" if mode == "1" else (200, 40, 40)
    opened = open_photo(encode(Image.new("RGB", (30, 30), colour).convert(mode), file_format)).image
    assert opened.mode == "RGB"
    assert opened.getpixel((15, 15)) == pytest.approx(expected, abs=26)


def test_pages_of_a_tiff_are_no_animation(encode):
    assert not open_photo(encode(picture(), "TIFF", save_all=True, append_images=[picture()])).note


@pytest.mark.parametrize("mode", ["I", "F"])
def test_measurements_are_refused(encode, mode):
    with pytest.raises(UserError, match="not colours"):
        open_photo(encode(Image.new(mode, (9, 9), 1), "TIFF"))


def test_a_file_is_read_no_further_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "MAX_BYTES", 2**20)
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"endless\.jpg: .*limit is 1 MB"):
        photos.read_photo(tmp_path / "endless.jpg")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.jpg: cannot be read"):
        photos.read_photo(tmp_path / "gone.jpg")


def test_what_is_no_file_is_called_what_it_is(tmp_path):
    with pytest.raises(UserError, match="is a folder: name the photos in it"):
        photos.read_photo(tmp_path)
    with pytest.raises(UserError, match="https://example.org/a.jpg: web addresses are not opened: save the photo"):
        photos.read_photo(Path("https://example.org/a.jpg"))


def test_transparency_is_laid_over_white(encode):
    assert open_photo(encode(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))).image.getpixel((4, 4)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped(encode):
    values = np.array([[0, 32896, 65535]] * 3, dtype="uint16")
    opened = open_photo(encode(Image.fromarray(values))).image
    assert [opened.getpixel((x, 1))[0] for x in range(3)] == [0, 128, 255]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_gives_the_upright_pixels(encode, orientation):
    upright = picture()
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert open_photo(encode(upright.transpose(undo), exif=exif)).image.tobytes() == upright.tobytes()


def test_orientation_counts_where_the_rest_of_the_exif_is_odd(encode):
    upright = picture()
    tags = [(0x0112, 3, 1, struct.pack("<HH", 6, 0)), (0x8825, 4, 1, struct.pack("<I", 0xFFFFFFF0))]  # GPS: nowhere
    entries = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in tags)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    data = encode(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    assert open_photo(data).image.tobytes() == upright.tobytes()


@pytest.mark.parametrize("file_format", ["GIF", "WEBP"])
def test_animations_give_their_first_frame_and_say_so(encode, file_format):
    red, blue = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue")
    opened = open_photo(encode(red, file_format, save_all=True, append_images=[blue]))
    assert "first frame" in opened.note
    r, _, b = opened.image.getpixel((10, 10))
    assert r > 200 > 60 > b


def test_large_files_are_refused_with_the_limit(monkeypatch):
    monkeypatch.setattr(photos, "MAX_BYTES", 2**20)
    with pytest.raises(UserError, match="limit is 1 MB"):
        open_photo(b"\0" * (2**20 + 1))


def test_large_photos_are_shrunk(encode):
    assert max(open_photo(encode(Image.new("RGB", (4000, 1000)), "JPEG")).image.size) == photos.MAX_SIDE


def test_a_jpeg_is_shrunk_and_carries_no_metadata():
    photo = Image.new("RGB", (300, 200), "green")
    photo.info["comment"] = b"where it was taken"
    jpeg = to_jpeg(photo, 90, 80)
    reopened = Image.open(io.BytesIO(jpeg))
    assert (reopened.format, reopened.size) == ("JPEG", (90, 60))
    assert b"where it was taken" not in jpeg
    assert photo.size == (300, 200)
    assert data_url(b"jpeg") == "data:image/jpeg;base64,anBlZw=="
