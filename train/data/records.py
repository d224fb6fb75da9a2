"""Labelled photos: class folders and CSV files, checked before anything is computed from them."""

import csv
import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.taxonomy.categories import canonical_name

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Record:
    """One labelled photo. `sha256` is the hash of the file's bytes."""

    image: Path
    category: str  # canonical display name
    data_set: str  # the folder it came from
    sha256: str


def record(image: Path, label: str, data_set: str) -> Record:
    """The record of a photo under any spelling of its category. Raises `UserError` if there is no such file."""
    if not image.is_file():
        raise UserError(f"The photo {image} is listed but missing.")
    return Record(image, canonical_name(label), data_set, hashlib.sha256(image.read_bytes()).hexdigest())


def read_csv(file: Path) -> list[Record]:
    """The records of a CSV with the columns image_path (relative to the CSV's folder) and label."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read as a CSV in UTF-8 ({error}).") from error
    if not rows or not {"image_path", "label"} <= set(rows[0]):
        raise UserError(f"{file} has no rows with the columns image_path and label.")
    folder = file.parent.resolve()
    for line, row in enumerate(rows, start=2):
        if not (row["image_path"] or "").strip() or not canonical_name(row["label"] or ""):
            raise UserError(f"{file}, line {line}: image_path or label is empty.")
        if not (folder / row["image_path"]).resolve().is_relative_to(folder):
            raise UserError(f"{file} lists {row['image_path']!r}, which lies outside its folder.")
    return [record(folder / row["image_path"], row["label"], folder.name) for row in rows]


def read_class_folders(folder: Path) -> list[Record]:
    """The records of a folder that holds one folder of photos per category."""
    records = []
    for class_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        photos = sorted(p for p in class_folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
        if not photos:
            raise UserError(f"The class folder {class_folder} holds no photos.")
        records += [record(photo, class_folder.name, folder.name) for photo in photos]
    return records


def csv_files(folder: Path, name: str) -> list[Path]:
    """The CSV files of that name in a folder or, where it has none, in its sub-folders."""
    return sorted(folder.glob(name)) or sorted(folder.glob(f"*/{name}"))


def read_data(folder: Path, csv_name: str) -> list[Record]:
    """The labelled photos under a folder, in one of three forms.

    It holds the CSV; or its sub-folders do (one data set each); or it holds class folders (no CSV anywhere).
    Raises `UserError` if there is nothing, if there are other CSV files alone, if a photo is filed under two
    categories, or if there is but one category.
    """
    if not folder.is_dir():
        raise UserError(f"There is no data folder {folder}.")
    files = csv_files(folder, csv_name)
    if not files and (others := csv_files(folder, "*.csv")):
        raise UserError(f"There is no {csv_name} in {folder}, but {others[0]}: which one is it?")
    records = [r for file in files for r in read_csv(file)] if files else read_class_folders(folder)
    if len({record.category for record in records}) < 2:
        raise UserError(
            f"{folder} must hold photos of at least two categories (looked for {csv_name} and class folders)."
        )
    check_one_category_per_photo(records)
    return records


def check_one_category_per_photo(records: list[Record]) -> None:
    """Raises `UserError` if a photo (by content) is filed under two categories."""
    filed: dict[str, Record] = {}
    for record in records:
        other = filed.setdefault(record.sha256, record)
        if other.category != record.category:
            raise UserError(
                f"The same photo is filed as {other.category} ({other.image}) and as {record.category} ({record.image})."
            )


def check_no_leakage(train: list[Record], test: list[Record]) -> None:
    """Raises `UserError` if a photo (by content) is in both parts."""
    known = {record.sha256: record for record in train}
    shared = [record for record in test if record.sha256 in known]
    if shared:
        first = shared[0]
        raise UserError(
            f"{len(shared)} test photos are also training photos, for example {first.image} and "
            f"{known[first.sha256].image}."
        )


def split_calibration(records: list[Record], share: float = 0.1, least: int = 8) -> tuple[list[Record], list[Record]]:
    """(training part, calibration part): a fixed `share` of every category with at least `least` photos.

    The choice depends on the photos' content alone. Smaller categories give up nothing.
    """
    by_category: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_category[record.category].append(record)
    held: set[str] = set()
    for group in by_category.values():
        if len(group) >= least:
            ordered = sorted(record.sha256 for record in group)
            held.update(ordered[: round(share * len(group))])
    return [r for r in records if r.sha256 not in held], [r for r in records if r.sha256 in held]


def short_hash(record: Record) -> str:
    """Enough of a photo's hash to tell whether a checkpoint has seen it."""
    return record.sha256[:12]


def manifest_hash(records: list[Record]) -> str:
    """One hash over photos and labels: two runs on the same data share it."""
    lines = sorted(f"{record.sha256} {record.category}" for record in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
