"""ZIP archives of unknown origin, read without unpacking anything to disk."""

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from core.data.images import MAX_BYTES
from core.data.names import is_left_out
from core.errors import UserError

MAX_UNPACKED = 4 * 2**30  # bytes of all entries together
MAX_RATIO = 100  # of unpacked to packed bytes: photos hardly shrink
UTF8_FLAG = 0x800
ENCRYPTED_FLAG = 0x1
UNICODE_NAME = 0x7075  # an extra field, as WinRAR and Info-ZIP write it

Read = Callable[[], bytes]


@contextmanager
def open_archive(path: Path, any_size: bool = False) -> Iterator[list[tuple[str, Read]]]:
    """Yield the name and a reader of every file in a ZIP; they can be read until the end of the `with` block.

    Raises `UserError` for what is no ZIP, for encrypted entries, for entries that grow out of proportion and, unless
    `any_size`, for more than `MAX_UNPACKED` bytes. A reader raises it for a damaged or unusually packed entry.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path.name} is not a readable ZIP.") from error
    with archive:
        entries = [(entry_name(info), info) for info in archive.infolist() if not info.is_dir()]
        entries = [(name, info) for name, info in entries if not is_left_out(name)]
        _check([info for _, info in entries], path, any_size)
        yield [(name, partial(_read_entry, archive, info)) for name, info in entries]


def entry_name(info: zipfile.ZipInfo) -> str:
    """Return the name of an entry. Many programs write UTF-8 without the flag that says so, or beside another name."""
    if info.flag_bits & UTF8_FLAG:
        return info.filename
    try:
        stored = info.filename.encode("cp437")
        return _unicode_name(info.extra, zlib.crc32(stored)) or stored.decode("utf-8")
    except UnicodeError:
        return info.filename


def _unicode_name(extra: bytes, checksum: int) -> str:
    """Return the name in UTF-8 of an extra field of an entry, "" if there is none for a name with this checksum."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_NAME and field[1:5] == struct.pack("<L", checksum):
            return field[5:].decode("utf-8")
    return ""


def _check(entries: list[zipfile.ZipInfo], path: Path, any_size: bool) -> None:
    if any(info.flag_bits & ENCRYPTED_FLAG for info in entries):
        raise UserError(f"{path.name} is encrypted: use a ZIP without a password.")
    unpacked = sum(info.file_size for info in entries)
    if unpacked > MAX_UNPACKED and not any_size:
        raise UserError(f"{path.name} holds more than {MAX_UNPACKED // 2**30} GB: use a smaller one.")
    if unpacked > MAX_BYTES and unpacked > MAX_RATIO * path.stat().st_size:
        raise UserError(f"{path.name} unpacks to over {MAX_RATIO} times its size: photos do not.")


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError("The file is packed in an unusual way: use an ordinary ZIP.")
    try:
        with archive.open(info) as file:
            return file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise UserError("The ZIP is damaged at this file.") from error
