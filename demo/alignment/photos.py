"""The photos behind a map, where they are at hand: told by their hashes, never by their names alone."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from core.data.images import MAX_BYTES, data_url, open_photo, to_jpeg
from core.data.photo_sets import open_photo_set
from core.embeddings.embedding_set import EmbeddingSet
from core.errors import UserError

THUMBNAIL, LARGE = 96, 320  # pixels of the longer side
MOST = 3_000  # photos, above which a map has no thumbnails

Read = Callable[[str], bytes]


@dataclass(frozen=True)
class Folder:
    """A folder that the owner of the machine says holds the photos."""

    path: Path

    @contextmanager
    def reader(self) -> Iterator[Read]:
        """Bytes by name. Raises `UserError` for a name that leads out of the folder or to no file."""
        root = self.path.resolve()

        def read(name: str) -> bytes:
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise UserError(f"{name} is not in the folder.")
            try:
                with path.open("rb") as file:
                    return file.read(MAX_BYTES + 1)
            except OSError as error:
                raise UserError(f"{name} cannot be read ({error.strerror}).") from error

        yield read


@dataclass(frozen=True)
class Uploads:
    """What somebody has uploaded: a ZIP, or files."""

    paths: tuple[Path, ...]

    @contextmanager
    def reader(self) -> Iterator[Read]:
        """Bytes by name. Raises `UserError` if the uploads are gone, or hold no such photo."""
        with open_photo_set(self.paths) as items:
            by_name = {item.name: item for item in items}

            def read(name: str) -> bytes:
                if name not in by_name:
                    raise UserError(f"There is no {name}.")
                return by_name[name].read()

            yield read


def photo_at(space: EmbeddingSet, row: int, source: Folder | Uploads | None) -> Image.Image | None:
    """The photo of a row, or `None` if it is not at hand, or what is there is another one."""
    if source is None:
        return None
    try:
        with source.reader() as read:
            return _checked(read, space.photos[row], space.hashes[row])
    except UserError:
        return None


def thumbnails(space: EmbeddingSet, source: Folder | Uploads | None) -> list[str]:
    """[N] data URIs, "" for photos that are not at hand; an empty list where there are none, or too many photos."""
    if source is None or len(space.photos) > MOST:
        return []
    find = _of_folder if isinstance(source, Folder) else _of
    try:
        found = find(source, tuple(space.photos), tuple(space.hashes))  # type: ignore[operator]
    except UserError:  # the uploads were tidied away
        return []
    return list(found) if any(found) else []


def _of(source: Folder | Uploads, names: tuple[str, ...], hashes: tuple[str, ...]) -> tuple[str, ...]:
    with source.reader() as read:
        photos = (_checked(read, *pair) for pair in zip(names, hashes, strict=True))
        return tuple(data_uri(photo, THUMBNAIL) if photo else "" for photo in photos)


@lru_cache(maxsize=2)  # of the owner's photos; what people upload is kept no longer than their map
def _of_folder(source: Folder, names: tuple[str, ...], hashes: tuple[str, ...]) -> tuple[str, ...]:
    return _of(source, names, hashes)


def _checked(read: Read, name: str, sha256: str) -> Image.Image | None:
    try:
        data = read(name)
        return open_photo(data).image if hashlib.sha256(data).hexdigest() == sha256 else None
    except UserError:
        return None


def data_uri(photo: Image.Image, side: int) -> str:
    """A small copy of a photo as a JPEG within the page."""
    return data_url(to_jpeg(photo, side, 80))
