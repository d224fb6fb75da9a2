"""Keep results in the cache folder of the user.

The path of an entry is `kind/v<version>-<key><suffix>`. The key is a fingerprint of everything that the result depends
on; the version is raised when the same inputs give another result. One process computes an entry while others wait.
Entries are written atomically. A damaged entry is computed again, and so is one in a folder that cannot be written:
both are logged.
"""

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Callable, Generator
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import platformdirs
from filelock import FileLock, Timeout

from core.errors import UserError
from core.progress import Progress, run

log = logging.getLogger(__name__)

CACHE_VARIABLE = "FINEDEFICS_CACHE"
LOCK_POLL_SECONDS = 0.5
# What reading a damaged entry may raise:
DAMAGE = (OSError, ValueError, TypeError, KeyError, EOFError, UserError, zipfile.BadZipFile)

Value = TypeVar("Value")


def cache_root() -> Path:
    """Return the cache folder of the user; the environment variable FINEDEFICS_CACHE overrides it."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("finedefics"))


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes; one process reads an unchanged file once."""
    file = path.stat()
    return _sha256_of(path, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns)


@lru_cache(maxsize=1024)
def _sha256_of(path: Path, *_state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts: object) -> str:
    """Return the hexadecimal SHA-256 of JSON values and arrays (by shape, type and content), in any nesting."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_describe).encode()).hexdigest()


def _describe(value: object) -> list[object]:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{type(value).__name__} has no fingerprint.")
    return [value.shape, str(value.dtype), hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()]


def entry_path(kind: str, version: int, key: str, suffix: str) -> Path:
    """Return the path of a cache entry, whether it exists or not."""
    return cache_root() / kind / f"v{version}-{key}{suffix}"


def cached(
    path: Path, compute: Callable[[], Value], save: Callable[[Value, Path], object], load: Callable[[Path], Value]
) -> Value:
    """Return the entry at `path` (see `entry_path`), computed and saved first if it is missing or damaged.

    `load` raises `FileNotFoundError` or one of `DAMAGE` for a missing or damaged entry; `save` writes atomically.
    """

    def steps() -> Generator[Progress, None, Value]:
        yield Progress(0.0, "Computing")
        return compute()

    return run(cached_steps(path, steps, save, load))


def cached_steps(
    path: Path,
    compute: Callable[[], Generator[Progress, None, Value]],
    save: Callable[[Value, Path], object],
    load: Callable[[Path], Value],
) -> Generator[Progress, None, Value]:
    """Do as `cached` does with a computation that yields its progress; closing the generator keeps nothing."""
    found = _read(path, load)
    if found is not None:
        return found
    lock = yield from _locked(path)
    try:
        found = _read(path, load)  # another process may have written it by now
        if found is not None:
            return found
        value = yield from compute()
        try:
            save(value, path)
        except (UserError, OSError) as error:
            log.warning("A result cannot be kept for later: %s", error)
        return value
    finally:
        if lock:
            lock.release()


def _read(path: Path, load: Callable[[Path], Value]) -> Value | None:
    try:
        return load(path)
    except FileNotFoundError:
        return None
    except DAMAGE as error:
        if path.exists():
            log.warning("The cached file %s is damaged (%s): it is computed again.", path, error)
        return None


def _locked(path: Path) -> Generator[Progress, None, FileLock | None]:
    """Return the lock of an entry, acquired; `None` for a folder that cannot be written: nothing is kept there."""
    lock = FileLock(f"{path}.lock", thread_local=False)  # another thread may resume, and so release
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                lock.acquire(timeout=LOCK_POLL_SECONDS)
                return lock
            except Timeout:
                yield Progress(0.0, "Waiting for another computation of the same")
    except OSError:
        return None
