"""Check the files of a model of the hub before its weights are read: a repository may be incomplete, or hostile."""

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONVERTED = ("F64", "F32", "F16", "BF16")  # types of safetensors that are converted to that of the model
STORED = {"I64": 8, "I32": 4, "I16": 2}  # bytes of those that stay as they are; others are bytes, or smaller
MOST_LAYERS = 1000
WEIGHTS_PER_BYTE = 2  # in 4 bits


def read_config(source: str, folder: Path) -> dict[str, Any]:
    """Return the contents of config.json.

    Raises `UserError` if there is none that can be read, or if it asks for more layers than a model can have.
    """
    if not (folder / "config.json").is_file() and (folder / "open_clip_config.json").is_file():
        command = f"python -m core convert {source} FOLDER"
        raise UserError(f"{source} is in the format of open_clip: run `{command}`, and name that folder.")
    try:
        settings = json.loads((folder / "config.json").read_text())
        layers = max(_layer_counts(settings), default=0)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder} is not the folder of a model: it has no readable config.json.") from error
    if not isinstance(settings, dict):
        raise UserError(f"{folder} is not the folder of a model: its config.json holds no settings.")
    if layers > MOST_LAYERS:
        raise UserError(f"{source} is not used: its config.json asks for {layers} layers, more than any model has.")
    return settings


def _layer_counts(settings: Any) -> Iterator[int]:
    """Yield all numbers of layers in nested settings."""
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if isinstance(value, dict):
            yield from _layer_counts(value)
        elif isinstance(value, int) and ("layer" in key or "depth" in key) and not key.endswith(("_id", "_index")):
            yield value


def check_weights(source: str, folder: Path) -> None:
    """Raise `UserError` unless the folder has safetensors, all that its index names, and the index names no others."""
    index = folder / INDEX
    if not index.is_file():
        if not list(folder.glob("*.safetensors")):
            raise UserError(
                f"{source} has no weights in safetensors, and pickled weights are not read here: convert them with "
                "`python -m core convert`."
            )
        return
    try:
        shards = indexed_files(index)
        outside = [shard for shard in shards if Path(shard).name != shard]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{source} is damaged: its {INDEX} cannot be read; download it again.") from error
    if outside:
        raise UserError(f"{source} is not used: its {INDEX} names a file outside of its folder ({outside[0]}).")
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise UserError(f"{source} is incomplete: {missing[0]} is missing; download it again.")


def indexed_files(index: Path) -> list[str]:
    """Return the files that an index of weights names, sorted; one in another form raises what reading it raises."""
    return sorted(set(json.loads(index.read_text())["weight_map"].values()))


def memory_bytes(folder: Path, dtype: "torch.dtype") -> int:
    """Return the memory that the weights of a folder take once their floating-point numbers are of another type.

    A file that cannot be read counts by its size: reading the model tells what is wrong with it.
    """
    from safetensors import SafetensorError, safe_open

    total = 0
    for path in _weight_files(folder):
        try:
            with safe_open(path, "pt") as file:
                parts = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118  # it is no dictionary
                kinds = [(part.get_dtype(), prod(part.get_shape())) for part in parts]
        except (SafetensorError, OSError):
            total += path.stat().st_size
        else:
            total += sum(count * (dtype.itemsize if kind in CONVERTED else STORED.get(kind, 1)) for kind, count in kinds)
    return total


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that weights are read from: those of the index, else `WEIGHTS`, else all safetensors."""
    index = folder / INDEX
    if index.is_file():
        return [folder / name for name in indexed_files(index)]
    whole = folder / WEIGHTS
    return [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))


def check_size(source: str, folder: Path, model: "nn.Module") -> None:
    """Raise `UserError` if a model without memory ("meta") has far more weights than the files can hold."""
    asked = sum(weight.numel() for weight in model.parameters())
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if asked > WEIGHTS_PER_BYTE * stored:
        raise UserError(
            f"{source} does not fit: its config.json asks for {asked:.1e} weights, and its files hold {stored} bytes; "
            "download it again."
        )
