"""A trained checkpoint: what was trained on top of a base, or a whole merged model, and the label embeddings.

checkpoint.json             what it is: name, base, training, calibration, file hashes
adapter_config.json         PEFT's configuration of the adapter
adapter_model.safetensors   the adapter's weights
connector.safetensors       the connector's weights, where it was trained itself
labels.safetensors          embeddings, words, feature statistics and classifier of the known categories

A checkpoint on a fine-tuned vision encoder names it by its hash; the file is in the folder `encoders` beside the
checkpoints, which share it.

A merged checkpoint has no adapter: it is a model folder as the hub knows it, with checkpoint.json and
labels.safetensors beside the weights.
"""

import copy
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import BaseModel
from safetensors import SafetensorError
from torch import Tensor

from core.errors import UserError, first_line
from core.models.base_models import base_id, open_base
from core.models.calibration import Calibration, LabelBank
from core.models.embedded import EMBEDDED
from core.models.tensor_files import read_tensors, write_tensors
from core.models.vision_encoder import encoder_path, use_encoder
from core.models.vlm import VisionLanguageModel
from core.storage.cache import sha256_of
from core.storage.files import replacing

MERGED = "merged"  # in place of a base: the folder holds the whole model
LABELS = "labels.safetensors"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
CONNECTOR = "connector.safetensors"
MANIFEST = "checkpoint.json"


class TrainingData(BaseModel):
    """The photos of a training run."""

    name: str = ""
    sets: list[str] = []
    photos: int = 0  # trained on
    calibration_photos: int = 0
    hash: str = ""  # of the manifest of all photos
    seen: list[str] = []  # beginnings of the SHA-256 of all photos, those of calibration included


class TrainingRecord(BaseModel):
    """How a checkpoint was trained."""

    name: str = ""
    training: dict[str, Any] = {}  # the recipe
    stages: list[str] = []
    data: TrainingData = TrainingData()


class CheckpointManifest(TrainingRecord):
    """The contents of checkpoint.json."""

    base: str  # the base's name, or `MERGED`
    base_id: str  # fingerprint of the base; empty for a merged model
    encoder: str = ""  # fingerprint of the fine-tuned vision encoder; empty: the base's own, or in a merged model
    object_bos: bool = True  # whether the sequence that embeds a photo begins with BOS
    base_folder: str | None = None  # of the base on the machine that trained, if it was a folder
    categories: list[str]
    calibration: Calibration
    files: dict[str, str]  # SHA-256 by file name


