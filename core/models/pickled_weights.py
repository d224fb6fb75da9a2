"""Weights in pickled files (`*.bin`, `*.pth`): read as tensors and nothing else, from the files of one folder."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import UserError

WEIGHTS = ("*.bin", "*.pth")
WHOLE = "pytorch_model.bin"
INDEX = f"{WHOLE}.index.json"  # of weights in several files
WRAPPERS = ("state_dict", "model")  # under which a training loop keeps the weights
REMEDY = "ask its authors for safetensors"


def find_source(source: str) -> Path:
    """Return the folder `source`, or that of a hub repository in the local cache.

    Raises `UserError` if it is neither.
    """
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, local_files_only=True))
    except (OSError, ValueError) as error:  # what the hub raises
        raise UserError(
            f"{source} is neither a folder nor in the hub's cache: run "
            f"`HF_HUB_OFFLINE=0 .venv/bin/hf download {source}`."
        ) from error


def file_of(folder: Path, name: str) -> Path:
    """Return a file of a folder by its name. Raises `UserError` if it is missing or lies outside the folder."""
    path = folder / name
    allowed = [folder.resolve()]
    if folder.parent.name == "snapshots":  # of the hub's cache, where files are links to its blobs
        allowed.append(folder.resolve().parents[1] / "blobs")
    if Path(name).name != name or path.resolve().parent not in allowed:
        raise UserError(f"{folder} names a file outside of it ({name}), which is not read.")
    if not path.is_file():
        raise UserError(f"{path} is missing: download the model again.")
    return path


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Return the contents of a JSON file of a folder. Raises `UserError` if it is missing or no JSON object."""
    try:
        contents = json.loads(file_of(folder, name).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / name} is damaged: download the model again.") from error
    if not isinstance(contents, dict):
        raise UserError(f"{folder / name} is damaged: download the model again.")
    return contents


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return all pickled weights of a folder by name; from a file of today's format they are mapped, not read.

    Raises `UserError` if there are none, if it is open which file holds them, or if one is refused or incomplete.
    """
    weights: dict[str, Tensor] = {}
    if not (folder / INDEX).exists():
        return _read_file(file_of(folder, _only_file(folder)))
    files = read_json(folder, INDEX).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise UserError(f"{folder / INDEX} is damaged: download the model again.")
    for name in sorted(set(files.values())):
        weights |= _read_file(file_of(folder, name))
    missing = sorted(files.keys() - weights.keys())
    if missing:
        raise UserError(f"{missing[0]} is in none of the files of {folder}: download the model again.")
    return weights


def _only_file(folder: Path) -> str:
    names = sorted(path.name for pattern in WEIGHTS for path in folder.glob(pattern))
    if WHOLE in names:
        return WHOLE
    if not names:
        raise UserError(f"{folder} holds no pickled weights ({' or '.join(WEIGHTS)}).")
    if len(names) > 1:
        raise UserError(f"{folder} holds several files ({', '.join(names)}): leave the one with the weights there.")
    return names[0]


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:  # its own message advises to run the code in the file
        raise UserError(f"{path} is not read, since it holds more than weights: {REMEDY}.") from error
    except Exception as error:  # a broken file fails in as many ways as there are instructions in it
        raise UserError(f"{path} is damaged: download the model again.") from error
    for wrapper in WRAPPERS:
        if isinstance(contents, dict) and isinstance(contents.get(wrapper), dict):
            contents = contents[wrapper]
    if not (contents and isinstance(contents, dict)) or not all(
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
        for name, value in contents.items()
    ):
        raise UserError(f"{path} is no table of weights by name: {REMEDY}.")
    return {name: value.detach() for name, value in contents.items()}
