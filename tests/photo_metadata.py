"""Photos that say, beside their pixels, where and when they were taken; and what is left of that in an export."""

import base64
import io
import re
import zipfile

from PIL import ExifTags, Image, PngImagePlugin
from pillow_heif import register_heif_opener

MARK = "taken at home"
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF")
DATA_URL = re.compile(rb"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")


def _exif() -> bytes:
    """Return EXIF with a place; the picture in it follows where the tags end, as cameras have it."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = MARK
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (52, 31, 0)})
    thumbnail = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(thumbnail, "JPEG", comment=MARK)
    return exif.tobytes() + thumbnail.getvalue()


def tagged(file_format: str) -> bytes:
    """Return a photo with EXIF, GPS and an embedded picture, XMP and texts, as far as its format has them."""
    register_heif_opener()
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", MARK)
    options: dict = {"exif": _exif(), "xmp": f"<x:xmpmeta>{MARK}</x:xmpmeta>".encode()}
    options |= {"JPEG": {"comment": MARK}, "PNG": {"pnginfo": texts}, "TIFF": {"description": MARK}}.get(file_format, {})
    buffer = io.BytesIO()
    Image.effect_noise((90, 60), 50).convert("RGB").save(buffer, file_format, **options)
    assert MARK.encode() in buffer.getvalue()
    return buffer.getvalue()


def check_no_metadata(export: bytes) -> None:
    """Fail if an export, its JPEGs included, says where a photo was taken."""
    parts = [export, *(base64.b64decode(text) for text in DATA_URL.findall(export))]
    if export.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(export)) as archive:
            parts = [archive.read(name) for name in archive.namelist()]
    for part in parts:
        assert MARK.encode() not in part
        if part.startswith(b"\xff\xd8"):
            with Image.open(io.BytesIO(part)) as image:
                assert not image.getexif()
                assert not {"exif", "xmp", "comment", "icc_profile"} & set(image.info)
