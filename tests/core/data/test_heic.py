"""HEIC photos, as iPhones save them: sound ones are named as any photo, hostile ones are one sentence."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from core.data import images
from core.data.images import open_image, open_photo
from core.errors import UserError

GRADIENT = np.linspace(0, 255, 30 * 40 * 3).reshape(30, 40, 3).astype("uint8")
LOSSLESS = {"quality": -1, "chroma": 444}
SIDE = 256


def differences(image):
    return np.abs(np.asarray(image).astype(int) - GRADIENT).max()


def with_declared_size(data, width, height):
    declared = struct.pack(">II", SIDE, SIDE)
    assert data.count(declared) == 1
    return data.replace(declared, struct.pack(">II", width, height))


def test_a_heic_photo_is_read_whatever_its_name(encode, tmp_path):
    (tmp_path / "IMG_1.jpg").write_bytes(encode(Image.fromarray(GRADIENT), "HEIF", **LOSSLESS))
    photo = images.read_photo(tmp_path / "IMG_1.jpg")
    assert differences(photo.image) <= 2
    assert photo.note == ""


def test_a_turned_heic_photo_is_turned_once(encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(GRADIENT).transpose(Image.Transpose.ROTATE_90)
    assert differences(open_photo(encode(stored, "HEIF", exif=exif.tobytes(), **LOSSLESS)).image) <= 2


def test_ten_bits_and_transparency_of_a_heic_photo(encode):
    deep = Image.fromarray(np.full((64, 64), 32768, "uint16"))
    assert open_photo(encode(deep, "HEIF", **LOSSLESS)).image.getpixel((9, 9)) == pytest.approx((128,) * 3, abs=2)
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert open_photo(encode(clear, "HEIF", **LOSSLESS)).image.getpixel((9, 9)) == (255, 255, 255)


def test_of_several_pictures_the_main_one_is_used(encode):
    red, blue = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")
    data = encode(red, "HEIF", save_all=True, append_images=[blue], primary_index=1, **LOSSLESS)
    assert open_photo(data).image.getpixel((9, 9)) == pytest.approx((0, 0, 255), abs=3)


@pytest.mark.parametrize("cut", [1, 50, 400])
def test_a_heic_photo_that_lacks_pixels_is_refused(encode, cut):
    data = encode(Image.fromarray(GRADIENT), "HEIF", **LOSSLESS)
    with pytest.raises(UserError, match="damaged"):
        open_photo(data[:-cut])


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (30_000, 30_000, "more than 400 million pixels"),
        (9_000, 9_000, "more than 50 million pixels, the limit of all formats but JPEG"),
        (0xFFFFFFFF, 16, "HEIC file is damaged|narrow strip"),
        (7_000, 7_000, "damaged"),
        (16, 16, "damaged"),  # fewer pixels than are coded
    ],
)
def test_a_heic_photo_of_another_size_than_it_declares_is_refused(encode, width, height, message):
    data = encode(Image.new("RGB", (SIDE, SIDE), "green"), "HEIF")
    with pytest.raises(UserError, match=message):
        open_photo(with_declared_size(data, width, height))


@pytest.mark.parametrize("brand", [b"heic", b"hevc", b"msf1", b"mif1"])  # the second and third are of sequences
def test_a_heic_file_without_a_photo_is_called_so(brand):
    data = struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1heic" + struct.pack(">I", 16) + b"moov" + bytes(8)
    with pytest.raises(UserError, match="HEIC file is damaged, or holds no photo: save the photo as JPEG"):
        open_photo(data)


def test_whatever_is_damaged_in_a_heic_file_is_one_sentence(encode):
    data = encode(Image.fromarray(GRADIENT), "HEIF", **LOSSLESS)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 3):
            damaged[place] = random.integers(0, 256)
        try:
            open_photo(bytes(damaged))
        except UserError:
            refused += 1
    assert 20 < refused < 200


def test_the_decoder_is_loaded_by_the_first_photo_and_looks_at_no_thumbnail(encode):
    data = encode(Image.new("RGB", (SIDE, SIDE), "green"), "HEIF", thumbnails=[64])
    with open_image(images.io.BytesIO(data)) as image:
        assert image.info["thumbnails"] == []


def test_an_unusable_profile_of_a_heic_photo_is_left_out(encode):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    data = encode(Image.fromarray(GRADIENT), "HEIF", icc_profile=profile, **LOSSLESS)
    assert differences(open_photo(data).image) <= 2
