"""Write files atomically, text that spreadsheets do not evaluate, and read what people write."""

import codecs
import csv
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.errors import UserError

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # beginnings of what a spreadsheet evaluates


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces it at the end, or is removed on an error.

    The folders above are created. `mode` is the permissions of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.chmod(mode)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that becomes it at the end, or is removed on an error.

    What a killed process left in its place is removed first. The folders above are created.
    """
    scratch = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        for file in scratch.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
            file.chmod(0o644)
        scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file atomically, and create the folders above it.

    Raises `UserError` if it cannot be written.
    """
    try:
        with replacing(path) as scratch:
            scratch.write_bytes(data)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}).") from error


def read_text(path: Path) -> str:
    """Return a text that people write: UTF-8, or UTF-16 with its mark, as Windows saves "Unicode".

    Raises `UserError` with the reason and the remedy if it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}, is not in UTF-8: save the file in UTF-8.") from error
    if "\0" in text:  # UTF-16 without its mark, or no text at all
        raise UserError(f"{path} is not a text in UTF-8: save the file in UTF-8.")
    return text


def check_writable_file(path: Path) -> None:
    """Raise `UserError` if no file can be written at `path`, and leave none there: a check before long work."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file.")
    check_writable_folder(path.absolute().parent)


def check_writable_folder(path: Path) -> None:
    """Raise `UserError` if no files can be written in the folder `path`, which need not exist yet."""
    try:
        nearest = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}).") from error
    if not nearest.is_dir():
        raise UserError(f"{path} cannot be made: {nearest} is not a folder.")
    try:
        with tempfile.TemporaryFile(dir=nearest):  # permissions say nothing of what the file system allows
            pass
    except OSError as error:
        raise UserError(f"{path} cannot be written: no file can be made in {nearest} ({error.strerror}).") from error


def inert(text: str) -> str:
    """Return the text of a CSV cell, with an apostrophe before it if a spreadsheet would evaluate it as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a CSV whose text cells are `inert`."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    for row in (header, *rows):
        writer.writerow([inert(value) if isinstance(value, str) else value for value in row])
    return buffer.getvalue()
