"""Read the questions of the FOCI benchmark, and find the photos that they ask about."""

import csv
import hashlib
import json
import logging
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.data.names import clean_path, is_left_out
from core.data.photo_sets import csv_files
from core.errors import UserError
from core.taxonomy.categories import name_key, same_category
from core.taxonomy.data_sets import DataSet, data_sets
from core.taxonomy.names import normalise
from core.taxonomy.prompts import LETTERS, closed_words, question_subject, with_options

log = logging.getLogger(__name__)

OPTIONS_BY = "options_by"  # of a question about look-alikes: what they are nearest by
LAST_TEST_CAR = 8041  # Stanford Cars: the photos of both splits are numbered from 1, those of the training part to 8144


@dataclass(frozen=True)
class FociQuestion:
    """A question as the file has it: the photo, and the options in the spelling and order of the file."""

    id: str  # the photo's name without suffix, with a number where it is asked about again
    image: str
    options: tuple[str, ...]
    truth: str

    def shuffled(self, seed: int) -> list[str]:
        """Return the options in an order that depends on the seed and the question alone."""
        return random.Random(f"{seed} {self.id}").sample(self.options, len(self.options))


@dataclass(frozen=True)
class FociFile:
    """The questions about one data set; `data_set` is None for one that is not in `assets/datasets.yaml`.

    It is None, too, for questions about look-alikes (`train questions`), which are no questions of the benchmark.
    """

    name: str
    sha256: str
    questions: list[FociQuestion]
    data_set: DataSet | None
    question: str  # FOCI's words, without the options
    look_alikes: bool = False

    def prompt(self, options: list[str]) -> str:
        """Return the question over options in the order of their letters, in FOCI's words."""
        return with_options(self.question, options)


def read_foci(file: Path) -> FociFile:
    """Return the questions of a FOCI file: `{class: [{"image", "options", "groundtruth"}, ...], ...}`.

    Questions about look-alikes also have `OPTIONS_BY`. Raises `UserError` for a file in another form, for a question
    without four distinct options, its answer among them, and for look-alikes in a file with the name of a benchmark's.
    """
    questions: list[FociQuestion] = []
    seen: Counter[str] = Counter()
    look_alikes = False
    try:
        data = file.read_bytes()
        table = json.loads(data)
        for name, entries in table.items():
            for entry in entries:
                options = tuple(entry["options"])
                distinct = {name_key(option) for option in options}
                if not len(distinct) == len(options) == len(LETTERS) or name not in options:
                    raise UserError(f"{file}: {entry['image']} needs four distinct options, {name!r} among them.")
                if entry["groundtruth"] != name:
                    raise UserError(f"{file}: {entry['image']} is filed under {name!r} and answered otherwise.")
                look_alikes = look_alikes or OPTIONS_BY in entry
                "".join((entry["image"], *options)).encode()  # half a character can neither be found nor written
                stem = Path(entry["image"]).stem
                seen[stem] += 1
                number = f"#{seen[stem]}" if seen[stem] > 1 else ""
                questions.append(FociQuestion(f"{stem}{number}", entry["image"], options, name))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} does not hold FOCI questions ({error!r}).") from error
    if look_alikes and file.stem in data_sets():
        raise UserError(f"{file} asks about look-alikes and is named as FOCI's own questions are: rename it.")
    data_set = None if look_alikes else _data_set_of(file.stem, set(table))
    name = data_set.id if data_set else file.stem
    words = data_set.closed_question if data_set else closed_words(question_subject(list(table)))
    return FociFile(name, hashlib.sha256(data).hexdigest(), questions, data_set, words, look_alikes)


def _data_set_of(stem: str, names: set[str]) -> DataSet | None:
    """Return the data set whose classes a FOCI file asks about; its own name decides between two."""
    for data_set in sorted(data_sets().values(), key=lambda data_set: data_set.id != stem):
        classes = {normalise(name) for name in data_set.class_names()}
        if all(normalise(data_set.foci_names.get(name, name)) in classes for name in names):
            return data_set
    return None


def find_photos(folder: Path, foci: FociFile) -> dict[str, Path]:
    """Return question id -> photo in a folder, without the questions whose photo is not there.

    Photos are found by the column `original` of the folder's CSV files, which names the official file's stem, or by the
    official file name; those of questions about look-alikes where the questions say. Raises `UserError` if none is
    found, if two share the name, and for training photos of Stanford Cars, which have the names of the test photos.
    """
    photos = _stated(folder, foci) if foci.look_alikes else _found(folder, foci)
    if not photos:
        raise UserError(f"None of the {len(foci.questions)} photos that are asked about is in {folder}.")
    if foci.data_set and foci.data_set.id == "car-196":
        _check_cars({path.parent for path in photos.values()})
    return photos


def _stated(folder: Path, foci: FociFile) -> dict[str, Path]:
    """Return question id -> photo of the questions whose photo is at its path below the folder."""
    paths = {question.id: folder / clean_path(question.image) for question in foci.questions}
    return {name: path for name, path in paths.items() if path.is_file()}


def _found(folder: Path, foci: FociFile) -> dict[str, Path]:
    """Return question id -> photo by official names. Raises `UserError` if two photos share one."""
    listed, named = _listed(folder), _named(folder, {Path(question.image).name for question in foci.questions})
    official_names = foci.data_set.foci_names if foci.data_set else {}
    photos: dict[str, Path] = {}
    for question in foci.questions:
        truth = official_names.get(question.truth, question.truth)
        rows = listed.get(Path(question.image).stem, [])
        found = [path for path, label in rows if not label or same_category(label, truth)]
        found = found or named.get(Path(question.image).name, [])
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1]} share a name: name the folder of one split.")
        if found:
            photos[question.id] = found[0]
    return photos


def _listed(folder: Path) -> dict[str, list[tuple[Path, str]]]:
    """Return official stem -> (photo, label) of the CSV files with a column `original`.

    Photos of the official training part, and those that `train.csv` gives to models here, are left out.
    """
    found: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for table in csv_files(folder, "*.csv"):
        if table.name == "train.csv":
            continue
        with table.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream):
                path, original = row.get("image_path"), row.get("original")
                if path and original and row.get("official_split") != "train":
                    found[original].append((table.parent / path, row.get("label") or ""))
    return {stem: [row for row in rows if row[0].is_file()] for stem, rows in found.items()}


def _named(folder: Path, names: set[str]) -> dict[str, list[Path]]:
    """Return file name -> files in a folder with one of these names; of Stanford Cars' own folder, of its test part."""
    top = folder / "cars_test" if (folder / "cars_test").is_dir() else folder
    found: dict[str, list[Path]] = defaultdict(list)
    for path in _files(top):
        if path.name in names:
            found[path.name].append(path)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for directory, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_left_out(name))
        yield from (Path(directory) / name for name in sorted(files))


def _check_cars(folders: set[Path]) -> None:
    for folder in folders:
        if (folder / f"{LAST_TEST_CAR + 1:05d}.jpg").exists():
            raise UserError(
                f"{folder} holds training photos of Stanford Cars, which have the names of the test photos: name the "
                "folder of the test photos."
            )
