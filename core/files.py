"""Files that survive being killed, or a full disk, in the middle of a write."""

import os
import tempfile
from pathlib import Path

from core.errors import UserError


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file, and the folders above it, so that it is there whole or not at all.

    Raises `UserError` if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as scratch:
            scratch.write(data)
            scratch.flush()
            os.fsync(scratch.fileno())
        Path(scratch.name).chmod(0o644)
        Path(scratch.name).replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}).") from error
