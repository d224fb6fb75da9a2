"""Models of the Hugging Face hub, which are too large to be bundled: what they need, their state, and loading one.

The state is read from the local cache: listing and loading touch no network and never begin a download, which is done by
`core.zoo.download` alone. Heavy packages are imported in functions, so that listing stays quick.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.zoo.model_rows import NOT_VERIFIED, Hub

if TYPE_CHECKING:
    from core.models.calibration import LabelBank
    from core.models.vlm import VisionLanguageModel
    from core.recognition.recogniser import Recogniser

BF16, FOUR_BIT = "bf16", "4-bit"
UNCALIBRATED = (
    "A model of the hub has no checkpoint here: it ranks names by their likelihood as answers, its probabilities are "
    "not calibrated, and it never rejects a photo as unknown."
)


def used_files(hub: Hub) -> list[str]:
    """Return the patterns of the repository's files that are used; pickled weights only where the row names them."""
    from core.models.base_models import MODEL_FILES

    weights = Path(hub.weights)
    return [*MODEL_FILES, f"{weights.stem}*{weights.suffix}"]


def local_folder(hub: Hub) -> Path | None:
    """Return the folder of the complete model in the local cache, at its revision; None if it is not there."""
    from huggingface_hub import snapshot_download

    from core.models.hub_files import indexed_files

    try:
        folder = Path(
            snapshot_download(
                hub.repository,
                revision=None if hub.revision == NOT_VERIFIED else hub.revision,
                allow_patterns=used_files(hub),
                ignore_patterns=hub.exclude,
                local_files_only=True,
            )
        )
        index = folder / f"{hub.weights}.index.json"
        files = indexed_files(index) if index.is_file() else [hub.weights]
        return folder if all((folder / name).is_file() for name in (hub.config, *files)) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # of the hub for "not here", and of an index
        return None


def cached_commit(repository: str) -> str | None:
    """Return the commit of the newest copy of a repository in the local cache; None if there is none."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, local_files_only=True)).name
    except (OSError, ValueError):  # what the hub raises for "not here"
        return None


def local_revision(hub: Hub) -> str:
    """Return the commit of the model: that of the table, else that of the copy here, else `NOT_VERIFIED`."""
    if hub.revision != NOT_VERIFIED:
        return hub.revision
    folder = local_folder(hub)
    return folder.name if folder else NOT_VERIFIED  # a snapshot's folder is named by its commit


def free_memory() -> tuple[bool, float]:
    """Return whether there is a GPU, and the free memory of it, or without one of the machine, in GB."""
    import torch

    if torch.cuda.is_available():
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return True, (torch.cuda.mem_get_info()[0] + unused) / 1e9
    import psutil

    return False, psutil.virtual_memory().available / 1e9


def best_precision(hub: Hub) -> str:
    """Return the best precision that fits the free memory, bf16 where it is not known what the model needs.

    Raises `UserError` with the reason if none fits.
    """
    if not hub.memory:
        return BF16
    gpu, free = free_memory()
    if not gpu:  # 4-bit arithmetic is made for GPUs
        if free < hub.memory[BF16]:
            raise UserError(
                f"There is no GPU, and not enough memory without one: {free:.1f} GB of main memory are free, and it "
                f"takes {hub.memory[BF16]:.1f} GB. It needs a GPU with {hub.needs}."
            )
        return BF16
    fits = [precision for precision, size in hub.memory.items() if size <= free]
    if not fits:
        raise UserError(f"There is not enough memory: {free:.1f} GB of the GPU's are free, and it takes {hub.needs}.")
    if fits[0] == FOUR_BIT and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            f"There is not enough memory for bf16 ({free:.1f} GB of the GPU's are free), and 4 bits need a package: "
            "run `.venv/bin/pip install bitsandbytes`."
        )
    return fits[0]


def state(hub: Hub) -> str:
    """Return "ready", or one sentence that says what is missing: memory first, without which a download is useless."""
    try:
        best_precision(hub)
    except UserError as error:
        return str(error)
    if local_folder(hub) is None:
        return f"It needs a download of {hub.download}: run `{hub.command}`."
    if not hub.is_native:
        convert = f".venv/bin/python -m core convert {hub.repository} FOLDER"
        return f"It needs a conversion: run `{convert}`, and name that folder as the model."
    return "ready"


def load(name: str, hub: Hub, progress: Callable[[str], None]) -> "Recogniser":
    """Load the model in the best precision that fits, with all categories of the tables.

    Between its steps it calls `progress`, which may raise to give up. Raises `UserError` if the model is not here,
    does not fit, or runs out of memory while it is loaded: nothing of it stays then.
    """
    import torch

    precision = best_precision(hub)
    folder = local_folder(hub)
    if folder is None:
        raise UserError(f"{name} is not here. It needs a download of {hub.download}: run `{hub.command}`.")
    try:
        progress(f"Reading {hub.download} of weights, {precision} in memory")
        return _open(name, folder, precision, hub.object_bos, progress)
    except torch.OutOfMemoryError:
        pass  # this error holds on to what was loaded, until the block is left
    torch.cuda.empty_cache()
    raise UserError(f"The memory was not enough to load {name} ({precision}): what was loaded before still works.")


def _open(name: str, folder: Path, precision: str, object_bos: bool, progress: Callable[[str], None]) -> "Recogniser":
    import torch

    from core.models.base_models import open_base
    from core.models.calibration import Calibration
    from core.recognition.label_space import MAX_LABELS
    from core.recognition.recogniser import Recogniser

    mllm = open_base(str(folder), four_bit=precision == FOUR_BIT, dtype=torch.bfloat16)
    mllm.object_bos = object_bos
    progress("Embedding the names of the categories")
    return Recogniser(name, mllm, table_labels(mllm), Calibration(candidates=MAX_LABELS))


def table_labels(mllm: "VisionLanguageModel") -> "LabelBank":
    """Return the label bank of a model that was trained on no categories: all those of the tables.

    The names' embeddings stand in place of descriptions, too (such a model explains nothing). The mean vision features
    are zeros, from which every photo is equally far.
    """
    import torch

    from core.models.calibration import LabelBank
    from core.taxonomy.categories import categories
    from core.taxonomy.descriptions import words_of

    names = list(categories())
    embeddings = mllm.embed_texts(names).cpu()
    return LabelBank(
        names,
        embeddings,
        embeddings,
        torch.zeros(len(names), mllm.model.config.vision_config.hidden_size),
        mllm.word_ids([words_of(name) for name in names]),
    )
