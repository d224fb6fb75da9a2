"""Write questions with options about one's own photos, in the form of FOCI's files: each name beside its look-alikes."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.storage.files import write_atomically
from core.taxonomy.categories import name_key
from core.taxonomy.prompts import LETTERS
from core.taxonomy.similarity import nearest
from train.data.foci import OPTIONS_BY
from train.data.hard_negatives import similarity
from train.data.records import Record, by_data_set

OTHERS = len(LETTERS) - 1  # options beside the right one
FILE = "{}-look-alikes.json"  # of a data set; never one of FOCI's names


def write_questions(
    records: list[Record], folder: Path, out: Path, by: str, means: Mapping[str, np.ndarray] | None, options_by: str
) -> dict[Path, int]:
    """Write one file of questions per data set; return how many are in each.

    The options of a photo are its category and the three nearest of its data set (see `similarity`). `means` are the
    mean vision features [D] by category: photos of others are not asked about. `options_by` is written beside each
    question, and tells the files from FOCI's own. Raises `UserError` if a data set has fewer than four categories to
    compare, or if a photo is not below the folder.
    """
    tables = {
        out / FILE.format(name): _table(name, group, folder, by, means, options_by)
        for name, group in by_data_set(records).items()
    }
    for path, table in tables.items():
        write_atomically(path, json.dumps(table, ensure_ascii=False, indent=1).encode())
    return {path: sum(map(len, table.values())) for path, table in tables.items()}


def _table(
    data_set: str, records: list[Record], folder: Path, by: str, means: Mapping[str, np.ndarray] | None, options_by: str
) -> dict[str, list[dict]]:
    """Return the questions about one data set by category."""
    features = None if means is None else {name_key(name): mean for name, mean in means.items()}
    found = dict.fromkeys(record.category for record in records)
    names = [name for name in found if features is None or name_key(name) in features]
    if len(names) <= OTHERS:
        unknown = "" if features is None else " that the model knows"
        raise UserError(
            f"{data_set} has {len(names)} categories{unknown}: questions need {len(LETTERS)}. Name more photos, another "
            "--model, or --by descriptions."
        )
    rows = None if features is None else np.stack([features[name_key(name)] for name in names])
    others = nearest(similarity(names, by, rows), [""] * len(names), OTHERS)
    options = {name: [name, *(names[j] for j in alike)] for name, alike in zip(names, others, strict=True)}
    table: dict[str, list[dict]] = {name: [] for name in names}
    for record in records:
        if record.category in table:
            entry = {"image": _below(folder, record.image), "options": options[record.category]}
            table[record.category].append(entry | {"groundtruth": record.category, OPTIONS_BY: options_by})
    return table


def _below(folder: Path, photo: Path) -> str:
    if not photo.is_relative_to(folder):
        raise UserError(f"{photo} is not below {folder}: questions name photos by their paths in the folder of --data.")
    return photo.relative_to(folder).as_posix()