def save_checkpoint(
    folder: Path, mllm: VisionLanguageModel, labels: LabelBank, calibration: Calibration, record: TrainingRecord
) -> None:
    """Write a checkpoint folder in half precision, atomically; what was trained on the embedded base in 8 bits a weight.

    A model without an adapter is written whole.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        adapted = hasattr(mllm.model, "peft_config")
        small = adapted and mllm.base == EMBEDDED  # PEFT alone cannot load an adapter for it anyway
        if adapted:
            _write_encoder(folder, mllm)
            _write_adapter(scratch, mllm, small)
        else:
            mllm.model.save_pretrained(scratch)
            mllm.processor.save_pretrained(scratch)
        write_tensors(scratch / LABELS, {k: v for k, v in vars(labels).items() if isinstance(v, Tensor)}, small)
        manifest = CheckpointManifest(
            **{field: getattr(record, field) for field in TrainingRecord.model_fields},
            base=base_name(mllm.base) if adapted else MERGED,
            base_id=base_id(mllm.base) if adapted else "",
            encoder=mllm.encoder_id if adapted else "",
            object_bos=mllm.object_bos,
            base_folder=str(Path(mllm.base).resolve()) if adapted and Path(mllm.base).is_dir() else None,
            categories=labels.categories,
            calibration=calibration,
            files={path.name: sha256_of(path) for path in sorted(scratch.iterdir())},
        )
        left_out = {"base_folder"} if manifest.base_folder is None else set()
        (scratch / MANIFEST).write_text(json.dumps(manifest.model_dump(exclude=left_out), indent=1))
        _replace_folder(folder, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_encoder(folder: Path, mllm: VisionLanguageModel) -> None:
    if mllm.encoder_file is None:
        return
    shared = encoder_path(folder, mllm.encoder_id)
    if not shared.exists():
        with replacing(shared) as scratch:
            shutil.copyfile(mllm.encoder_file, scratch)


def _write_adapter(folder: Path, mllm: VisionLanguageModel, small: bool) -> None:
    """Write the adapter and, if it was trained itself, the connector; in 8 bits a weight if `small`."""
    config = copy.copy(next(iter(mllm.model.peft_config.values())))
    config.base_model_name_or_path = base_name(mllm.base)  # not the path on this machine
    config.save_pretrained(folder)
    write_tensors(folder / "adapter_model.safetensors", get_peft_model_state_dict(mllm.model), small)
    connector = mllm.model.model.connector.state_dict()
    if not any("lora_" in name for name in connector):  # with adapters on it, its own weights are the base's
        write_tensors(folder / CONNECTOR, connector, small)


def _replace_folder(folder: Path, scratch: Path) -> None:
    """Put the finished folder `scratch` in the place of `folder`, which stays if that fails."""
    for path in scratch.iterdir():
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    scratch.chmod(0o755)
    replaced = scratch.with_name(f"{scratch.name}.replaced")
    if folder.exists():
        folder.rename(replaced)
    try:
        scratch.rename(folder)
    except OSError:
        if replaced.exists():
            replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def base_name(source: str) -> str:
    """Return the name of a base in a checkpoint: for a folder its last part, since paths differ between machines."""
    return Path(source).resolve().name if Path(source).is_dir() else source


def read_manifest(folder: Path) -> CheckpointManifest:
    """Read checkpoint.json after checking that the folder is complete, undamaged and, if so, for the embedded base.

    So is the vision encoder beside it, if it names one. Raises `UserError` with the reason otherwise.
    """
    try:
        manifest = CheckpointManifest.model_validate(json.loads((folder / MANIFEST).read_text()))
        files = manifest.files
        needed = {LABELS} if manifest.base == MERGED else {LABELS, *ADAPTER}
        if not needed <= files.keys() or any(Path(name).name != name for name in files):
            raise ValueError
        damaged = [n for n in files if not (folder / n).is_file() or sha256_of(folder / n) != files[n]]
    except (OSError, ValueError, RecursionError):  # pydantic's ValidationError is a ValueError
        raise UserError(f"The checkpoint {folder.name} is missing or incomplete.") from None
    if damaged:
        raise UserError(f"The checkpoint {folder.name} is damaged: {damaged[0]} is missing or not what was saved.")
    encoder = encoder_path(folder, manifest.encoder)
    if manifest.encoder and not (encoder.is_file() and sha256_of(encoder)[:16] == manifest.encoder):
        raise UserError(f"The checkpoint {folder.name} needs its vision encoder: {encoder} is missing or damaged.")
    if manifest.base == EMBEDDED:
        _check_base(folder, manifest, EMBEDDED)
    return manifest


def _check_base(folder: Path, manifest: CheckpointManifest, base: str) -> None:
    if manifest.base_id != base_id(base):
        raise UserError(
            f"The checkpoint {folder.name} was made for the base {manifest.base_id}, not for {base_id(base)}."
        )


def open_checkpoint(
    folder: Path, base: str = "", dtype: torch.dtype | None = None
) -> tuple[VisionLanguageModel, LabelBank, Calibration]:
    """Open the model of a checkpoint on its base, with its label bank and calibration.

    The base is taken from `base` if given, else from the folder that it had in training, else by its name. `dtype` is
    that of the text model, as for `open_base`. Raises `UserError` if the base is missing or another one, if the
    checkpoint is damaged, or if a tensor is missing, left over or of another shape than the model needs.
    """
    manifest = read_manifest(folder)
    if manifest.base == MERGED:
        mllm = open_base(str(folder), dtype=dtype)
    else:
        trained_on = manifest.base_folder
        found = trained_on if trained_on and Path(trained_on).is_dir() else manifest.base
        mllm = open_base(base or found, dtype=dtype)
        _check_base(folder, manifest, mllm.base)
    mllm.object_bos = manifest.object_bos
    try:
        if manifest.encoder:
            use_encoder(mllm, encoder_path(folder, manifest.encoder))
        _load_weights(mllm, folder, manifest)
        labels = _load_labels(mllm, folder, manifest)
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"The checkpoint {folder.name} does not fit: {first_line(error)}.") from error
    mllm.model.eval()
    return mllm, labels, manifest.calibration


def _load_weights(mllm: VisionLanguageModel, folder: Path, manifest: CheckpointManifest) -> None:
    """Load the connector and the adapter into a fresh base. Raises `ValueError` for an adapter that does not fit."""
    if CONNECTOR in manifest.files:
        connector = read_tensors(folder / CONNECTOR)
        latents = connector.get("perceiver_resampler.latents")
        if latents is not None and len(latents) != mllm.processor.image_seq_len:
            mllm.resize_image_tokens(len(latents))
        mllm.model.model.connector.load_state_dict(connector)
    if manifest.base == MERGED:
        return
    adapter = read_tensors(folder / "adapter_model.safetensors")
    mllm.model.add_adapter(LoraConfig.from_pretrained(folder))
    expected = get_peft_model_state_dict(mllm.model)
    if {k: v.shape for k, v in adapter.items()} != {k: v.shape for k, v in expected.items()}:
        raise ValueError("the adapter's tensors are not those of its configuration")
    set_peft_model_state_dict(mllm.model, adapter)


def _load_labels(mllm: VisionLanguageModel, folder: Path, manifest: CheckpointManifest) -> LabelBank:
    """Load the label bank in float32. Raises `ValueError` for shapes that do not fit the model."""
    words_from = manifest.training.get("words", "attributes")
    labels = LabelBank(manifest.categories, **read_tensors(folder / LABELS), words_from=words_from)
    n = len(labels.categories)
    width, features = mllm.model.config.text_config.hidden_size, mllm.model.config.vision_config.hidden_size
    if not labels.names.shape == labels.descriptions.shape == (n, width):
        raise ValueError("the label embeddings are not those of its categories")
    if labels.feature_means.shape != (n, features):
        raise ValueError("the feature means are not those of its categories")
    if labels.classifier is not None and labels.classifier.shape != (n, features + 1):
        raise ValueError("the classifier is not that of its categories")
    inside = int(labels.words.min()) >= -1 and int(labels.words.max()) < mllm.model.get_input_embeddings().num_embeddings
    if labels.words.shape != (n, mllm.processor.image_seq_len) or labels.words.dtype != torch.int64 or not inside:
        raise ValueError("the words are not those of its categories")
    return labels


def read_feature_means(folder: Path) -> dict[str, Tensor]:
    """Return the mean vision feature [D] float32 of each category a checkpoint knows, without opening its model."""
    manifest = read_manifest(folder)
    try:
        means = read_tensors(folder / LABELS)["feature_means"]
        return dict(zip(manifest.categories, means, strict=True))
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"The checkpoint {folder.name} does not fit: {first_line(error)}.") from error


def merge_adapter(mllm: VisionLanguageModel) -> None:
    """Merge the adapter, if there is one, into the weights that it adapts. Weights shared with others are copied.

    Not for a base in 4 bits, whose rounding would lose the adapter.
    """
    if not hasattr(mllm.model, "peft_config"):
        return
    for name, module in list(mllm.model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            layer = module.get_base_layer()
            layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(mllm.model.get_submodule(parent), child, layer)
    del mllm.model.peft_config
    mllm.model._hf_peft_config_loaded = False  # of transformers 5: else `save_pretrained` looks for the adapter
