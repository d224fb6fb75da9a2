"""Read the six research data sets in their official layouts and data sets of the Hugging Face hub.

The lists of both splits of an official folder are checked before a photo is read, because a wrong folder would raise no
error and only lower the accuracy.
"""

import hashlib
import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from core.data.images import open_image
from core.errors import UserError
from core.storage.cache import cache_root, sha256_of
from core.storage.files import write_atomically
from core.taxonomy.categories import canonical_name
from core.taxonomy.data_sets import DataSet, data_sets
from core.taxonomy.names import normalise
from train.data.layouts import LAYOUTS, SPLITS, Lists, check_car_photos
from train.data.records import Record, record

if TYPE_CHECKING:
    import datasets

log = logging.getLogger(__name__)


def detect(folder: Path) -> DataSet | None:
    """Return the data set whose official layout a folder has, complete or not; None if it has no such layout."""
    found = (name for name, layout in LAYOUTS.items() if any((folder / mark).exists() for mark in layout.marks))
    return next((data_sets()[name] for name in found), None)


def read_official(folder: Path, split: str) -> list[Record]:
    """Return the photos of the official split "train" (with the validation part) or "test", in the order of the list.

    Raises `UserError` if the folder has no official layout, if anything in its lists is missing, malformed or
    contradictory, or if photos are missing or (Stanford Cars) do not match the lists. An incomplete but consistent
    copy is read, with a warning in the log.
    """
    data_set = detect(folder)
    if data_set is None:
        titles = ", ".join(known.title for known in data_sets().values())
        raise UserError(f"{folder} has none of the official layouts that are known ({titles}).")
    if split not in SPLITS:
        raise UserError(f"There is no split {split!r} of {data_set.title}: choose train or test.")
    folder = folder.resolve()
    try:
        lists = LAYOUTS[data_set.id].read(folder, data_set.class_names())
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: is this copy of {data_set.title} complete?") from error
    except Exception as error:  # a damaged MATLAB file raises in many ways, and so do odd columns
        raise UserError(f"The lists in {folder} are not those of {data_set.title} ({error!r}).") from error
    _check_lists(folder, data_set, lists)
    if data_set.id == "car-196":
        check_car_photos(folder, split)
    listed, official = lists[split], getattr(data_set, split)
    if len(listed) < official:
        log.warning(
            "%s lists %d of the %d %s photos of %s: results on them do not compare with published ones.",
            *(folder, len(listed), official, split, data_set.title),
        )
    return [record(folder / photo, canonical_name(name), data_set.id) for photo, name in listed]


def _check_lists(folder: Path, data_set: DataSet, lists: Lists) -> None:
    names = set(data_set.class_names())
    split_of: dict[Path, str] = {}
    for split, listed in lists.items():
        official = getattr(data_set, split)
        if not 0 < len(listed) <= official:
            raise UserError(
                f"{folder} lists {len(listed):,} {split} photos, but {data_set.title} has {official:,}: are these "
                f"the lists of {split}?"
            )
        for photo, name in listed:
            path = (folder / photo).resolve()
            if not path.is_relative_to(folder):
                raise UserError(f"The {split} list of {folder} names {photo!r}, which is outside that folder.")
            if path in split_of:
                where = "twice" if split_of[path] == split else "for training and for testing"
                raise UserError(f"The lists of {folder} name the photo {photo} {where}.")
            if name not in names:
                raise UserError(f"The {split} list of {folder} files {photo} under {name!r}, which is not a class.")
            if LAYOUTS[data_set.id].class_in_path and normalise(name) not in normalise(photo):
                raise UserError(f"The {split} list of {folder} files {photo} under {name!r}: the two disagree.")
            split_of[path] = split


def read_hub(name: str, split: str) -> list[Record]:
    """Return the photos of a split of a Hugging Face data set: "owner/name" (or "hf:owner/name"), or a local folder.

    The folder is one that `Dataset.save_to_disk` wrote, or an image folder (`split/class/photo`). Photos and labels
    are the one column of type Image and the one of type ClassLabel. The photos are written into the cache, once, as
    files named by their hash. Raises `UserError` if the data set or the split cannot be loaded, if there are no such
    columns, or if a row has no label or no readable photo.
    """
    import datasets

    name = name.removeprefix("hf:")
    data = _load(name, split)
    photo, label = (_column(name, data, kind) for kind in (datasets.Image, datasets.ClassLabel))
    class_names: list[str] = data.features[label].names
    records = []
    rows = data.select_columns([photo, label]).cast_column(photo, datasets.Image(decode=False))
    for number, row in enumerate(rows):
        if row[label] is None or row[label] < 0:
            raise UserError(f"Row {number} of {name} ({split}) has no label.")
        try:
            stored = _store(row[photo]["bytes"] or Path(row[photo]["path"]).read_bytes())
        except (OSError, TypeError, Image.DecompressionBombError) as error:
            raise UserError(f"Row {number} of {name} ({split}) has no readable photo ({error}).") from error
        records.append(record(stored, canonical_name(class_names[row[label]]), Path(name).name))
    return records


def _load(name: str, split: str) -> "datasets.Dataset":
    from datasets import Dataset, load_dataset, load_from_disk
    from datasets.exceptions import DatasetsError

    folder = Path(name)
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            saved = load_from_disk(name)
            return {str(saved.split or "train"): saved}[split] if isinstance(saved, Dataset) else saved[split]
        if folder.is_dir():
            return load_dataset("imagefolder", data_dir=name, split=split)
        log.info("Loading the data set %s from the Hugging Face hub, or from its cache.", name)
        return load_dataset(name, split=split)
    except KeyError as error:
        raise UserError(f"The data set {name} has no split {split!r}.") from error
    except (OSError, ValueError, DatasetsError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"The split {split!r} of the data set {name} cannot be loaded: {reason}") from error


def _column(name: str, data: "datasets.Dataset", kind: type) -> str:
    found = [column for column, feature in data.features.items() if isinstance(feature, kind)]
    if len(found) != 1:
        have = ", ".join(f"{column} ({type(feature).__name__})" for column, feature in data.features.items())
        raise UserError(f"{name} must have one column of type {kind.__name__}, but has the columns {have}.")
    return found[0]


def _store(photo: bytes) -> Path:
    with open_image(io.BytesIO(photo)) as image:
        suffix = str(image.format).lower()
    digest = hashlib.sha256(photo).hexdigest()
    path = cache_root() / "datasets" / f"{digest}.{suffix}"
    if not path.exists() or sha256_of(path) != digest:  # missing or damaged
        write_atomically(path, photo)
    return path
