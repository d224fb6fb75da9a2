"""True names from class folders: `class/photo` or `data set/class/photo`."""

import posixpath
from collections.abc import Collection

from core.data.names import PHOTO_SUFFIXES, class_name, clean_label
from core.taxonomy.categories import find_category


def labels_of_folders(names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return (label, data set) by photo, from the folders below the one that holds all photos.

    Where one folder holds all photos itself, its name is a label only if it is a known category. Raises `UserError`
    for a label that is too long.
    """
    photos = [name for name in names if has_photo_suffix(name)] or list(names)
    shared = folders_of(photos[0])
    for name in photos:
        while folders_of(name)[: len(shared)] != shared:
            shared = shared[:-1]
    in_one_folder = all(folders_of(name) == shared for name in photos)
    if shared and in_one_folder and find_category(shared[-1]):
        return {name: (class_name(shared[-1]) if folders_of(name) == shared else "", "") for name in names}
    return {name: _label(_below(folders_of(name), shared)) for name in names}


def has_photo_suffix(name: str) -> bool:
    """Return True if a file is named as photos are."""
    return posixpath.splitext(name)[1].lower() in PHOTO_SUFFIXES


def folders_of(name: str) -> tuple[str, ...]:
    """Return the folders that a path leads through, the outermost first."""
    return tuple(part for part in posixpath.dirname(name).split("/") if part)


def _below(folders: tuple[str, ...], shared: tuple[str, ...]) -> tuple[str, ...]:
    return folders[len(shared) :] if folders[: len(shared)] == shared else ()


def _label(folders: tuple[str, ...]) -> tuple[str, str]:
    return class_name(folders[-1]) if folders else "", clean_label(folders[-2]) if len(folders) > 1 else ""
