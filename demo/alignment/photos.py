"""Find the photos behind a map where their files are available: by their hashes, never by name alone."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from core.data.images import data_url, open_photo, to_jpeg
from core.data.photo_sets import open_photo_set
from core.embeddings.embedding_set import EmbeddingSet
from core.errors import UserError
from demo.components.photo_folder import Folder, Read

THUMBNAIL_SIDE = 96  # pixels of the longer side
JPEG_QUALITY = 80
MAX_THUMBNAILS = 3_000  # a map of more photos has none


@dataclass(frozen=True)
class Uploads:
    """What a user has uploaded: a ZIP, or files."""

    paths: tuple[Path, ...]

    @contextmanager
    def reader(self) -> Iterator[Read]:
        """Return a function that reads a photo by name, which raises `UserError` if there is none."""
        with open_photo_set(self.paths) as items:
            by_name = {item.name: item for item in items}

            def read(name: str) -> bytes:
                if name not in by_name:
                    raise UserError(f"There is no {name}.")
                return by_name[name].read()

            yield read


def find_photo(space: EmbeddingSet, row: int, source: Folder | Uploads | None) -> Image.Image | None:
    """Return the photo of a row, or `None` if it is not available or its file holds another one."""
    if source is None:
        return None
    try:
        with source.reader() as read:
            return _checked(read, space.photos[row], space.hashes[row])
    except UserError:
        return None


def thumbnails(space: EmbeddingSet, source: Folder | Uploads | None) -> list[str]:
    """Return [N] data URLs, "" for photos that are not available; an empty list if none is, or there are too many."""
    if source is None or len(space.photos) > MAX_THUMBNAILS:
        return []
    make = _folder_thumbnails if isinstance(source, Folder) else _thumbnails
    try:
        found = make(source, tuple(space.photos), tuple(space.hashes))  # type: ignore[operator]
    except UserError:  # the uploads were deleted
        return []
    return list(found) if any(found) else []


def _thumbnails(source: Folder | Uploads, names: tuple[str, ...], hashes: tuple[str, ...]) -> tuple[str, ...]:
    with source.reader() as read:
        photos = (_checked(read, *pair) for pair in zip(names, hashes, strict=True))
        return tuple(data_url(to_jpeg(photo, THUMBNAIL_SIDE, JPEG_QUALITY)) if photo else "" for photo in photos)


@lru_cache(maxsize=2)  # the owner's photos; uploads are kept no longer than their map
def _folder_thumbnails(source: Folder, names: tuple[str, ...], hashes: tuple[str, ...]) -> tuple[str, ...]:
    return _thumbnails(source, names, hashes)


def _checked(read: Read, name: str, sha256: str) -> Image.Image | None:
    try:
        data = read(name)
        return open_photo(data).image if hashlib.sha256(data).hexdigest() == sha256 else None
    except UserError:
        return None
