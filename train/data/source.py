"""The labelled photos that `--data` names: folders, official data sets, or data sets of the hub."""

import logging
from pathlib import Path

from core.errors import UserError
from train.data.official import detect, read_hub, read_official
from train.data.records import Record, check_no_leakage, check_one_category_per_photo, csv_files, read_data

log = logging.getLogger(__name__)

HUB = "hf:"


def labelled(data: str, csv: str, split: str) -> list[Record]:
    """Return the labelled photos of whatever `--data` names. Raises `UserError` if there is nothing to be read."""
    if data.startswith(HUB):
        records = read_hub(data.removeprefix(HUB), split)
    elif _is_official(Path(data), csv):
        records = read_official(Path(data), split)
    else:
        return read_data(Path(data), csv)
    check_one_category_per_photo(records)
    return records


def labelled_for_training(data: str, csv: str) -> list[Record]:
    """Return the photos to train on. Raises `UserError` if some are in the test part that a folder has beside them."""
    records, folder = labelled(data, csv, "train"), Path(data)
    if folder.is_dir() and csv != "test.csv" and csv_files(folder, "test.csv"):
        check_no_leakage(records, read_data(folder, "test.csv"))
    elif _is_official(folder, csv):
        try:
            test = read_official(folder, "test")
        except UserError as error:
            log.warning("Whether test photos are among those to train on is not checked: %s", error)
        else:
            check_no_leakage(records, test)
    return records


def name_of(data: str) -> str:
    """Return what `--data` is called in a model card: a folder's own name, or the data set's."""
    return Path(data).resolve().name if Path(data).is_dir() else data


def _is_official(folder: Path, csv: str) -> bool:
    return folder.is_dir() and not csv_files(folder, csv) and detect(folder) is not None
