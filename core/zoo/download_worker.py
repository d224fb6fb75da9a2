"""Download one repository of the hub into its cache, in the child process of `core.zoo.download`.

The bytes of a file are appended to `blobs/<hash>.incomplete`, and that becomes the file only when its hash is the one
that the hub's API told. `hf_hub_download`, which puts such files into the folder of a commit, keeps nothing of a file
that it was stopped in; hence `http_get`, which it uses itself and which goes on from there.
"""

import errno
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers, filter_repo_objects, silent_tqdm
from huggingface_hub.utils.sha import git_hash, sha_fileobj

from core.errors import UserError, first_line
from core.progress import time_left
from core.storage.files import write_atomically
from core.worker_process import Message, Report, serve
from core.zoo.hub import used_files
from core.zoo.model_rows import NOT_VERIFIED, Hub

MARGIN = 2 * 10**9  # bytes that stay free: system and app write, too
LOCK_SECONDS = 3.0  # to wait for a process that was stopped just now
TIMEOUT = 30.0  # seconds to wait for the hub's list of files
KEPT = "what is here already is kept"
SHA256, SHA1 = 64, 40  # hexadecimal digits


@dataclass(frozen=True)
class RemoteFile:
    """A file of the repository, in a folder for files that are named by their hash."""

    name: str
    size: int
    digest: str  # SHA-256 of a large file, git's SHA-1 of a small one
    blobs: Path

    @property
    def blob(self) -> Path:
        """Return where the whole file is kept."""
        return self.blobs / self.digest

    @property
    def partial(self) -> Path:
        """Return where its first bytes are kept."""
        return self.blobs / f"{self.digest}.incomplete"

    def here(self) -> int:
        """Return how many of its bytes are here."""
        path = next((path for path in (self.blob, self.partial) if path.exists()), None)
        return path.stat().st_size if path else 0

    def matches(self, path: Path) -> bool:
        """Return whether a file has the hash that the hub tells."""
        with path.open("rb") as file:
            digest = sha_fileobj(file).hex() if len(self.digest) == SHA256 else git_hash(file.read())
        return digest == self.digest


class ByteCount:
    """Reports how many bytes of all files are here."""

    def __init__(self, files: list[RemoteFile], report: Report) -> None:
        self._report = report
        self._total = sum(file.size for file in files)
        self._before = self.done = sum(file.here() for file in files)
        self._started = time.monotonic()

    def add(self, size: int) -> None:
        """Count bytes as received; a negative size for those that have to be received again."""
        self.done += size
        left = time_left(self.done - self._before, self._total - self._before, self._started)
        self.tell(f", {left}" if self.done > self._before else "")

    def tell(self, what: str) -> None:
        """Report the bytes with a text behind them."""
        text = f"{self.done / 1e9:.2f} of {self._total / 1e9:.2f} GB{what}"
        self._report(min(1.0, self.done / self._total) if self._total else 1.0, text)


def fetch(hub: Hub, report: Report) -> str:
    """Download the files of a repository that are used, and return its commit.

    Raises `UserError` if the hub cannot be reached or refuses, if a file is not what the hub says, if the disk has no
    room, or if the repository is being downloaded already.
    """
    cache = Path(constants.HF_HUB_CACHE)
    folder = cache / repo_folder_name(repo_id=hub.repository, repo_type="model")
    with _sentences(hub, cache), _alone(hub, cache / ".locks" / folder.name):
        report(0.0, f"Asking the hub for {hub.repository}")
        wanted = None if hub.revision == NOT_VERIFIED else hub.revision
        info = HfApi().model_info(hub.repository, revision=wanted, timeout=TIMEOUT, files_metadata=True)
        commit = str(info.sha)
        files = _files(hub, info, folder / "blobs")
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        contents = list({file.digest: file for file in files}.values())  # files of several names are received once
        _drop_useless(contents)
        _check_space(hub, cache, contents)
        count = ByteCount(contents, report)
        for file in contents:
            _complete(hub, commit, file, count)
        for file in files:
            count.tell(f", putting {file.name} in place")
            placed = Path(hf_hub_download(hub.repository, file.name, revision=commit))
            if placed.resolve() != file.blob.resolve():
                placed.unlink()
                raise UserError(f"The hub gave another {file.name} than it lists for {hub.repository}: try again.")
        if wanted is None:
            write_atomically(folder / "refs" / "main", commit.encode())  # where the hub's package looks for the newest
    return commit


@contextmanager
def _alone(hub: Hub, locks: Path) -> Iterator[None]:
    """Hold the lock of the repository. Raises `UserError` if another process has it."""
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / "download.lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise UserError(f"{hub.repository} is being downloaded already: wait for it, or stop it there.") from error
    try:
        yield
    finally:
        lock.release()


