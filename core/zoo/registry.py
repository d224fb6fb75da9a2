"""The model zoo: the models, their state on this machine, and loading one by name.

What imports torch is imported in functions, so that listing stays quick.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from core.errors import UserError
from core.storage.tables import Text, read_table
from core.zoo import hub
from core.zoo.model_rows import METHOD_FAMILIES, NOT_VERIFIED, Hub, ModelRow

if TYPE_CHECKING:
    from core.recognition.asked_model import AskedModel
    from core.recognition.recogniser import Recogniser

log = logging.getLogger(__name__)

ASSETS = Path(__file__).parents[2] / "assets"
CHECKPOINTS = ASSETS / "checkpoints"
EMBEDDINGS = "embeddings.npz"  # in a checkpoint's folder, where it ships with some
DEFAULT = "finedefics-tiny"
OF_THE_HUB = "hf:"  # begins the name of a repository that is not in the table
EMBEDDED_ROW = ModelRow(family="embedded")  # of a checkpoint that is not in the table


@dataclass(frozen=True)
class ModelEntry:
    """One model of the zoo."""

    name: str
    checkpoint: Path  # its folder; there is none for a model of the hub
    size: str  # what it takes on disk, for people
    row: ModelRow = EMBEDDED_ROW

    @property
    def hub(self) -> Hub | None:
        """Return its repository on the hub, if it is not a checkpoint."""
        return self.row.hub

    @property
    def on_pages(self) -> bool:
        """Whether the tabs and commands take it by its name; a model with a server of its own is an endpoint there."""
        return self.row.server is None

    def as_dict(self, state: str) -> dict[str, Any]:
        """Return the JSON form; `state` is its `availability`, and what the hub does not tell is null."""
        hub = self.hub
        return {
            "name": self.name,
            "ready": state == "ready",
            "state": state,
            "size": self.size,
            "family": self.row.family,
            "licence": str(hub.licence) if hub else None,
            "memory": hub.needs if hub else None,
            "repository": hub.repository if hub else None,
            "revision": hub.revision if hub else None,
            "packages": self.row.needs,
        }

    @property
    def has_recogniser(self) -> bool:
        """Whether it is of the method's architecture; the others are only asked questions."""
        return self.row.family in METHOD_FAMILIES


@dataclass(frozen=True)
class ModelSource:
    """Where the weights of a model are, and its row, if the table has one."""

    name: str
    source: str  # a folder, or OWNER/NAME
    revision: str = ""  # a commit; "": the newest
    row: ModelRow | None = None


_FORM = TypeAdapter(dict[Text, ModelRow])


def _listed_models() -> dict[str, ModelRow]:
    """Return the rows of `assets/models.yaml`; if it has a mistake, none, with one sentence in the log."""
    try:
        return read_table(ASSETS / "models.yaml", _FORM)
    except UserError as error:
        _warn_once(f"The table of models {error} Until then only the models in {CHECKPOINTS.name}/ are listed.")
        return {}


@cache
def _warn_once(sentence: str) -> None:
    log.warning("%s", sentence)


def zoo() -> dict[str, ModelEntry]:
    """Return the models by name: those of `assets/models.yaml`, then every other checkpoint in `assets/checkpoints`."""
    entries = {}
    for name, row in _listed_models().items():
        size = f"{row.hub.download} on the hub" if row.hub else row.size
        entries[name] = ModelEntry(name, CHECKPOINTS / (row.checkpoint or name), size, row)
    for manifest in sorted(CHECKPOINTS.glob("[!.]*/checkpoint.json")):
        folder = manifest.parent
        size = f"{sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.0f} MB, trained here"
        entries.setdefault(folder.name, ModelEntry(folder.name, folder, size))
    return entries


def find_entry(name: str) -> ModelEntry:
    """Return the entry of a model. Raises `UserError` for a name that is not in the zoo."""
    entry = zoo().get(name)
    if entry is None:
        choices = ", ".join(name for name, entry in zoo().items() if entry.on_pages)
        raise UserError(f"There is no model {name!r}: choose one of {choices}.")
    return entry


