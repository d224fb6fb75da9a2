"""Open models that are only asked questions: a general or contrastive row of the table, a repository, or a folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.zoo import hub
from core.zoo.registry import ModelSource, availability, zoo

if TYPE_CHECKING:
    from core.models.contrastive import ContrastiveModel
    from core.models.general import GeneralModel


def open_asked(found: ModelSource) -> "GeneralModel | ContrastiveModel":
    """Open a model. One of the table is opened where it is ready; another repository is downloaded if allowed.

    Raises `UserError` if it cannot be had, is not enough memory for, or cannot be opened.
    """
    from core.models import open_question_model

    folder = _folder(found)
    check_memory(found.name, folder)
    return open_question_model(found.source, folder=folder)


def _folder(found: ModelSource) -> Path:
    from core.models.base_models import locate

    entry = zoo().get(found.name)
    if entry is None or entry.hub is None or entry.hub.repository != found.source:
        return locate(found.source, found.revision or None)
    folder = hub.local_folder(entry.hub)
    state = availability(entry)
    if folder is None or state != "ready":
        raise UserError(f"{found.name} cannot be loaded: {state}")
    return folder


def check_memory(name: str, folder: Path) -> None:
    """Raise `UserError` if the weights of a folder take more memory than is free."""
    from core.models.devices import default_device, fast_dtype
    from core.models.hub_files import check_weights, memory_bytes

    check_weights(name, folder)
    dtype = fast_dtype(default_device())
    needed, (gpu, free) = memory_bytes(folder, dtype) / 1e9, hub.free_memory()
    if needed > free:
        where = "on the GPU" if gpu else "in main memory"
        raise UserError(
            f"There is not enough memory for {name}: its weights take {needed:.1f} GB ({str(dtype)[6:]}), and "
            f"{free:.1f} GB are free {where}: close other programs, or choose a smaller model."
        )
