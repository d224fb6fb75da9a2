"""Read the lists of photos and classes of the six research data sets in their official layouts."""

import filecmp
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from core.data.images import open_image
from core.errors import UserError

SPLITS = ("train", "test")
Lists = dict[str, list[tuple[str, str]]]  # split -> (photo, relative to the folder; official class name)


class Layout(NamedTuple):
    """An official layout: the files of which any identifies it, and the function that reads its lists."""

    marks: tuple[str, ...]
    read: Callable[[Path, list[str]], Lists]
    class_in_path: bool = False  # the path of a photo names its class: the lists must agree with it


def _rows(file: Path, columns: int) -> list[list[str]]:
    """Return the lines of a list, split into columns, the last of which may contain spaces."""
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        row = line.strip().split(maxsplit=columns - 1)
        if row and len(row) != columns:
            raise UserError(f"{file}, line {number}: {columns} columns are expected.")
        rows.append(row)
    return [row for row in rows if row]


def _by_number(file: Path) -> dict[str, str]:
    rows = _rows(file, 2)
    table = {row[0]: row[1] for row in rows}
    if len(table) < len(rows):
        raise UserError(f"{file} gives a number twice.")
    return table


def _mat(file: Path, *variables: str) -> list[np.ndarray]:
    """Read variables [N] of a MATLAB file."""
    from scipy.io import loadmat

    with file.open("rb") as stream:
        content = loadmat(stream, squeeze_me=True, variable_names=variables)
    return [np.atleast_1d(content[variable]) for variable in variables]


def _nth(names: list[str], number: int | str) -> str:
    """Return the class with a number; numbers start from 1, as in all six data sets."""
    if not 1 <= int(number) <= len(names):
        raise UserError(f"A list gives the class number {number}, but there are the classes 1 to {len(names)}.")
    return names[int(number) - 1]


def _check_names(file: Path, found: list[str], names: list[str]) -> None:
    if found != names:
        raise UserError(f"{file} does not hold the {len(names)} official class names: is this another data set?")


def _read_cub(folder: Path, names: list[str]) -> Lists:
    _check_names(folder / "classes.txt", list(_by_number(folder / "classes.txt").values()), names)
    numbers, training = _by_number(folder / "image_class_labels.txt"), _by_number(folder / "train_test_split.txt")
    lists: Lists = {split: [] for split in SPLITS}
    for image, photo in _by_number(folder / "images.txt").items():
        split = {"1": "train", "0": "test"}[training[image]]
        lists[split].append((f"images/{photo}", _nth(names, numbers[image])))
    return lists


def _read_dogs(folder: Path, names: list[str]) -> Lists:
    lists: Lists = {}
    for split in SPLITS:
        photos, numbers = _mat(folder / f"{split}_list.mat", "file_list", "labels")
        lists[split] = [(f"Images/{p}", _nth(names, n)) for p, n in zip(photos, numbers, strict=True)]
    return lists


def _read_pets(folder: Path, names: list[str]) -> Lists:
    files = {"train": folder / "annotations" / "trainval.txt", "test": folder / "annotations" / "test.txt"}
    return {
        split: [(f"images/{photo}.jpg", _nth(names, number)) for photo, number, *_ in _rows(file, 4)]
        for split, file in files.items()
    }


def _read_flowers(folder: Path, names: list[str]) -> Lists:
    (numbers,) = _mat(folder / "imagelabels.mat", "labels")
    train, valid, test = _mat(folder / "setid.mat", "trnid", "valid", "tstid")
    return {
        split: [(f"jpg/image_{image:05d}.jpg", _nth(names, numbers[image - 1])) for image in images]
        for split, images in (("train", [*train, *valid]), ("test", [*test]))
    }


def _read_aircraft(folder: Path, names: list[str]) -> Lists:
    root = folder / "data" if (folder / "data").is_dir() else folder
    _check_names(root / "variants.txt", [variant for (variant,) in _rows(root / "variants.txt", 1)], names)
    files = {"train": root / "images_variant_trainval.txt", "test": root / "images_variant_test.txt"}
    photos = (root / "images").relative_to(folder)
    return {
        split: [(f"{photos}/{image}.jpg", variant) for image, variant in _rows(file, 2)] for split, file in files.items()
    }


def _read_cars(folder: Path, names: list[str]) -> Lists:
    meta = folder / "devkit" / "cars_meta.mat"
    _check_names(meta, _mat(meta, "class_names")[0].tolist(), names)
    return {
        split: [(f"cars_{split}/{car['fname']}", _nth(names, car["class"])) for car in _car_annotations(folder, split)]
        for split in SPLITS
    }


def _car_annotations(folder: Path, split: str) -> np.ndarray:
    """Return [N] annotations with fname, class and the corners of the bounding box, in pixels."""
    name = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}[split]
    in_devkit = folder / "devkit" / name
    return _mat(in_devkit if in_devkit.exists() else folder / name, "annotations")[0]


def check_car_photos(folder: Path, split: str) -> None:
    """Raise `UserError` if the photos of a split of Stanford Cars do not belong to the annotations.

    Training and test photos have the same file names: photos of the wrong split would be read without an error, and the
    accuracy would collapse. The check uses their number, their content and the bounding box of every car.
    """
    photos, other = (folder / f"cars_{part}" for part in (SPLITS if split == "train" else SPLITS[::-1]))
    annotations = _car_annotations(folder, split)
    found = len(list(photos.glob("[!.]*.jpg")))
    if found != len(annotations):
        raise UserError(
            f"{photos} holds {found:,} photos, but the {split} annotations are about {len(annotations):,}: it is "
            f"incomplete, or holds the photos of {other.name}."
        )
    for car in annotations:
        photo, twin = photos / str(car["fname"]), other / str(car["fname"])
        if not photo.is_file():
            raise UserError(f"The photo {photo} is listed but missing.")
        if twin.is_file() and filecmp.cmp(photo, twin, shallow=False):
            raise UserError(f"{photo} and {twin} are the same photo: one of the two folders holds copies of the other.")
        try:
            with open_image(photo) as image:
                width, height = image.size
        except (OSError, Image.DecompressionBombError) as error:
            raise UserError(f"{photo} is not a readable photo.") from error
        if car["bbox_x2"] > width or car["bbox_y2"] > height:
            raise UserError(
                f"The car of {photo} is annotated outside the photo ({width} x {height} pixels): {photos.name} and "
                f"{other.name}, or their annotations, are mixed up, or the photos were shrunk."
            )


LAYOUTS = {
    "bird-200": Layout(("image_class_labels.txt", "train_test_split.txt"), _read_cub, class_in_path=True),
    "dog-120": Layout(("train_list.mat", "test_list.mat"), _read_dogs, class_in_path=True),
    "pet-37": Layout(("annotations/trainval.txt", "annotations/trimaps"), _read_pets, class_in_path=True),
    "flower-102": Layout(("imagelabels.mat", "setid.mat"), _read_flowers),
    "aircraft-102": Layout(("data/variants.txt", "variants.txt", "images_variant_trainval.txt"), _read_aircraft),
    "car-196": Layout(("cars_train", "cars_test", "devkit/cars_meta.mat"), _read_cars),
}
