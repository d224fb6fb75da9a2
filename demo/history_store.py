"""Identifications that somebody chose to keep, with their photos and corrections, in one SQLite file.

Every row belongs to the browser whose key kept it. Of a key only the SHA-256 is stored, and every query names it:
without the key a row is neither seen nor changed nor deleted.
"""

import csv
import hashlib
import io
import json
import secrets
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from core.data.images import to_jpeg
from core.errors import UserError
from core.storage.cache import cache_root
from core.taxonomy.categories import canonical_name

THUMBNAIL_SIDE = 160  # pixels of the longer side, at most
PHOTO_SIDE = 640
MAX_ROWS = 500  # of one browser
MAX_NAME = 100  # characters of a correction
KEY_BYTES = 32  # of randomness
KEY_LENGTH = 43  # characters that they are written in
PATIENCE = 10  # seconds to wait for somebody else's write

SCHEMA = """
CREATE TABLE IF NOT EXISTS identifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL,     -- SHA-256 of the browser's key
    photo_hash TEXT NOT NULL,  -- SHA-256 of the upload
    photo BLOB NOT NULL,       -- JPEG, made anew: without what a camera writes beside the pixels
    thumbnail BLOB NOT NULL,   -- JPEG
    model TEXT NOT NULL,
    result TEXT NOT NULL,      -- JSON of Identification.as_dict
    time TEXT NOT NULL,        -- UTC, ISO 8601
    correction TEXT NOT NULL   -- what it actually is; empty where nobody said
);
CREATE INDEX IF NOT EXISTS by_session ON identifications (session, photo_hash);
"""


@dataclass(frozen=True)
class Row:
    """One kept identification. `result` is what `Identification.as_dict` gave, `correction` is empty or a name."""

    id: int
    photo_hash: str
    thumbnail: bytes
    model: str
    result: dict
    time: str
    correction: str


def new_key() -> str:
    """A key for a browser that has none: random, and told to nobody else."""
    return secrets.token_urlsafe(KEY_BYTES)


def is_key(key: object) -> bool:
    """Whether something that a browser sent can be a key."""
    return isinstance(key, str) and len(key) == KEY_LENGTH


