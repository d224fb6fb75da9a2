"""Read labelled photos from a local folder, an official data set, or a data set of the Hugging Face hub."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from core.data.class_folders import has_photo_suffix
from core.data.images import read_photo
from core.data.label_table import is_result
from core.data.names import class_name, is_left_out
from core.data.photo_sets import LabelledPhoto, csv_files, has_report, open_photo_set
from core.errors import UserError
from train.data.official import detect, read_hub, read_official
from train.data.records import Record, check_no_leakage, check_one_category_per_photo, unify_spellings

log = logging.getLogger(__name__)

HUB = "hf:"
PARTS = {"train", "training", "val", "valid", "validation", "test"}  # folders with parts of one data set


def labelled(data: str, csv: str, split: str) -> list[Record]:
    """Return the readable labelled photos of `--data`; log and leave out the others.

    `data` is a folder (see `read_folder`), one in the official layout of a data set, or `hf:` and the name of a data
    set on the hub; the last two are read by `split`. Raises `UserError` if there are no photos to read.
    """
    if data.startswith(HUB):
        records = read_hub(data.removeprefix(HUB), split)
    elif _is_official(Path(data), csv):
        records = read_official(Path(data), split)
    else:
        records = keep_readable(_records_of(Path(data), csv))
        check_categories(records, data)
        return records
    records = unify_spellings(keep_readable(records))
    check_one_category_per_photo(records)
    return records


def _is_official(folder: Path, csv: str) -> bool:
    """Return whether a folder has the official layout of a data set and does not contain the CSV."""
    return folder.is_dir() and not csv_files(folder, csv) and detect(folder) is not None


def read_folder(folder: Path, csv: str) -> list[Record]:
    """Return the labelled photos under a folder, without decoding the photos.

    The folder contains the CSV, or its sub-folders do (one data set each), or it contains class folders and no CSV.
    Raises `UserError` if there are no photos, if there are only other CSV files, if a photo is listed without a
    label or filed under two categories, or if there is only one category.
    """
    records = _records_of(folder, csv)
    check_categories(records, folder)
    return records


def labelled_for_training(data: str, csv: str) -> list[Record]:
    """Return the photos to train on. Raises `UserError` if some are also in the test part of the folder."""
    records, folder = labelled(data, csv, "train"), Path(data)
    if folder.is_dir() and csv != "test.csv" and csv_files(folder, "test.csv"):
        check_no_leakage(records, read_folder(folder, "test.csv"))
    elif _is_official(folder, csv):
        try:
            test = read_official(folder, "test")
        except UserError as error:
            log.warning("Whether test photos are among those to train on is not checked: %s", error)
        else:
            check_no_leakage(records, test)
    return records


def name_of(data: str) -> str:
    """Return the name of `--data` for a model card: that of the folder or of the data set on the hub."""
    return Path(data).resolve().name if Path(data).is_dir() else data


def keep_readable(records: list[Record]) -> list[Record]:
    """Return the records whose photo can be decoded; log the others one by one, then their number."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = list(pool.map(_unreadable, records))
    for reason in filter(None, reasons):
        log.warning("Left out: %s", reason)
    readable = [record for record, reason in zip(records, reasons, strict=True) if not reason]
    if len(readable) < len(records):
        log.warning("%d of %d photos cannot be read and are left out.", len(records) - len(readable), len(records))
    if lost := sorted({record.category for record in records} - {record.category for record in readable}):
        log.warning("No photo can be read of: %s.", ", ".join(lost))
    return readable


def check_categories(records: list[Record], data: Path | str) -> None:
    """Raise `UserError` unless there are two categories and every photo, by content, is in one of them alone."""
    names = sorted({record.category for record in records})
    if len(names) < 2:
        found = f"all that can be used are of {names[0]}" if names else "none can be used"
        raise UserError(f"{data} must hold photos of at least two categories, but {found}.")
    check_one_category_per_photo(records)


def _unreadable(record: Record) -> str:
    """Return the reason why a photo cannot be read, "" if it can."""
    try:
        read_photo(record.image)
    except UserError as error:
        return str(error)
    return ""