def find_source(name: str) -> ModelSource:
    """Return where a model is: one of the zoo, a repository of the hub as hf:OWNER/NAME[@revision], or a folder.

    Raises `UserError` if it is none of them, or needs a server of its own.
    """
    found = _hub_source(name) if name.startswith(OF_THE_HUB) else _named_source(name)
    if found.row and found.row.server:
        raise UserError(f"{name}: {found.row.server.sentence}")
    return found


def _named_source(name: str) -> ModelSource:
    entry = zoo().get(name)
    if entry is None and not (Path(name) / "config.json").is_file():
        choices = ", ".join([*zoo(), "hf:OWNER/NAME", "a folder with a config.json"])
        raise UserError(f"There is no model {name!r}: choose one of {choices}.")
    if entry is None:
        return ModelSource(Path(name).resolve().name, name)
    if entry.hub is None:
        return ModelSource(name, str(entry.checkpoint), row=entry.row)
    revision = hub.local_revision(entry.hub)
    return ModelSource(name, entry.hub.repository, "" if revision == NOT_VERIFIED else revision, entry.row)


def _hub_source(name: str) -> ModelSource:
    parts = re.fullmatch(r"hf:([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w-][\w./-]*))?", name)
    if parts is None:
        raise UserError(f"{name!r} names no repository of the hub: write hf:OWNER/NAME or hf:OWNER/NAME@revision.")
    repository, revision = parts.groups(default="")
    known = [entry.row for entry in zoo().values() if entry.hub and entry.hub.repository == repository]
    return ModelSource(name, repository, revision, known[0] if known else None)


def availability(entry: ModelEntry) -> str:
    """Return "ready", or one sentence that says why the model cannot be loaded here.

    Quick enough for every opening of a page: a file is hashed again only when it has changed.
    """
    from core.models.checkpoint import read_manifest
    from core.models.embedded import EMBEDDED, check_base

    if entry.row.server:
        return entry.row.server.sentence
    if entry.hub:
        state = hub.state(entry.hub)
        missing = [package for package in entry.row.needs if not _is_installed(package)]
        if state == "ready" and missing:
            return f"It needs packages: run `.venv/bin/pip install {' '.join(missing)}`."
        return state
    try:
        if read_manifest(entry.checkpoint).base == EMBEDDED:
            check_base()
    except UserError as error:
        return str(error)
    return "ready"


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def available_models() -> list[str]:
    """Return the names of the models that can be loaded here and name photos."""
    return [name for name, entry in zoo().items() if availability(entry) == "ready"]


def load(name: str, progress: Callable[[str], None] = lambda _: None) -> "Recogniser | AskedModel":
    """Load a model of the zoo, of `hf:OWNER/NAME[@revision]` or of a folder, to name photos with.

    Raises `UserError` if it cannot be loaded; another model never takes its place. A model of the hub, which takes
    minutes, tells `progress` what it is doing; an error raised there gives it up.
    """
    from core.recognition.asked_model import AskedModel
    from core.zoo.asked_models import open_asked

    found = find_source(name)
    entry = zoo().get(name)
    if entry and entry.has_recogniser:
        return load_recogniser(name, progress)
    progress("Reading the weights")
    tokens = found.row.reply_tokens if found.row else 0
    return AskedModel(found.name, open_asked(found), tokens)


def load_listed(name: str, progress: Callable[[str], None] = lambda _: None) -> "Recogniser | AskedModel":
    """Load a model of the zoo alone; see `load`. A page opens no repository or folder that a visitor names."""
    find_entry(name)
    return load(name, progress)


def load_recogniser(name: str, progress: Callable[[str], None] = lambda _: None) -> "Recogniser":
    """Load a model of the method's architecture; see `load`. Raises `UserError` for one that is only asked."""
    from core.models.checkpoint import open_checkpoint
    from core.recognition.recogniser import Recogniser

    entry = find_entry(name)
    if not entry.has_recogniser:
        raise UserError(f"{name} is only asked questions, and has not the method's architecture: choose another model.")
    if entry.hub:
        return hub.load(name, entry.hub, progress)
    return Recogniser(name, *open_checkpoint(entry.checkpoint))
