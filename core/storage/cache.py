"""The per-user cache folder, and the hashes that its entries are kept under."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "FINEDEFICS_CACHE"


def cache_root() -> Path:
    """The per-user cache folder; the environment variable FINEDEFICS_CACHE overrides it."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("finedefics"))


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes; a file that is as it was is not read twice by one process."""
    file = path.stat()
    return _sha256_of(path, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns)


@lru_cache(maxsize=1024)
def _sha256_of(path: Path, *_state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
