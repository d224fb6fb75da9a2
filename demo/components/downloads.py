"""Files that the page offers for download."""

import secrets
from pathlib import Path

from gradio.utils import get_upload_folder


def new_download_folder() -> Path:
    """Create a folder in Gradio's cache, which the page deletes files from when they are an hour old."""
    folder = Path(get_upload_folder()) / secrets.token_hex()
    folder.mkdir(parents=True)
    return folder
