"""Pictures of more pixels than are decoded whole: JPEGs are decoded at a fraction of their size, others are refused."""

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from core.data.repair import scan_components
from core.errors import UserError

MAX_PIXELS = 400_000_000
MAX_WHOLE = 50_000_000  # pixels of a picture that is decoded whole: 200 MB as RGB
MAX_BUFFERED = 640 * 2**20  # bytes of a JPEG whose scans are all read before a pixel is there
TOO_MANY = f"The picture has more than {MAX_PIXELS // 1_000_000} million pixels: use a smaller copy."


def shrink_on_loading(image: Image.Image, data: bytes, side: int) -> None:
    """Have a large JPEG decoded at 1/2, 1/4 or 1/8 of its size, its longer side at least `side` pixels.

    A picture of up to `MAX_WHOLE` pixels stays as it is. Raises `UserError` for one that cannot be decoded in bounded
    memory.
    """
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise UserError(TOO_MANY)
    if pixels <= MAX_WHOLE:
        return
    if isinstance(image, JpegImageFile):
        if _buffered_bytes(image, data) > MAX_BUFFERED:
            raise UserError(
                f"This progressive JPEG has {pixels / 1e6:.0f} million pixels, too many to be decoded: "
                "save it without the option progressive, or use a smaller copy."
            )
        share = side / max(image.size)
        image.draft(None, (round(image.width * share), round(image.height * share)))
    if image.width * image.height > MAX_WHOLE:
        raise UserError(
            f"The picture has more than {MAX_WHOLE // 1_000_000} million pixels, the limit of all formats but JPEG "
            f"({MAX_PIXELS // 1_000_000} million): save it as JPEG, or use a smaller copy."
        )


def _buffered_bytes(image: JpegImageFile, data: bytes) -> float:
    """Return the size of the coefficients that are kept while a JPEG of several scans is read, 0 for one scan."""
    if not image.info.get("progressive") and scan_components(data) == image.layers:
        return 0
    sampling = [(horizontal, vertical) for _, horizontal, vertical, _ in image.layer]
    largest = max(horizontal for horizontal, _ in sampling) * max(vertical for _, vertical in sampling)
    samples = sum(horizontal * vertical for horizontal, vertical in sampling) / largest
    return 2 * samples * image.width * image.height
