"""Sets of photos with their true names: a ZIP, a folder or some files. Nothing is unpacked to disk.

True names come from a CSV in the set (columns image_path, relative to the CSV, and label; a column data_set is
optional), or else from class folders (`data set/class/photo` or `class/photo`). A folder of data sets has such a CSV in
each of them, for every part (train, test) one: then it is told which.
"""

import csv
import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.data.images import MAX_BYTES
from core.errors import UserError
from core.taxonomy.categories import find_category

MAX_PHOTOS = 2_000
MAX_UNPACKED = 4 * 2**30  # bytes of all entries of a ZIP together
MAX_RATIO = 100  # of unpacked to packed bytes: photos hardly shrink
MAX_TABLE = 2 * 2**20  # bytes of a CSV of labels
MAX_NAME = 200  # characters of a photo's name that are kept
MAX_LABEL = 100
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
LEFT_OUT = ("__MACOSX", "Thumbs.db", "desktop.ini")  # and everything whose name begins with a dot
CLASS_NUMBER = re.compile(r"^(\d+\.|n\d{8}-)")  # as in the class folders of CUB-200-2011 and Stanford Dogs

Read = Callable[[], bytes]


@dataclass(frozen=True)
class LabelledPhoto:
    """One photo of a set. `read` gives its bytes, or raises `UserError`; `label` and `dataset` are "" if not told."""

    name: str
    read: Read
    label: str = ""
    dataset: str = ""


@contextmanager
def open_photo_set(paths: Sequence[Path], table: str = "") -> Iterator[list[LabelledPhoto]]:
    """The photos of one ZIP, of one folder, or those given; they can be read until the end of the `with` block.

    With a `table`, those that the CSV files of this name in a folder, or in its sub-folders, list.
    Raises `UserError` if there are none, too many, or more than photos in a ZIP (archives, encrypted entries, entries
    that grow out of proportion), or if the CSV of labels cannot be used. One bad photo is no reason: its `read` fails.
    """
    if gone := [path for path in paths if not path.exists()]:
        raise UserError(f"There is no file or folder {gone[0].name}.")
    first = paths[0] if len(paths) == 1 else Path()
    if table:
        if not first.is_dir():
            raise UserError("A CSV can be named for a folder of photos only.")
        yield _listed(first, table)
    elif first.suffix.lower() == ".zip" and first.is_file():
        with _open_archive(first) as archive:
            yield _labelled([(info.filename, partial(_read_entry, archive, info)) for info in _entries(archive, first)])
    elif len(paths) == 1 and first.is_dir():
        files = sorted(path for path in first.rglob("*") if path.is_file())
        yield _labelled([(path.relative_to(first).as_posix(), partial(_read_file, path)) for path in files])
    else:
        yield _labelled([(path.name, partial(_read_file, path)) for path in paths])


def _listed(folder: Path, table: str) -> list[LabelledPhoto]:
    """The photos of the CSV files `table` of a folder, or of its sub-folders: these are the data sets."""
    if Path(table).name != table:
        raise UserError(f"{table} is not the name of a CSV.")
    tables = sorted(folder.glob(table)) or sorted(folder.glob(f"*/{table}"))
    if not tables:
        raise UserError(f"There is no {table} in {folder.name} or in its sub-folders.")
    items = []
    for path in tables:
        own = path.parent
        names = {file.relative_to(own).as_posix() for file in own.rglob("*") if file.is_file()}
        for name, (label, data_set) in _labels_of_table(table, partial(_read_file, path), names).items():
            prefix = "" if own == folder else f"{own.name}/"
            items.append(LabelledPhoto(prefix + name, partial(_read_file, own / name), label, data_set or own.name))
    _check_number(len(items))
    return items


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # one more than `core.data.images` accepts: it says what is wrong
    except OSError as error:
        raise UserError(f"The file cannot be read ({error.strerror}).") from error


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path.name} is not a readable ZIP.") from error