def _records_of(folder: Path, csv: str) -> list[Record]:
    if not folder.is_dir():
        raise UserError(f"There is no data folder {folder}.")
    tables = csv_files(folder, csv)
    others = [path for path in csv_files(folder, "*.csv") if not is_result(path.read_bytes())]
    if not tables and others:
        raise UserError(f"There is no {csv} in {folder}, but {others[0]}: which one is it?")
    with open_photo_set(folder, csv if tables else None, any_size=True) as photos:
        labelled = _listed(photos, csv) if tables else _filed(photos, folder, csv)
        return unify_spellings([record for photo in labelled if (record := _record(photo, folder.resolve().name))])


def _record(photo: LabelledPhoto, dataset: str) -> Record | None:
    """Return the record of a photo; log a file that cannot be read and return None."""
    assert photo.path is not None
    try:
        return Record(photo.path, photo.category, photo.dataset or dataset, photo.sha256)
    except UserError as error:
        log.warning("Left out: %s: %s", photo.path, error)
        return None


def _listed(photos: list[LabelledPhoto], csv: str) -> list[LabelledPhoto]:
    """Return the photos of a CSV. Raises `UserError` if one of them has no label."""
    if unlabelled := [photo for photo in photos if not photo.category]:
        more = f" (and {len(unlabelled) - 1} more)" if len(unlabelled) > 1 else ""
        raise UserError(f"{csv} gives no label for {unlabelled[0].path}{more}.")
    return photos


def _filed(photos: list[LabelledPhoto], folder: Path, csv: str) -> list[LabelledPhoto]:
    """Return the photos of class folders; log files outside them.

    Raises `UserError` for folders that are not class folders: empty ones, parts of a data set, or different depths.
    """
    _check_filled(photos, folder)
    labelled = [photo for photo in photos if photo.category]
    if not labelled:
        holders = {photo.path.parent for photo in photos if photo.path and has_photo_suffix(photo.path.name)}
        if holders in (set(), {folder}):
            raise UserError(
                f"{folder} has neither class folders with photos nor a {csv}: put the photos of each category into a "
                "folder of its name."
            )
        raise UserError(
            f"{folder} must hold photos of at least two categories, but has the one class folder "
            f"{class_name(holders.pop().name)!r}."
        )
    named = [photo for photo in labelled if photo.path and has_photo_suffix(photo.path.name)] or labelled
    _check_parts(named)
    depth = _depth(named, folder)
    labelled = [photo for photo in labelled if photo.path and len(photo.path.parts) == depth]
    for photo in photos:
        if photo not in labelled:
            log.warning("Left out: %s: it is not in a class folder.", photo.path)
    return labelled


def _check_filled(photos: Sequence[LabelledPhoto], folder: Path) -> None:
    used = {photo.path.relative_to(folder).parts[0] for photo in photos if photo.path}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in used and not is_left_out(path.name) and not has_report(path):
            raise UserError(f"The class folder {path} holds no photos: remove it, or put some into it.")


def _check_parts(photos: Sequence[LabelledPhoto]) -> None:
    parts = {photo.dataset: photo.path.parents[1] for photo in photos if photo.path and photo.dataset}
    if len(parts) > 1 and {name.lower() for name in parts} <= PARTS:
        first = parts[min(parts, key=lambda name: not name.lower().startswith("train"))]
        raise UserError(
            f"{first.parent} holds the parts {' and '.join(sorted(parts))} of a data set: name one of them, such as "
            f"{first}."
        )


def _depth(photos: Sequence[LabelledPhoto], folder: Path) -> int:
    """Return the number of folders above every photo. Raises `UserError` if it differs."""
    folders = {len(photo.path.parts): photo.path.parent for photo in photos if photo.path}
    if len(folders) > 1:
        shallow, deep = folders[min(folders)], folders[max(folders)]
        raise UserError(
            f"The photos in {shallow} and in {deep} lie at different depths: file all of {folder} as category/photo, or "
            "all as data set/category/photo."
        )
    return min(folders)
