"""Store the identifications that people choose to keep, with photos and corrections, in one SQLite file.

Every row belongs to the browser whose key kept it. Only the SHA-256 of a key is stored, and every query filters by it:
without the key, a row can be neither read nor changed nor deleted.
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

from filelock import FileLock
from PIL import Image

from core.data.images import to_jpeg
from core.errors import UserError
from core.storage.cache import cache_root
from core.storage.files import replacing
from core.taxonomy.categories import canonical_name

THUMBNAIL_SIDE = 160  # maximum length of the longer side in pixels
PHOTO_SIDE = 640
JPEG_QUALITY = 90
MAX_ROWS = 500  # per browser
MAX_NAME = 100  # characters of a correction
KEY_BYTES = 32  # of randomness
KEY_LENGTH = 43  # characters of these bytes in base64
MAX_WAIT_SECONDS = 10  # for another connection's write

SCHEMA = """
CREATE TABLE IF NOT EXISTS identifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL,     -- SHA-256 of the browser's key
    photo_hash TEXT NOT NULL,  -- SHA-256 of the upload
    photo BLOB NOT NULL,       -- JPEG, encoded again: without the camera's metadata
    thumbnail BLOB NOT NULL,   -- JPEG
    model TEXT NOT NULL,
    result TEXT NOT NULL,      -- JSON of Identification.as_dict
    time TEXT NOT NULL,        -- UTC, ISO 8601
    correction TEXT NOT NULL   -- the true name; empty if nobody entered one
);
CREATE INDEX IF NOT EXISTS by_session ON identifications (session, photo_hash);
"""


@dataclass(frozen=True)
class HistoryRow:
    """One kept identification: `result` is its `Identification.as_dict`, `correction` a name or empty."""

    id: int
    photo_hash: str
    thumbnail: bytes
    model: str
    result: dict
    time: str
    correction: str


def new_key() -> str:
    """Return a random key for a browser that has none."""
    return secrets.token_urlsafe(KEY_BYTES)


def is_key(key: object) -> bool:
    """Return whether something that a browser sent can be a key."""
    return isinstance(key, str) and len(key) == KEY_LENGTH


class History:
    """The kept identifications in an SQLite file, by default in the cache folder.

    The file is created by the first `keep`; until then the history is empty. Every method raises `UserError` if the
    file cannot be used or if `key` is not a key.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_root() / "history.sqlite"

    @contextmanager
    def _connect(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """Open the file in one transaction; without `create`, a missing file is an empty history in memory."""
        try:
            if create and _is_missing(self.path):
                self._create()
            missing = _is_missing(self.path)
            with closing(sqlite3.connect(":memory:" if missing else self.path, timeout=MAX_WAIT_SECONDS)) as connection:
                connection.execute("PRAGMA secure_delete = ON")  # overwrite deleted content with zeros
                if missing:
                    connection.executescript(SCHEMA)
                with connection:
                    yield connection
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"The history {self.path} cannot be used ({error}).") from error

    def _create(self) -> None:
        """Create the file, which appears complete.

        SQLite does not wait for other connections while it changes to write-ahead logging: it fails at once.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):
            if _is_missing(self.path):  # no other process was quicker
                scratch_file = replacing(self.path, mode=0o600)  # the photos are private
                with scratch_file as scratch, closing(sqlite3.connect(scratch)) as connection:
                    connection.execute("PRAGMA auto_vacuum = FULL")  # shrink the file when rows are deleted
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(SCHEMA)

    def keep(self, key: str, upload: bytes, photo: Image.Image, result: dict) -> int:
        """Add a row and return its id: the hash of the upload, small copies of the photo (RGB, upright), the result.

        An earlier correction of the same photo applies to the new row. Raises `UserError` if there are `MAX_ROWS` rows.
        """
        owner, photo_hash = _hash(key), hashlib.sha256(upload).hexdigest()
        with self._connect(create=True) as connection:
            (count,) = connection.execute("SELECT count(*) FROM identifications WHERE session = ?", (owner,)).fetchone()
            if count >= MAX_ROWS:
                raise UserError(f"The history holds {MAX_ROWS} identifications, which is its limit: delete some first.")
            added = connection.execute(
                "INSERT INTO identifications (session, photo_hash, photo, thumbnail, model, result, time, correction) "
                "VALUES (:owner, :hash, :photo, :thumbnail, :model, :result, :time, coalesce("
                "(SELECT correction FROM identifications WHERE session = :owner AND photo_hash = :hash LIMIT 1), ''))",
                {
                    "owner": owner,
                    "hash": photo_hash,
                    "photo": to_jpeg(photo, PHOTO_SIDE, JPEG_QUALITY),
                    "thumbnail": to_jpeg(photo, THUMBNAIL_SIDE, JPEG_QUALITY),
                    "model": result["model"],
                    "result": json.dumps(result, ensure_ascii=False),
                    "time": datetime.now(UTC).isoformat(timespec="seconds"),
                },
            )
        return added.lastrowid or 0

    def rows(self, key: str) -> list[HistoryRow]:
        """Return the rows of a key, newest first."""
        columns = "id, photo_hash, thumbnail, model, result, time, correction"
        with self._connect() as connection:
            found = connection.execute(
                f"SELECT {columns} FROM identifications WHERE session = ? ORDER BY id DESC",  # noqa: S608 - constants
                (_hash(key),),
            ).fetchall()
        return [
            HistoryRow(number, photo_hash, thumbnail, model, json.loads(result), time, correction)
            for number, photo_hash, thumbnail, model, result, time, correction in found
        ]

    def correct(self, key: str, row: int, name: str) -> str:
        """Store the true name of a row's photo in all rows of that photo; return the name as stored.

        Raises `UserError` if the name is empty, longer than `MAX_NAME` or not printable, or if there is no such row.
        """
        name, owner = checked_name(name), _hash(key)
        with self._connect() as connection:
            changed = connection.execute(
                "UPDATE identifications SET correction = ? WHERE session = ? AND photo_hash = "
                "(SELECT photo_hash FROM identifications WHERE session = ? AND id = ?)",
                (name, owner, owner, row),
            ).rowcount
        if not changed:
            raise UserError("This identification is no longer in the history.")
        return name

    def delete(self, key: str, row: int) -> None:
        """Delete a row for good. Raises `UserError` if there is no such row."""
        if not self._delete("session = ? AND id = ?", (_hash(key), row)):
            raise UserError("This identification is no longer in the history.")

    def clear(self, key: str) -> int:
        """Delete all rows of a key for good; return their number."""
        return self._delete("session = ?", (_hash(key),))

    def _delete(self, condition: str, values: tuple) -> int:
        with self._connect() as connection:
            count = connection.execute(f"DELETE FROM identifications WHERE {condition}", values).rowcount  # noqa: S608
            connection.commit()
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # the log holds the row, too
        if busy:
            raise UserError(
                "Another program is reading the history: the deleted rows are no longer listed, but their bytes stay in "
                "the file until that program ends and something is kept or deleted again."
            )
        return count

    def export_corrections(self, key: str) -> bytes:
        """Return a ZIP of train.csv and the corrected photos: unpacked, it is input for `python -m train run --data`.

        A spreadsheet evaluates a cell that begins with =, +, - or @ as a formula. A label that does not begin with a
        letter or digit is therefore prefixed with an underscore, which is read back as a space and stripped.
        Raises `UserError` if there are no corrections.
        """
        with self._connect() as connection:
            found = connection.execute(
                "SELECT photo, correction FROM identifications WHERE session = ? AND correction != '' ORDER BY id",
                (_hash(key),),
            ).fetchall()
        if not found:
            raise UserError("There are no corrections to export: choose a row and enter its true name first.")
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


def _is_missing(path: Path) -> bool:
    """Return whether there is no file, or an empty one, which a process left that was stopped while it created it."""
    return not path.exists() or not path.stat().st_size


def _hash(key: str) -> str:
    if not is_key(key):
        raise UserError("Nothing is kept for this browser.")
    return hashlib.sha256(key.encode()).hexdigest()


def checked_name(name: str) -> str:
    """Return a correction as it is stored. Raises `UserError` if it is empty, too long or not printable."""
    name = name.strip()
    if not name.isprintable():
        raise UserError("The name has unprintable characters: type it on one line.")
    if len(name) > MAX_NAME:
        raise UserError(f"The name is longer than {MAX_NAME} characters.")
    name = canonical_name(name)
    if not name:
        raise UserError("The name is empty: enter the true name.")
    return name
