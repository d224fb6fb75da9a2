"""Sets of photos with their true names: a ZIP, a folder or some files. Nothing is unpacked to disk.

True names come from a CSV in the set (see `core.data.label_table`), or else from class folders (see
`core.data.class_folders`). A folder of data sets has such a CSV in each of them, one for every part (train, test): the
caller names it. Photos are read one by one, when they are asked for.
"""

import hashlib
import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from core.data.archive import Read, open_archive
from core.data.class_folders import labels_of_folders
from core.data.images import MAX_BYTES
from core.data.label_table import LabelTable, check_same_label, is_result, names_columns
from core.data.names import clean_path, is_left_out, shorten
from core.errors import UserError
from core.taxonomy.categories import canonical_name

MAX_PHOTOS = 2_000
MAX_TABLE = 2 * 2**20  # bytes of a CSV of labels
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
# Written by a study: an earlier report in the folder of photos is no part of the set.
REPORT_FILES = ("study.csv", "study.json", "study.html")


@dataclass(frozen=True)
class LabelledPhoto:
    """One photo of a set. `read` returns its bytes or raises `UserError`; `label` and `dataset` are "" if not known."""

    name: str
    read: Read
    label: str = ""
    dataset: str = ""
    path: Path | None = None  # of the file, unless it lies in a ZIP

    @property
    def category(self) -> str:
        """The canonical name that the label stands for, "" without a label."""
        return canonical_name(self.label)

    @cached_property
    def sha256(self) -> str:
        """The hash of its bytes. Raises `UserError` if they cannot be read."""
        return hashlib.sha256(self.read()).hexdigest()


@dataclass(frozen=True)
class _File:
    """A file of a set: its cleaned path within the set, which tells it from others, and how it is read."""

    name: str
    read: Read
    path: Path | None = None


@contextmanager
def open_photo_set(
    sources: Path | Sequence[Path], csv: str | None = None, *, any_size: bool = False
) -> Iterator[list[LabelledPhoto]]:
    """Yield the photos of one ZIP, of one folder, or those given; they can be read until the end of the `with` block.

    With `csv`, those that the CSV files of this name in a folder, or in its sub-folders, list. Raises `UserError` if
    there are no photos, if a ZIP holds more than photos (archives, encrypted entries, entries that grow out of
    proportion), if the labels cannot be used or, unless `any_size`, if there are more than `MAX_PHOTOS` files. One bad
    photo is no reason: its `read` raises.
    """
    paths = [sources] if isinstance(sources, Path) else list(sources)
    if gone := [path for path in paths if not path.exists()]:
        raise UserError(f"There is no file or folder {gone[0].name}.")
    folder = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    if csv and not folder:
        raise UserError("A CSV can be named for a folder of photos only.")
    if folder:
        files = list(_files_below(folder))
        _check_number(files, any_size)
        yield _listed(folder, csv, files) if csv else _labelled(files, any_size, folder)
    elif len(paths) == 1 and paths[0].suffix.lower() == ".zip":
        with open_archive(paths[0], any_size) as entries:
            files = [_File(clean_path(name), read) for name, read in entries]
            _check_number(files, any_size)
            _check_no_archives(files)
            yield _labelled(files, any_size)
    else:
        files = [_File(clean_path(path.name), partial(_read_file, path), path) for path in paths]
        files = [file for file in files if not is_left_out(file.name)]
        _check_number(files, any_size)
        _check_no_archives(files)
        yield _labelled(files, any_size)


def has_report(folder: Path) -> bool:
    """Return True for a folder with the report of a study."""
    return (folder / REPORT_FILES[-1]).is_file()


def csv_files(folder: Path, name: str) -> list[Path]:
    """Return the CSV files of that name in a folder or, where it has none, in its sub-folders."""
    found = sorted(folder.glob(name)) or sorted(folder.glob(f"*/{name}"))
    return [path for path in found if not is_left_out(path.relative_to(folder).as_posix())]


