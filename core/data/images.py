"""From bytes of unknown origin to an upright RGB photo, or one sentence why not."""

import base64
import io
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from core.data.colours import to_rgb
from core.data.large import MAX_PIXELS, MAX_WHOLE, TOO_MANY, shrink_on_loading
from core.data.repair import with_end_marker, without_metadata
from core.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")  # nothing else is ever parsed
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # several frames in the others are pages or previews
HEIC = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
SHRUNK_FIRST = ("RGB", "RGBA", "L", "LA", "CMYK", "LAB")  # modes whose colours can be mixed
_FORMAT_NAMES = ", ".join(FORMATS).replace("HEIF", "HEIC")  # as users know them
NO_END = "The end of this file is missing, but no pixel: the whole picture was used."
DAMAGED_METADATA = "The texts or the colour profile in this file cannot be read: the picture was used without them."
MAX_BYTES = 80 * 2**20
MAX_SIDE = 1600  # larger photos are shrunk: no model of the zoo looks at more
MAX_ASPECT = 20
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own limit, below which it lets a picture be opened


@dataclass(frozen=True)
class Photo:
    """An upright RGB photo, at most `MAX_SIDE` pixels a side, and what was done to it that a user should know."""

    image: Image.Image
    note: str = ""


def read_photo(path: Path) -> Photo:
    """`open_photo` of a file, never reading more of it than the limit; its messages begin with the path."""
    if path.parts[:1] in (("http:",), ("https:",)):
        address = str(path).replace(":/", "://", 1)
        raise UserError(f"{address}: web addresses are not opened: save the photo, and name its file.")
    if path.is_dir():
        raise UserError(f"{path}: is a folder: name the photos in it.")
    try:
        with path.open("rb") as file:
            return open_photo(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def open_photo(data: bytes) -> Photo:
    """Decode a photo. Raises `UserError` for anything that is not a complete, reasonable picture.

    The size limits are checked on the header, before a pixel is decoded; large JPEGs are decoded at a reduced size (see
    `core.data.large`). Files that lack pixels are refused; where only what stands beside them is missing or damaged, a
    note says so. Any colours become those of a screen (see `core.data.colours`), the EXIF orientation is applied.
    """
    if not data:
        raise UserError("The file is empty: choose another photo.")
    if len(data) > MAX_BYTES:
        raise UserError(f"The file is too large: the limit is {MAX_BYTES // 2**20} MB.")
    try:
        image = _decode(data)
        animated = image.format in ANIMATED and getattr(image, "is_animated", False)
        note = "This picture is animated: only its first frame was used." if animated else ""
        return Photo(_finish(image), note)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(TOO_MANY) from None
    except UserError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ... on broken data
        if photo := _repaired(data):
            return photo
        if isinstance(error, UnidentifiedImageError):
            if data[4:12] in HEIC:
                raise UserError("This HEIC file is damaged, or holds no photo: save the photo as JPEG.") from None
            raise UserError(f"This is not a readable image: use one of {_FORMAT_NAMES}.") from None
        raise UserError("The image file is damaged or incomplete.") from error


def _decode(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = open_image(io.BytesIO(data))
        _check_aspect(image)
        shrink_on_loading(image, data, MAX_SIDE)
        image.load()
    return image


def open_image(file: Path | IO[bytes]) -> Image.Image:
    """Open a picture of one of the `FORMATS` without decoding a pixel. Raises what Pillow raises."""
    _register_heic()
    return Image.open(file, formats=FORMATS)


@cache
def _register_heic() -> None:
    """Have Pillow open HEIC files, without the thumbnails and depth maps in them."""
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


def _finish(image: Image.Image) -> Image.Image:
    """Return the pixels of a decoded picture upright, in RGB and at most `MAX_SIDE` a side, and none of its metadata."""
    if image.mode == "P" or (image.mode in ("RGB", "L") and "transparency" in image.info):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode in SHRUNK_FIRST:
        image = _shrunk(image)
    finished = _shrunk(to_rgb(_upright(image))).copy()
    finished.info = {}  # a place, a date, a text: whoever saves the picture would save them, too
    return finished


def _shrunk(image: Image.Image) -> Image.Image:
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def _repaired(data: bytes) -> Photo | None:
    """Return the photo in a damaged file if all of its pixels are there, else None."""
    if closed := with_end_marker(data):
        with suppress(Exception):  # whatever decoders raise: then pixels are missing
            image, other = map(_decode, closed)
            return Photo(_finish(image), NO_END) if _same_pixels(image, other) else None
    for version in without_metadata(data):
        with suppress(Exception):
            return Photo(_finish(_decode(version)), DAMAGED_METADATA)
    return None


def _same_pixels(image: Image.Image, other: Image.Image) -> bool:
    """Return True for pictures of the same pixels; a copy of a part of them is made at a time."""
    boxes = [(0, top, image.width, top + 256) for top in range(0, image.height, 256)]
    return all(image.crop(box).tobytes() == other.crop(box).tobytes() for box in boxes)


def load_photo(source: str | Path | bytes | Image.Image) -> Photo:
    """Return the photo in a file, in the bytes of a file, or in a PIL image, which stays as it is.

    Raises `UserError` for anything that is not a complete, reasonable picture.
    """
    if isinstance(source, bytes):
        return open_photo(source)
    if not isinstance(source, Image.Image):
        return read_photo(Path(source))
    _check_aspect(source)
    if source.width * source.height > MAX_WHOLE:
        raise UserError(f"The picture has more than {MAX_WHOLE // 1_000_000} million pixels: give its file instead.")
    try:
        return Photo(_finish(source.copy()))
    except OSError as error:  # of a file that PIL reads only now
        raise UserError("The image file is damaged or incomplete.") from error


def to_jpeg(photo: Image.Image, side: int, quality: int) -> bytes:
    """Encode a copy of an RGB photo as a JPEG without metadata, its longer side at most `side` pixels."""
    small = photo.copy()
    small.thumbnail((side, side))
    small.info = {}  # of a picture from elsewhere, Pillow would write the comment
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def data_url(jpeg: bytes) -> str:
    """Return a JPEG as a `data:` URL."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _check_aspect(image: Image.Image) -> None:
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UserError(f"The picture is {width} x {height} pixels: such a narrow strip cannot be identified.")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a camera's odd EXIF fails in many ways, and the pixels are intact
        return image
    if orientation not in range(2, 9):
        return image
    exif = Image.Exif()  # of the orientation alone: rewriting the rest of it can fail
    exif[ExifTags.Base.Orientation] = orientation
    turned = image.copy()
    turned.info["exif"] = exif.tobytes()
    return ImageOps.exif_transpose(turned)
