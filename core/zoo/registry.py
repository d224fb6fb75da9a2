"""The model zoo: which models there are, whether they can run here, and loading one by name."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import yaml

from core.errors import UserError
from core.zoo.hub import Hub

if TYPE_CHECKING:
    import torch

    from core.models.efficientnet import TinyIdefics2ForConditionalGeneration
    from core.models.vlm import VisionLanguageModel
    from core.recognition.recogniser import Recogniser

ASSETS = Path(__file__).parents[2] / "assets"
CHECKPOINTS = ASSETS / "checkpoints"
EMBEDDINGS = "embeddings.npz"  # in a checkpoint's folder, where it ships with some
DEFAULT = "finedefics-tiny"

_lock = Lock()


@dataclass(frozen=True)
class ModelEntry:
    """One model of the zoo."""

    name: str
    checkpoint: Path  # its folder; there is none for a model of the hub
    size: str  # what it takes on disk, for people
    hub: Hub | None = None


def zoo() -> dict[str, ModelEntry]:
    """The models by name: those of `assets/models.yaml`, then every other checkpoint in `assets/checkpoints`."""
    table = yaml.safe_load((ASSETS / "models.yaml").read_text())
    entries = {}
    for name, row in table.items():
        hub = Hub(**row["hub"]) if "hub" in row else None
        size = f"{hub.download:.1f} GB of the hub" if hub else row["size"]
        entries[name] = ModelEntry(name, CHECKPOINTS / row.get("checkpoint", name), size, hub)
    for card in sorted(CHECKPOINTS.glob("[!.]*/checkpoint.json")):
        folder = card.parent
        size = f"{sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.0f} MB, trained here"
        entries.setdefault(folder.name, ModelEntry(folder.name, folder, size))
    return entries


def find_entry(name: str) -> ModelEntry:
    """The entry of a model. Raises `UserError` for a name that is not in the zoo."""
    entry = zoo().get(name)
    if entry is None:
        raise UserError(f"There is no model {name!r}: choose one of {', '.join(zoo())}.")
    return entry


def availability(entry: ModelEntry) -> str:
    """ "ready", or one sentence that says why the model cannot be loaded here.

    Cheap enough to be asked at every look at a page: a file is hashed again only when it has changed.
    """
    from core.models.base_models import EMBEDDED
    from core.models.checkpoint import read_card
    from core.models.embedded import check_base
    from core.zoo import hub

    if entry.hub:
        return hub.state(entry.hub)
    try:
        if read_card(entry.checkpoint)["base"] == EMBEDDED:
            check_base()
    except UserError as error:
        return str(error)
    return "ready"


@cache
def _base(folder: Path, dtype: "torch.dtype", device: "torch.device") -> "TinyIdefics2ForConditionalGeneration":
    import torch

    from core.models.efficientnet import TinyIdefics2ForConditionalGeneration

    base = TinyIdefics2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    if device.type == "cpu":  # twice as fast there as the fused attention, which is made for longer texts
        base.model.text_model.set_attn_implementation("eager")
    base.model.text_model.to(dtype)  # the tower and the connector lose accuracy in bfloat16 and are small
    return base.requires_grad_(False)


def load_mllm(dtype: "torch.dtype | None" = None) -> "VisionLanguageModel":
    """The embedded base as a fresh `VisionLanguageModel` that shares its frozen weights with all others.

    The connector is its own (and untrained: zeros); an adapter added to one model is not seen by another.
    `dtype` (of the text model) is bfloat16 where that is fast and float32 elsewhere, unless given.
    """
    from transformers import Idefics2Processor

    from core.models.base_models import EMBEDDED
    from core.models.devices import default_device, fast_dtype
    from core.models.embedded import ensure_base
    from core.models.vlm import VisionLanguageModel

    folder = ensure_base()
    device = default_device()
    with _lock:
        base = _base(folder, dtype or fast_dtype(device), device)
        tensors = [*base.named_parameters(), *base.named_buffers()]
        shared = {id(tensor): tensor for name, tensor in tensors if ".connector." not in name}
        model = copy.deepcopy(base, shared)  # a deep copy that takes the shared tensors for copied already
    return VisionLanguageModel(model, Idefics2Processor.from_pretrained(folder), EMBEDDED)


def load(name: str, progress: Callable[[str], None] = lambda _: None) -> "Recogniser":
    """The `Recogniser` of a model of the zoo. Raises `UserError` if it cannot be loaded; never another model.

    A model of the hub, which takes minutes, tells `progress` what it is doing; an error raised there gives it up.
    """
    from core.models.checkpoint import open_checkpoint
    from core.recognition.recogniser import Recogniser
    from core.zoo import hub

    entry = find_entry(name)
    if entry.hub:
        return hub.load(name, entry.hub, progress)
    return Recogniser(name, *open_checkpoint(entry.checkpoint))
