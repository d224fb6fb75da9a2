"""CSV files of labels: columns image_path (relative to the CSV) and label; a column data_set is optional."""

import csv
import io
import os
import posixpath
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.data.names import class_name, clean_label, clean_path
from core.errors import UserError
from core.taxonomy.categories import same_category

COLUMNS = ("image_path", "label")
RESULTS = (  # how the first lines of the CSVs begin that this project writes: they may lie among the photos
    "photo,label,data_set,sha256,error",
    "model,kind,category,data_set,photo,sha256",
    "data_set,true_name,predicted_name",
    "data_set,photo,given_name",
    "true_name,",
)
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def is_result(data: bytes) -> bool:
    """Return True for a CSV with results of this project, which are no labels."""
    return data.decode("utf-8-sig", errors="replace").startswith(RESULTS)


def names_columns(data: bytes) -> bool:
    """Return True for a CSV whose first line names the columns of a table of labels."""
    first, *_ = data.decode("utf-8-sig", errors="replace").splitlines() or [""]
    return all(column in first.lower() for column in COLUMNS)


@dataclass(frozen=True)
class LabelTable:
    """One CSV: its path within the set, its content, and the folder of the set if that lies on disk."""

    name: str
    data: bytes
    folder: Path | None = None

    def labels(self, photos: Container[str]) -> dict[str, tuple[str, str]]:
        """Return (label, data set) by photo, in the order of the rows; rows that are the same count once.

        Raises `UserError` if the CSV cannot be read, if a row names no photo, one outside the set or one that is not
        among `photos`, or if a photo has two labels.
        """
        found: dict[str, tuple[str, str]] = {}
        missing = []
        for number, row in self._rows():
            if not row["image_path"]:
                raise UserError(f"{self.name}, line {number}: image_path is empty.")
            photo = self._photo(row["image_path"])
            if photo not in photos:
                missing.append(photo)
                continue
            label = class_name(row["label"]), clean_label(row.get("data_set", ""))
            first = found.setdefault(photo, label)
            check_same_label(self.name, photo, first[0], label[0])
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise UserError(f"{self.name} lists {missing[0]!r}{more}, which is not among the photos.")
        return found

    def _photo(self, path: str) -> str:
        """Return the path within the set of a path relative to the CSV."""
        path, base = path.replace("\\", "/"), posixpath.dirname(self.name)
        if path.startswith("/"):
            path = os.path.relpath(path, self.folder / base) if self.folder else "../" * (base.count("/") + 2)
        joined = posixpath.normpath(posixpath.join(base, path))
        if joined == ".." or joined.startswith("../"):
            raise UserError(f"{self.name} lists {path!r}, which lies outside the set of photos.")
        return clean_path(joined)

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the number of its last line and the cells of every row, columns and cells without outer spaces."""
        reader = csv.reader(io.StringIO(self._text(), newline=""), skipinitialspace=True)
        try:
            columns = [column.strip().lower() for column in next(reader, [])]
            if not set(COLUMNS) <= set(columns):
                raise UserError(self._wrong_columns(columns))
            empty = True
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    empty = False
                    cells += [""] * (len(columns) - len(cells))
                    yield reader.line_num, dict(zip(columns, map(str.strip, cells), strict=False))
        except csv.Error as error:
            raise UserError(f"{self.name}, line {reader.line_num}, cannot be read as CSV ({error}).") from error
        if empty:
            raise UserError(f"{self.name} has no rows below its first line.")

    def _text(self) -> str:
        if self.data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in self.data:
            raise UserError(f'{self.name} is in UTF-16: save it as "CSV UTF-8".')
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            raise UserError(f'{self.name}, line {line}, is not in UTF-8: save it as "CSV UTF-8".') from error

    def _wrong_columns(self, columns: list[str]) -> str:
        if not columns:
            return f"{self.name} is empty: it needs a first line image_path,label and a row for every photo."
        line = ",".join(columns)
        if line.startswith("sep="):
            return f"{self.name} begins with {line[:5]!r}, for Excel alone: save it with commas and without that line."
        for separator, name in SEPARATORS.items():
            if all(column in line.replace('"', "").split(separator) for column in COLUMNS):
                return f"{self.name} separates its columns by {name}: save it with commas."
        return f"The first line of {self.name} must name the columns image_path and label, but is {line[:60]!r}."


def check_same_label(table: str, photo: str, first: str, second: str) -> None:
    """Raise `UserError` if a CSV lists a photo a second time under another label."""
    if not same_category(first, second):
        raise UserError(f"{table} lists {photo!r} twice: as {first!r} and as {second!r}.")
