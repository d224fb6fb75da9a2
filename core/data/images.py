"""From bytes of unknown origin to an upright RGB photo, or one sentence why not."""

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from core.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # nothing else is ever parsed
ANIMATED = ("GIF", "PNG", "WEBP")  # several frames in the others are pages or previews
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000
MAX_SIDE = 1600  # larger photos are shrunk: no model of the zoo looks at more
MAX_ASPECT = 20


@dataclass(frozen=True)
class Photo:
    """An upright RGB photo, at most `MAX_SIDE` pixels a side, and what was done to it that a user should know."""

    image: Image.Image
    note: str = ""


def read_photo(path: Path) -> Photo:
    """`open_photo` of a file, never reading more of it than the limit; its messages begin with the path."""
    try:
        with path.open("rb") as file:
            return open_photo(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def open_photo(data: bytes) -> Photo:
    """Decode a photo. Raises `UserError` for anything that is not a complete, reasonable picture.

    The size limits are checked on the header, before a pixel is decoded. Truncated files are refused. Any colour
    mode becomes RGB (transparency over white, 16 bit scaled to 8), the EXIF orientation is applied.
    """
    if not data:
        raise UserError("The file is empty: choose another photo.")
    if len(data) > MAX_BYTES:
        raise UserError(f"The file is too large: the limit is {MAX_BYTES // 2**20} MB.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_size(image.width, image.height)
            animated = image.format in ANIMATED and getattr(image, "is_animated", False)
            image.load()
            image = _to_rgb(_upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(_too_many_pixels()) from None
    except UnidentifiedImageError:
        raise UserError(f"This is not a readable image: use one of {', '.join(FORMATS)}.") from None
    except UserError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ... on broken data
        raise UserError("The image file is damaged or incomplete.") from error
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return Photo(image, "This picture is animated: only its first frame was used." if animated else "")


def load_photo(source: str | Path | bytes | Image.Image) -> Photo:
    """Return the photo in a file, in the bytes of a file, or in a PIL image, which stays as it is.

    Raises `UserError` for anything that is not a complete, reasonable picture.
    """
    if isinstance(source, bytes):
        return open_photo(source)
    if not isinstance(source, Image.Image):
        return read_photo(Path(source))
    _check_size(source.width, source.height)
    try:
        image = _to_rgb(_upright(source.copy()))
    except OSError as error:  # of a file that PIL reads only now
        raise UserError("The image file is damaged or incomplete.") from error
    return Photo(image if max(image.size) <= MAX_SIDE else ImageOps.contain(image, (MAX_SIDE, MAX_SIDE)))


def to_jpeg(photo: Image.Image, side: int, quality: int) -> bytes:
    """Encode a copy of an RGB photo as a JPEG without metadata, its longer side at most `side` pixels."""
    small = photo.copy()
    small.thumbnail((side, side))
    small.info.clear()  # Pillow would write the comment of the original file
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def data_url(jpeg: bytes) -> str:
    """Return a JPEG as a `data:` URL."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _too_many_pixels() -> str:
    return f"The picture has more than {MAX_PIXELS // 1_000_000} million pixels: use a smaller copy."


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UserError(_too_many_pixels())
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


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise UserError("The picture holds measurements, not colours: use an ordinary photo.")
    if image.mode.startswith("I;16"):
        image.info.pop("transparency", None)  # a 16 bit key says nothing about 8 bit values
        image = image.convert("F").point(lambda value: value / 257 + 0).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
