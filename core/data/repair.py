"""Files whose pixels are all there, but that lack what stands beside them or have it damaged."""

import re
import zlib
from collections.abc import Iterator

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
SCAN = b"\xda"
TRAILER = re.compile(rb"\xff[\xd8\xe0-\xef]")  # another picture, or more metadata: no part of a scan
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt")
FILLER = b"\x55\xaa\x33\xcc" * 64  # bytes that decode to anything but nothing


def with_end_marker(data: bytes) -> tuple[bytes, bytes] | None:
    """Return a JPEG that lacks its end, twice: closed at once, and closed behind bytes that mean nothing.

    Both decode to the same pixels if, and only if, none is missing. None for other files.
    """
    if not data.startswith(JPEG_START):
        return None
    data = data[: _end_of_scans(data)].removesuffix(JPEG_END[:1])
    return data + JPEG_END, data + FILLER + JPEG_END


def scan_components(data: bytes) -> int:
    """Return how many of the colour components of a JPEG its first scan holds, 0 if there is none."""
    number = _first_scan(data) + 4  # behind the marker and its length
    return int.from_bytes(data[number : number + 1])


def _first_scan(data: bytes) -> int:
    """Return where the marker of the first scan of a JPEG is, or where there is no marker any more."""
    place = len(JPEG_START)
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] != SCAN:
        filled = data[place + 1 : place + 2] == b"\xff"  # any number of these bytes may stand before a marker
        place += 1 if filled else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place


def _end_of_scans(data: bytes) -> int:
    """Return where the pixels of a JPEG end at the latest: at a trailer of the camera that begins with a marker."""
    trailer = TRAILER.search(data, _first_scan(data))
    return trailer.start() if trailer else len(data)


def without_metadata(data: bytes) -> Iterator[bytes]:
    """Yield a PNG without its texts and what is damaged beside its pixels, then without its colour profile as well."""
    if not data.startswith(PNG_START):
        return
    chunks = list(_png_chunks(data))
    sound = [chunk for chunk in chunks if chunk[4:8] not in PNG_TEXT and (_is_critical(chunk) or _is_sound(chunk))]
    yield PNG_START + b"".join(sound)
    yield PNG_START + b"".join(chunk for chunk in sound if chunk[4:8] != b"iCCP")


def _png_chunks(data: bytes) -> Iterator[bytes]:
    """Yield every chunk of a PNG: length, type, content, checksum."""
    place = len(PNG_START)
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        yield data[place:end]
        place = end


def _is_critical(chunk: bytes) -> bool:
    return not chunk[4:5].islower() or chunk[4:8] == b"tRNS"


def _is_sound(chunk: bytes) -> bool:
    return len(chunk) >= 12 and zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]
