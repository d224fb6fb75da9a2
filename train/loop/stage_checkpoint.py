"""Save and load the parameters and checkpoints of a stage; incomplete checkpoints are recognised by their hashes."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.storage.cache import sha256_of
from core.storage.files import replacing, write_atomically

log = logging.getLogger(__name__)

COMPLETE = "complete.json"  # written last: hashes of everything else in a checkpoint


def save_parameters(parameters: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write parameters as safetensors, atomically."""
    with replacing(path) as scratch:
        save_file({name: p.detach().contiguous() for name, p in parameters.items()}, scratch)


def load_parameters(parameters: Mapping[str, torch.Tensor], path: Path) -> None:
    """Fill parameters from `save_parameters`' file. Raises `UserError` if it contains others."""
    stored = load_file(path)
    if {k: v.shape for k, v in stored.items()} != {k: p.shape for k, p in parameters.items()}:
        raise UserError(f"{path} belongs to another model: delete it to train that stage again.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(stored[name])


def mark_complete(checkpoint: Path) -> None:
    """Record the hashes of a checkpoint's files, which marks it as complete."""
    hashes = {path.name: sha256_of(path) for path in sorted(checkpoint.iterdir()) if path.name != COMPLETE}
    write_atomically(checkpoint / COMPLETE, json.dumps(hashes, indent=1).encode())


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a stage that is finished."""
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def last_complete(folder: Path) -> Path | None:
    """Return the newest complete checkpoint; damaged and unfinished ones are logged and skipped."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            hashes = json.loads((checkpoint / COMPLETE).read_text())
            if all(sha256_of(checkpoint / name) == digest for name, digest in hashes.items()):
                return checkpoint
        except (OSError, ValueError):
            pass
        log.warning("%s is not complete and is skipped", checkpoint)
    return None
