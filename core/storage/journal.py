"""Record answers in a file that stays valid when a write is interrupted or the disk is full."""

import json
import os
from pathlib import Path
from typing import Any

from core.errors import UserError


class Journal:
    """An append-only file of JSON objects, one per line, that stays valid when a write is interrupted.

    Every object has a `key` and the field named `value`; `entries` are the objects in the file when it was opened.
    Raises `UserError` for a complete line that is not such an object.
    """

    def __init__(self, path: Path, value: str) -> None:
        self.path = path
        data = path.read_bytes() if path.exists() else b""
        self._end = data.rfind(b"\n") + 1  # an incomplete last line is overwritten
        self.entries: list[dict[str, Any]] = []
        for number, line in enumerate(data[: self._end].splitlines(), start=1):
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                entry = None
            if not isinstance(entry, dict) or not {"key", value} <= set(entry):
                raise UserError(f"{path}, line {number} is damaged: delete that line, and its question is sent again.")
            self.entries.append(entry)

    def append(self, entry: dict[str, Any]) -> None:
        """Write an object and flush it to disk. Raises `UserError` if it cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            with self.path.open("r+b") as file:
                file.seek(self._end)
                file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
                self._end = file.tell()
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({error.strerror}): the answers so far are saved."
            ) from error