def _entries(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The files of an archive that is worth reading. Raises `UserError` for one that is not."""
    entries = [info for info in archive.infolist() if not info.is_dir() and not _left_out(info.filename)]
    _check_number(len(entries))
    if any(info.flag_bits & 1 for info in entries):
        raise UserError(f"{path.name} is encrypted: use a ZIP without a password.")
    unpacked = sum(info.file_size for info in entries)
    if unpacked > MAX_UNPACKED:
        raise UserError(f"{path.name} holds more than {MAX_UNPACKED // 2**30} GB: use a smaller one.")
    if unpacked > MAX_BYTES and unpacked > MAX_RATIO * path.stat().st_size:
        raise UserError(f"{path.name} unpacks to over {MAX_RATIO} times its size: photos do not.")
    return entries


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError("The file is packed in an unusual way: use an ordinary ZIP.")
    try:
        with archive.open(info) as file:
            return file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise UserError("The ZIP is damaged at this file.") from error


def _check_number(files: int) -> None:
    if files > MAX_PHOTOS:
        raise UserError(f"There are {files} files: the limit is {MAX_PHOTOS}.")


def _left_out(name: str) -> bool:
    return any(part in LEFT_OUT or part.startswith(".") for part in _clean_path(name).split("/"))


def _clean(text: str) -> str:
    """One line of printable text."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _clean_path(name: str) -> str:
    """A relative path that leads nowhere else, of `MAX_NAME` characters at most."""
    parts = [_clean(part) for part in name.replace("\\", "/").split("/")]
    path = "/".join(part for part in parts if part not in ("", ".", ".."))
    return path if len(path) <= MAX_NAME else f"{path[: MAX_NAME // 2 - 1]}…{path[-MAX_NAME // 2 :]}"


def _clean_label(text: str) -> str:
    label = _clean(text)
    if len(label) > MAX_LABEL:
        raise UserError(f"The label {label[:30]!r}... is longer than {MAX_LABEL} characters.")
    return label


def _labelled(found: list[tuple[str, Read]]) -> list[LabelledPhoto]:
    """The photos among files (path, reader), with their labels."""
    files = [(_clean_path(name), read) for name, read in found if not _left_out(name)]
    _check_number(len(files))
    if archives := [name for name, _ in files if name.lower().endswith(ARCHIVES)]:
        raise UserError(f"{archives[0]} is an archive among other files: choose one ZIP alone, of photos only.")
    tables = [(name, read) for name, read in files if name.lower().endswith(".csv")]
    if len(tables) > 1:
        raise UserError("There is more than one CSV: give one with all labels.")
    photos = [(name, read) for name, read in files if not name.lower().endswith(".csv")]
    if not photos:
        raise UserError("There are no photos: choose some, or one ZIP of photos.")
    names = {name for name, _ in photos}
    labels = _labels_of_table(*tables[0], names) if tables else _labels_of_folders(names)
    items: list[LabelledPhoto] = []
    taken: set[str] = set()
    for name, read in photos:
        items.append(LabelledPhoto(name, _refuse_twin if name in taken else read, *labels.get(name, ())))
        taken.add(name)
    return items


def _refuse_twin() -> bytes:
    raise UserError("Another file has the same name.")


def _labels_of_table(table: str, read: Read, names: set[str]) -> dict[str, tuple[str, str]]:
    """Photo -> (label, data set), from a CSV."""
    data = read()
    if len(data) > MAX_TABLE:
        raise UserError(f"{table} is larger than {MAX_TABLE // 2**20} MB.")
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} cannot be read as a CSV in UTF-8.") from error
    if not rows or not {"image_path", "label"} <= set(rows[0]):
        raise UserError(f"{table} has no rows with the columns image_path and label.")
    labels: dict[str, tuple[str, str]] = {}
    missing = []
    for row in rows:
        path = _clean_path(posixpath.join(posixpath.dirname(table), row["image_path"] or ""))
        if path not in names:
            missing.append(path)
        elif path in labels:
            raise UserError(f"{table} lists {path!r} twice.")
        labels[path] = _clean_label(row["label"] or ""), _clean_label(row.get("data_set") or "")
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(f"{table} lists {missing[0]!r}{more}, which is not among the photos.")
    return labels


def _labels_of_folders(names: set[str]) -> dict[str, tuple[str, str]]:
    """Photo -> (label, data set), from the folders below the one that holds everything.

    Where one folder holds all photos itself, its name is a label only if it is a known category.
    """
    folders = {name: posixpath.dirname(name).strip("/") for name in names}
    shared = posixpath.commonpath(list(folders.values()))
    labels = {}
    for name, folder in folders.items():
        own = [part for part in folder[len(shared) :].split("/") if part]
        label = _class_name(own[-1]) if own else ""
        labels[name] = label, _clean_label(own[-2]) if len(own) > 1 else ""
    only = _class_name(posixpath.basename(shared))
    if find_category(only) and set(folders.values()) == {shared}:
        return dict.fromkeys(names, (only, ""))
    return labels


def _class_name(folder: str) -> str:
    return _clean_label(CLASS_NUMBER.sub("", folder).replace("_", " "))
