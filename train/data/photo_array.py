"""Arrays with one entry per training photo, computed once and kept on disk."""

import logging
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.progress import Progress, log_progress, run
from core.storage.cache import cached_steps
from train.data.records import Record

log = logging.getLogger(__name__)

Compute = Callable[[list[Record], Path], Generator[Progress, None, np.ndarray]]


def distinct_photos(records: list[Record]) -> dict[str, Record]:
    """Return content hash -> record, in the order of the hashes."""
    return {record.sha256: record for record in sorted(records, key=lambda record: record.sha256)}


def cached_photo_array(records: list[Record], path: Path, compute: Compute, title: str) -> tuple[np.ndarray, list[int]]:
    """Return the memory-mapped array at `path`, and for each record the row of its photo in it.

    If it is not there, `compute` fills it for the `distinct_photos` in the file beside it that it is given, and returns
    it; that file stays if it is interrupted. `title` begins the lines of progress in the log.
    """
    unique, part = distinct_photos(records), path.with_suffix(".part")
    steps = cached_steps(
        path,
        lambda: compute(list(unique.values()), part),
        lambda _, path: part.replace(path),
        lambda path: np.load(path, mmap_mode="r"),
    )
    array = run(steps, log_progress(log, title))
    index = {digest: i for i, digest in enumerate(unique)}
    return array, [index[record.sha256] for record in records]


def new_array(part: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """Return a new memory-mapped array on disk. Raises `UserError` if it cannot be written."""
    try:
        return np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
    except OSError as error:
        raise UserError(f"{part} cannot be written ({error.strerror}).") from error
