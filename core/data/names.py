"""Names of photos, folders and labels: cleaned for display and comparison, and those that are left out of every set."""

import unicodedata

from core.errors import UserError
from core.taxonomy.names import strip_class_number

MAX_NAME = 200  # characters of a photo's name that are shown
MAX_LABEL = 100
# These suffixes tell a folder of photos from others; whether a file can be read is found out by reading it.
PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".heic", ".heif", ".hif", ".avif"),
)
LEFT_OUT = ("__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini")  # and names that begin with a dot


def clean(text: str) -> str:
    """Return one line of printable text in Unicode's composed form (NFC)."""
    line = " ".join(unicodedata.normalize("NFC", text).split())
    return "".join(character if character.isprintable() else "?" for character in line)


def clean_path(name: str) -> str:
    """Return a relative path with forward slashes that leads nowhere else: `.` and `..` are dropped."""
    parts = [clean(part) for part in name.replace("\\", "/").split("/")]
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def shorten(path: str) -> str:
    """Return a path of at most `MAX_NAME` characters."""
    return path if len(path) <= MAX_NAME else f"{path[: MAX_NAME // 2 - 1]}…{path[-MAX_NAME // 2 :]}"


def is_left_out(name: str) -> bool:
    """Return True for hidden files and folders, and for what operating systems put beside photos."""
    return any(part.lower() in LEFT_OUT or part.startswith(".") for part in clean_path(name).split("/"))


def clean_label(text: str) -> str:
    """Return a label as one line. Raises `UserError` if it is too long."""
    label = clean(text)
    if len(label) > MAX_LABEL:
        raise UserError(f"The label {label[:30]!r}... is longer than {MAX_LABEL} characters.")
    return label


def class_name(folder: str) -> str:
    """Return the label that a class folder, or a cell of a CSV, stands for.

    Class numbers are stripped, underscores become spaces. Raises `UserError` if it is too long.
    """
    return clean_label(strip_class_number(folder.strip()).replace("_", " "))
