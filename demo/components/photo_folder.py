"""Photos on the machine that serves the page, in the one folder that its owner names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.data.images import MAX_BYTES
from core.errors import UserError

Read = Callable[[str], bytes]


@dataclass(frozen=True)
class Folder:
    """A folder that, according to the owner of the machine, holds the photos."""

    path: Path

    @contextmanager
    def reader(self) -> Iterator[Read]:
        """Return a function that reads a file by name, which raises `UserError` for names outside the folder."""
        root = self.path.resolve()

        def read(name: str) -> bytes:
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise UserError(f"{name} is not in the folder.")
            try:
                with path.open("rb") as file:
                    return file.read(MAX_BYTES + 1)
            except OSError as error:
                raise UserError(f"{name} cannot be read ({error.strerror}).") from error

        yield read
