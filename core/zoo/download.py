"""Download a model of the zoo from the hub, when a user asks for it.

The child process that does it is alone in talking to the hub, and can be stopped at any moment.
"""

from collections.abc import Generator

from core.errors import UserError
from core.progress import Progress
from core.worker_process import run_worker
from core.zoo.hub import local_folder
from core.zoo.registry import ModelEntry, zoo

WORKER = "core.zoo.download_worker"


def find_download(name: str) -> ModelEntry:
    """Return the entry of a model that can be downloaded, by its name or its repository.

    Raises `UserError` if there is none: nothing that is not in the table is downloaded.
    """
    hosted = [entry for entry in zoo().values() if entry.hub and not entry.row.server]
    for entry in hosted:
        if entry.hub and name in (entry.name, entry.hub.repository):
            return entry
    other = zoo().get(name)
    if other and (server := other.row.server):
        raise UserError(f"{name} needs a server of its own, which downloads it: {server.start}.")
    if other:
        raise UserError(f"{name} comes with the app or was trained here: there is nothing to download.")
    raise UserError(f"There is no model {name!r}: choose one of {', '.join(entry.name for entry in hosted)}.")


def download(entry: ModelEntry) -> Generator[Progress, None, str]:
    """Download a model's files and return its commit, at once if they are here already.

    Closing the generator stops it; another download goes on from there. Raises `UserError` with the reason why it fails
    and the remedy, and if the files do not make a whole model.
    """
    assert entry.hub is not None
    folder = local_folder(entry.hub)
    if folder:
        return folder.name  # named by its commit
    values, _ = yield from run_worker(WORKER, entry.hub.model_dump(), environment={"HF_HUB_OFFLINE": "0"})
    if local_folder(entry.hub) is None:
        raise UserError(f"{entry.name} is incomplete: its index names files that {entry.hub.repository} does not have.")
    return values["commit"]