class History:
    """What was kept, in an SQLite file (by default in the cache folder) that is made when the first row is.

    Every method raises `UserError` if the file cannot be used or if `key` is no key.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_root() / "history.sqlite"

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)  # photos are nobody else's business
            with closing(sqlite3.connect(self.path, timeout=PATIENCE)) as connection:
                connection.execute("PRAGMA auto_vacuum = FULL")  # the file shrinks when rows go
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten with zeros
                connection.executescript(SCHEMA)
                with connection:
                    yield connection
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"The history {self.path} cannot be used ({error}).") from error

    def keep(self, key: str, upload: bytes, photo: Image.Image, result: dict) -> None:
        """Add a row: the hash of the uploaded bytes, small copies of the photo (RGB, upright), the result.

        A photo that was corrected before stays corrected. Raises `UserError` when there are `MAX_ROWS` already.
        """
        owner, photo_hash = _hash(key), hashlib.sha256(upload).hexdigest()
        with self._opened() as connection:
            (count,) = connection.execute("SELECT count(*) FROM identifications WHERE session = ?", (owner,)).fetchone()
            if count >= MAX_ROWS:
                raise UserError(f"The history holds {MAX_ROWS} identifications, which is its limit: delete some first.")
            connection.execute(
                "INSERT INTO identifications (session, photo_hash, photo, thumbnail, model, result, time, correction) "
                "VALUES (:owner, :hash, :photo, :thumbnail, :model, :result, :time, coalesce("
                "(SELECT correction FROM identifications WHERE session = :owner AND photo_hash = :hash LIMIT 1), ''))",
                {
                    "owner": owner,
                    "hash": photo_hash,
                    "photo": to_jpeg(photo, PHOTO_SIDE, 90),
                    "thumbnail": to_jpeg(photo, THUMBNAIL_SIDE, 90),
                    "model": result["model"],
                    "result": json.dumps(result, ensure_ascii=False),
                    "time": datetime.now(UTC).isoformat(timespec="seconds"),
                },
            )

    def rows(self, key: str) -> list[Row]:
        """The rows of a key, newest first."""
        columns = "id, photo_hash, thumbnail, model, result, time, correction"
        with self._opened() as connection:
            found = connection.execute(
                f"SELECT {columns} FROM identifications WHERE session = ? ORDER BY id DESC",  # noqa: S608 - constants
                (_hash(key),),
            ).fetchall()
        return [
            Row(number, photo_hash, thumbnail, model, json.loads(result), time, correction)
            for number, photo_hash, thumbnail, model, result, time, correction in found
        ]

    def correct(self, key: str, row: int, name: str) -> str:
        """Store what a row's photo actually shows, in all rows with that photo; -> the name as it was stored.

        Raises `UserError` for a name that is empty, longer than `MAX_NAME` or not of printable characters, and for a
        row that is not there.
        """
        name, owner = _checked_name(name), _hash(key)
        with self._opened() as connection:
            changed = connection.execute(
                "UPDATE identifications SET correction = ? WHERE session = ? AND photo_hash = "
                "(SELECT photo_hash FROM identifications WHERE session = ? AND id = ?)",
                (name, owner, owner, row),
            ).rowcount
        if not changed:
            raise UserError("This identification is no longer in the history.")
        return name

    def delete(self, key: str, row: int) -> None:
        """Delete a row for good. Raises `UserError` if it is not there."""
        if not self._delete("session = ? AND id = ?", (_hash(key), row)):
            raise UserError("This identification is no longer in the history.")

    def clear(self, key: str) -> int:
        """Delete all rows of a key for good; -> how many there were."""
        return self._delete("session = ?", (_hash(key),))

    def _delete(self, condition: str, values: tuple) -> int:
        with self._opened() as connection:
            count = connection.execute(f"DELETE FROM identifications WHERE {condition}", values).rowcount  # noqa: S608
            connection.commit()
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # the log holds it too
        if busy:
            raise UserError(
                "Another program is reading the history: what was deleted is not listed any more, but it leaves the "
                "file only when that program is done and something is kept or deleted again."
            )
        return count

    def export_corrections(self, key: str) -> bytes:
        """A ZIP that, unpacked, `python -m train run --data` takes: train.csv and the photos that were corrected.

        A spreadsheet would run a cell that begins with =, +, - or @ as a formula. A label that does not begin with a
        letter or digit is therefore written with an underscore before it, which is read back as a space, and dropped.
        Raises `UserError` if nothing was corrected.
        """
        with self._opened() as connection:
            found = connection.execute(
                "SELECT photo, correction FROM identifications WHERE session = ? AND correction != '' ORDER BY id",
                (_hash(key),),
            ).fetchall()
        if not found:
            raise UserError("There are no corrections to export: choose a row and say what it actually is.")
        photos = {f"photos/{hashlib.sha256(photo).hexdigest()[:16]}.jpg": (photo, name) for photo, name in found}
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(("image_path", "label"))
        writer.writerows((path, name if name[0].isalnum() else f"_{name}") for path, (_, name) in photos.items())
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("train.csv", table.getvalue())
            for path, (photo, _) in photos.items():
                archive.writestr(path, photo)
        return packed.getvalue()


def _hash(key: str) -> str:
    if not is_key(key):
        raise UserError("Nothing was kept for this browser.")
    return hashlib.sha256(key.encode()).hexdigest()


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name.isprintable():
        raise UserError("The name has characters that cannot be printed: type it on one line.")
    if len(name) > MAX_NAME:
        raise UserError(f"The name is longer than {MAX_NAME} characters.")
    name = canonical_name(name)
    if not name:
        raise UserError("The name is empty: say what it actually is.")
    return name