def _files(hub: Hub, info: Any, blobs: Path) -> list[RemoteFile]:
    """Return the files that are used, small ones first. Raises `UserError` for a list that cannot be true or used."""
    named = {sibling.rfilename: sibling for sibling in info.siblings or []}
    files = []
    for name in filter_repo_objects(named, allow_patterns=used_files(hub), ignore_patterns=hub.exclude):
        sibling = named[name]
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        digits = SHA256 if sibling.lfs else SHA1
        inside = ".." not in PurePosixPath(name).parts and not PurePosixPath(name).is_absolute()
        if not (inside and sibling.size is not None and re.fullmatch(f"[0-9a-f]{{{digits}}}", str(digest))):
            raise UserError(f"The hub's list of {hub.repository} is not used: {name} has no place, size or hash in it.")
        files.append(RemoteFile(name, sibling.size, digest, blobs))
    here = {file.name for file in files}
    if not re.fullmatch("[0-9a-f]{40}", str(info.sha)) or hub.revision not in (NOT_VERIFIED, info.sha):
        raise UserError(f"The hub answered with another commit of {hub.repository} than was asked for: try again.")
    if hub.config not in here or not here & {hub.weights, f"{hub.weights}.index.json"}:
        raise UserError(
            f"{hub.repository} has no {hub.config} or no {hub.weights} at {info.sha[:7]}, so nothing was downloaded: "
            "its row in assets/models.yaml needs another revision or file."
        )
    return sorted(files, key=lambda file: file.size)


def _drop_useless(files: list[RemoteFile]) -> None:
    """Remove what cannot become one of the files: it is longer, or another one under its name."""
    for file in files:
        if file.partial.exists() and file.partial.stat().st_size > file.size:
            file.partial.unlink()
        if file.blob.exists() and file.blob.stat().st_size != file.size:
            file.blob.unlink()


def _check_space(hub: Hub, cache: Path, files: list[RemoteFile]) -> None:
    missing = sum(file.size - file.here() for file in files)
    free = shutil.disk_usage(cache).free
    if missing and free < missing + MARGIN:
        raise UserError(
            f"{hub.repository} needs {missing / 1e9:.1f} GB more and {MARGIN / 1e9:.0f} GB to spare, and "
            f"{free / 1e9:.1f} GB are free in {cache}: make room, or name another folder as HF_HUB_CACHE."
        )


def _complete(hub: Hub, commit: str, file: RemoteFile, count: ByteCount) -> None:
    """Receive what is missing of a file, and give it its name if its hash is right. Raises `UserError` if it is not."""
    count.tell(f", checking {file.name}")
    if file.blob.exists():
        if file.matches(file.blob):
            return
        count.add(-file.size)
        file.blob.unlink()

    class Bar(silent_tqdm):  # what `http_get` counts with
        def update(self, n: float | None = 1) -> None:
            count.add(int(n or 0))

    with file.partial.open("ab") as opened:
        http_get(
            hf_hub_url(hub.repository, file.name, revision=commit),
            opened,
            resume_size=opened.tell(),
            headers=build_hf_headers(headers={"Accept-Encoding": "identity"}),  # a part of a compressed file is no use
            expected_size=file.size,
            displayed_filename=file.name,
            tqdm_class=Bar,
        )
    count.tell(f", checking {file.name}")
    if not file.matches(file.partial):
        file.partial.unlink()
        raise UserError(
            f"{file.name} of {hub.repository} is not the file that the hub lists (its hash is another), and was "
            "removed: download again."
        )
    file.partial.chmod(0o644)
    file.partial.replace(file.blob)


@contextmanager
def _sentences(hub: Hub, cache: Path) -> Iterator[None]:
    """Turn what the hub's package raises into a `UserError`: one sentence with the remedy."""
    name = hub.repository
    login = "log in with `.venv/bin/hf auth login`, and download again"
    try:
        yield
    except (GatedRepoError, RepositoryNotFoundError, HfHubHTTPError) as error:
        status = error.response.status_code
        if isinstance(error, GatedRepoError) or status == HTTPStatus.FORBIDDEN:
            raise UserError(f"{name} is gated ({status}): accept its terms on {hub.page}, {login}.") from error
        if isinstance(error, RevisionNotFoundError):
            raise UserError(f"{name} has no commit {hub.revision} any more: correct its row.") from error
        if isinstance(error, RepositoryNotFoundError) or status == HTTPStatus.UNAUTHORIZED:
            raise UserError(f"{name} is private or gone ({status}): look at {hub.page}, {login}.") from error
        raise UserError(f"The hub answers {name} with an error ({status}): try again later; {KEPT}.") from error
    except HTTPError as error:
        reason = first_line(error)
        raise UserError(f"The hub cannot be reached ({reason}): check the network, and try again; {KEPT}.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"There is no room left in {cache}: make room, and download again; {KEPT}.") from error
        raise UserError(f"{name} was not downloaded ({first_line(error)}): download again; {KEPT}.") from error


def work(task: dict, _: list[np.ndarray], report: Report) -> Message:
    """Download the repository of a task; see `fetch`."""
    return {"commit": fetch(Hub.model_validate(task), report)}, []


if __name__ == "__main__":
    sys.exit(serve(work, "The download failed"))
