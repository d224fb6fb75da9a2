"""What a browser uploads and has uploaded."""

from pathlib import Path

from gradio.utils import get_upload_folder, is_in_or_equal

from core.data.images import MAX_BYTES, Photo, open_photo
from core.errors import UserError

SCRIPT = Path(__file__).parents[1] / "assets" / "uploads.js"


def head() -> str:
    """Return the part of the page's <head> with the script of uploads, which comes after those of the tabs."""
    return f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>"


def uploaded(photo: dict | None) -> Path:
    """Return the path of an uploaded photo; a path outside the upload folder is refused."""
    path = (photo or {}).get("path")
    if not path:
        raise UserError("There is no photo: choose one first.")
    if not is_in_or_equal(path, get_upload_folder()):
        raise UserError("The photo was not uploaded: choose it again.")
    return Path(path)


def opened_photo(path: Path) -> Photo:
    """Open the photo in an uploaded file. Raises `UserError` if it cannot be used."""
    try:
        with path.open("rb") as file:
            return open_photo(file.read(MAX_BYTES + 1))
    except OSError:
        raise UserError("The photo is no longer there: choose it again.") from None
