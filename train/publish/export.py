"""Export a checkpoint as a model folder for the hub: merged weights, processor, card and label embeddings."""

from pathlib import Path

import torch

from core.errors import UserError
from core.models.checkpoint import merge_adapter, open_checkpoint, read_manifest, save_checkpoint
from core.models.embedded import EMBEDDED
from core.storage.files import check_writable_folder
from train.publish.model_card import write_card


def export(checkpoint: Path, base: str, out: Path) -> None:
    """Write the merged model of a checkpoint to the folder `out`, which must not exist.

    `base` is the location of its base, "" for that in the manifest. The embedded model is merged in float32, because
    bfloat16 is too coarse for its adapter's updates. Raises `UserError` if the folder cannot be written, if the base
    cannot be loaded or is another one, or if the checkpoint is merged already.
    """
    if out.exists():
        raise UserError(f"{out} exists: name a new folder.")
    check_writable_folder(out.absolute().parent)
    manifest = read_manifest(checkpoint)
    if not manifest.base_id:
        raise UserError(f"The checkpoint {checkpoint.name} is a merged model already.")
    dtype = torch.float32 if manifest.base == EMBEDDED else torch.bfloat16
    mllm, labels, calibration = open_checkpoint(checkpoint, base, dtype)
    merge_adapter(mllm)
    save_checkpoint(out, mllm, labels, calibration, manifest)
    write_card(out)