def _files_below(folder: Path) -> Iterator[_File]:
    """Yield the files of a folder and its sub-folders, links included, in the order of their names."""
    paths: list[Path] = []
    for directory, folders, names in os.walk(folder, followlinks=True):
        here = Path(directory)
        if _links_upwards(here, folder):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not is_left_out(name)]
        paths += [here / name for name in names if not is_left_out(name)]
    for path in sorted(paths):
        if path.is_file() or not path.exists():  # a broken link is reported when it is read
            yield _File(clean_path(path.relative_to(folder).as_posix()), partial(_read_file, path), path)


def _links_upwards(directory: Path, top: Path) -> bool:
    above = [parent for parent in directory.parents if parent == top or top in parent.parents]
    return directory != top and any(directory.samefile(parent) for parent in above)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # one more than `core.data.images` accepts: it says what is wrong
    except OSError as error:
        raise UserError(f"The file cannot be read ({error.strerror}).") from error


def _check_number(files: list[_File], any_size: bool) -> None:
    if len(files) > MAX_PHOTOS and not any_size:
        raise UserError(f"There are {len(files)} files: the limit is {MAX_PHOTOS}.")


def _check_no_archives(files: list[_File]) -> None:
    if archives := [file.name for file in files if file.name.lower().endswith(ARCHIVES)]:
        raise UserError(f"{archives[0]} is an archive among other files: choose one ZIP alone, of photos only.")


def _table(file: _File, folder: Path | None, limit: int = MAX_BYTES) -> LabelTable:
    data = file.read()
    if len(data) > limit:
        raise UserError(f"{file.name} is larger than {limit // 2**20} MB.")
    return LabelTable(file.name, data, folder)


def _listed(folder: Path, csv: str, files: list[_File]) -> list[LabelledPhoto]:
    """Return the photos of the CSV files of that name in a folder, or in its sub-folders: these are the data sets."""
    if Path(csv).name != csv:
        raise UserError(f"{csv} is not the name of a CSV.")
    tables = csv_files(folder, csv)
    if not tables:
        raise UserError(f"There is no {csv} in {folder.name} or in its sub-folders.")
    by_name = {file.name: file for file in reversed(files)}
    photos: dict[str, LabelledPhoto] = {}
    for path in tables:
        table = _File(clean_path(path.relative_to(folder).as_posix()), partial(_read_file, path))
        for name, (label, dataset) in _table(table, folder).labels(by_name).items():
            dataset = dataset or path.parent.resolve().name
            file = by_name[name]
            photo = photos.setdefault(name, LabelledPhoto(shorten(name), file.read, label, dataset, file.path))
            check_same_label(table.name, name, photo.label, label)
    return list(photos.values())


def _labelled(files: list[_File], any_size: bool, folder: Path | None = None) -> list[LabelledPhoto]:
    """Return the photos among files, with the labels of the one CSV among them, or of their folders."""
    reports = {posixpath.dirname(file.name) for file in files if posixpath.basename(file.name) == "study.html"}
    files = [
        file
        for file in files
        if posixpath.basename(file.name) not in REPORT_FILES or posixpath.dirname(file.name) not in reports
    ]
    tables = [file for file in files if _is_csv(file) and not is_result(file.read())]
    if len(tables) > 1:
        tables = [file for file in tables if names_columns(file.read())] or tables
    if len(tables) > 1:
        both = f"{tables[0].name} and {tables[1].name}"
        raise UserError(f"There is more than one CSV ({both}): give one with all labels.")
    photos = [file for file in files if not _is_csv(file)]
    if not photos:
        raise UserError("There are no photos: choose some, or one ZIP of photos.")
    names = {file.name for file in photos}
    if tables:
        labels = _table(tables[0], folder, MAX_BYTES if any_size else MAX_TABLE).labels(names)
    else:
        labels = labels_of_folders(names)
    found: list[LabelledPhoto] = []
    taken: set[str] = set()
    for file in photos:
        read = _refuse_twin if file.name in taken else file.read
        found.append(LabelledPhoto(shorten(file.name), read, *labels.get(file.name, ("", "")), path=file.path))
        taken.add(file.name)
    return found


def _is_csv(file: _File) -> bool:
    return file.name.lower().endswith(".csv")


def _refuse_twin() -> bytes:
    raise UserError("Another file has the same name.")
