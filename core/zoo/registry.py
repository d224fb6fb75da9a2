"""The model zoo: the models, their state on this machine, and loading one by name.

What imports torch is imported in functions, so that listing stays quick.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, TypeAdapter

from core.errors import UserError
from core.storage.tables import Text, read_table
from core.zoo import hub
from core.zoo.hub import Hub

if TYPE_CHECKING:
    from core.recognition.recogniser import Recogniser

log = logging.getLogger(__name__)

ASSETS = Path(__file__).parents[2] / "assets"
CHECKPOINTS = ASSETS / "checkpoints"
EMBEDDINGS = "embeddings.npz"  # in a checkpoint's folder, where it ships with some
DEFAULT = "finedefics-tiny"


@dataclass(frozen=True)
class ModelEntry:
    """One model of the zoo."""

    name: str
    checkpoint: Path  # its folder; there is none for a model of the hub
    size: str  # what it takes on disk, for people
    hub: Hub | None = None


class _ModelRow(BaseModel):
    model_config = ConfigDict(extra="forbid")

    checkpoint: Text = ""
    size: Text = ""
    hub: Hub | None = None


_FORM = TypeAdapter(dict[Text, _ModelRow])


def _listed_models() -> dict[str, _ModelRow]:
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
        size = f"{row.hub.download:.1f} GB of the hub" if row.hub else row.size
        entries[name] = ModelEntry(name, CHECKPOINTS / (row.checkpoint or name), size, row.hub)
    for manifest in sorted(CHECKPOINTS.glob("[!.]*/checkpoint.json")):
        folder = manifest.parent
        size = f"{sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.0f} MB, trained here"
        entries.setdefault(folder.name, ModelEntry(folder.name, folder, size))
    return entries


def find_entry(name: str) -> ModelEntry:
    """Return the entry of a model. Raises `UserError` for a name that is not in the zoo."""
    entry = zoo().get(name)
    if entry is None:
        raise UserError(f"There is no model {name!r}: choose one of {', '.join(zoo())}.")
    return entry


def availability(entry: ModelEntry) -> str:
    """Return "ready", or one sentence that says why the model cannot be loaded here.

    Quick enough for every opening of a page: a file is hashed again only when it has changed.
    """
    from core.models.checkpoint import read_manifest
    from core.models.embedded import EMBEDDED, check_base

    if entry.hub:
        return hub.state(entry.hub)
    try:
        if read_manifest(entry.checkpoint).base == EMBEDDED:
            check_base()
    except UserError as error:
        return str(error)
    return "ready"


def available_models() -> list[str]:
    """Return the names of the models that can be loaded here."""
    return [name for name, entry in zoo().items() if availability(entry) == "ready"]


def load(name: str, progress: Callable[[str], None] = lambda _: None) -> "Recogniser":
    """Load a model of the zoo. Raises `UserError` if it cannot be loaded; another model never takes its place.

    A model of the hub, which takes minutes, tells `progress` what it is doing; an error raised there gives it up.
    """
    from core.models.checkpoint import open_checkpoint
    from core.recognition.recogniser import Recogniser

    entry = find_entry(name)
    if entry.hub:
        return hub.load(name, entry.hub, progress)
    return Recogniser(name, *open_checkpoint(entry.checkpoint))
