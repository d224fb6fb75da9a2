"""A trained checkpoint: what was trained on top of a base, or a whole merged model, and the label embeddings.

checkpoint.json             what it is: name, base, training, calibration, file hashes
adapter_config.json         PEFT's configuration of the adapter
adapter_model.safetensors   the adapter's weights
connector.safetensors       the connector's weights, where it was trained itself
labels.safetensors          embeddings, words and feature statistics of the known categories

A merged checkpoint has no adapter: it is a model folder as the hub knows it, with checkpoint.json and
labels.safetensors beside the weights.
"""

import copy
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import UserError
from core.models.base_models import base_id, open_base
from core.models.calibration import Calibration, LabelBank
from core.models.embedded import EMBEDDED
from core.models.vlm import VisionLanguageModel
from core.storage.cache import sha256_of

MERGED = "merged"  # in place of a base: the folder holds the whole model
LABELS = "labels.safetensors"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
CONNECTOR = "connector.safetensors"
BASE_FOLDER = "base_folder"  # in the card: where the base was a folder on the machine that trained


def save_checkpoint(
    folder: Path, mllm: VisionLanguageModel, labels: LabelBank, calibration: Calibration, facts: dict
) -> None:
    """Write a checkpoint folder in half precision: all of it beside `folder` first, then put in its place.

    A model without an adapter is written whole. `facts` go into checkpoint.json as they are.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))

    def write(name: str, tensors: dict[str, Tensor]) -> None:
        halved = {k: v.detach().half() if v.is_floating_point() else v for k, v in tensors.items()}
        save_file({k: v.cpu().contiguous() for k, v in halved.items()}, scratch / name)

    try:
        adapters = getattr(mllm.model, "peft_config", None)
        if adapters:
            config = copy.copy(next(iter(adapters.values())))
            config.base_model_name_or_path = base_name(mllm.base)  # not where this machine keeps it
            config.save_pretrained(scratch)
            write("adapter_model.safetensors", get_peft_model_state_dict(mllm.model))
            connector = mllm.model.model.connector.state_dict()
            if not any("lora_" in name for name in connector):  # with adapters on it, its own weights are the base's
                write(CONNECTOR, connector)
        else:
            mllm.model.save_pretrained(scratch)
            mllm.processor.save_pretrained(scratch)
        write(LABELS, {k: v for k, v in vars(labels).items() if k != "categories"})
        card = {
            "base": base_name(mllm.base) if adapters else MERGED,
            "base_id": base_id(mllm.base) if adapters else "",
            **({BASE_FOLDER: str(Path(mllm.base).resolve())} if adapters and Path(mllm.base).is_dir() else {}),
            "categories": labels.categories,
            "calibration": asdict(calibration),
            "files": {path.name: sha256_of(path) for path in sorted(scratch.iterdir())},
            **facts,
        }
        (scratch / "checkpoint.json").write_text(json.dumps(card, indent=1))
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
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def base_name(source: str) -> str:
    """A base as a checkpoint names it: a folder by its last part, whose path says nothing on another machine."""
    return Path(source).resolve().name if Path(source).is_dir() else source


def read_card(folder: Path) -> dict:
    """`checkpoint.json`, after checking that the folder is complete, undamaged and (if so) made for the embedded base.

    Raises `UserError` with the reason otherwise.
    """
    try:
        card = json.loads((folder / "checkpoint.json").read_text())
        base, files, _, _ = card["base"], card["files"], card["categories"], Calibration(**card["calibration"])
        needed = {LABELS} if base == MERGED else {LABELS, *ADAPTER}
        if not needed <= files.keys() or any(Path(name).name != name for name in files):
            raise ValueError
        damaged = [n for n in files if not (folder / n).is_file() or sha256_of(folder / n) != files[n]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"The checkpoint {folder.name} is missing or incomplete.") from None
    if damaged:
        raise UserError(f"The checkpoint {folder.name} is damaged: {damaged[0]} is missing or not what was saved.")
    if base == EMBEDDED:
        _check_base(folder, card, EMBEDDED)
    return card


def _check_base(folder: Path, card: dict, base: str) -> None:
    if card["base_id"] != base_id(base):
        raise UserError(
            f"The checkpoint {folder.name} was made for the base {card['base_id']}, not for {base_id(base)}."
        )


def open_checkpoint(
    folder: Path, base: str = "", dtype: torch.dtype | None = None
) -> tuple[VisionLanguageModel, LabelBank, Calibration]:
    """The model of a checkpoint, on its base: where it was in training or by its name, unless `base` says where it is.

    `dtype` is that of the text model, as for `open_base`.

    Raises `UserError` if the base cannot be had or is another one, or if the checkpoint is damaged.
    """
    card = read_card(folder)
    if card["base"] == MERGED:
        mllm = open_base(str(folder), dtype=dtype)
    else:
        trained_on = card.get(BASE_FOLDER)
        found = trained_on if trained_on and Path(trained_on).is_dir() else card["base"]
        mllm = open_base(base or found, dtype=dtype)
        _check_base(folder, card, mllm.base)
    return mllm, *_put(mllm, folder, card)


def load_into(mllm: VisionLanguageModel, folder: Path) -> tuple[LabelBank, Calibration]:
    """Put what a checkpoint trained on top of its base.

    Raises `UserError` if a tensor is missing, left over or of another shape than the base or the categories ask for.
    """
    return _put(mllm, folder, read_card(folder))


def _put(mllm: VisionLanguageModel, folder: Path, card: dict) -> tuple[LabelBank, Calibration]:
    """`load_into` with the card of a folder that was checked."""
    try:
        labels = load_file(folder / LABELS)
        if CONNECTOR in card["files"]:
            connector = {k: v.float() for k, v in load_file(folder / CONNECTOR).items()}
            mllm.model.model.connector.load_state_dict(connector)
        if card["base"] != MERGED:
            adapter = load_file(folder / "adapter_model.safetensors")
            mllm.model.add_adapter(LoraConfig.from_pretrained(folder))
            expected = get_peft_model_state_dict(mllm.model)
            if {k: v.shape for k, v in adapter.items()} != {k: v.shape for k, v in expected.items()}:
                raise ValueError("the adapter's tensors are not those of its configuration")
            set_peft_model_state_dict(mllm.model, adapter)
        floats = {k: v.float() if v.is_floating_point() else v for k, v in labels.items()}
        known = LabelBank(card["categories"], **floats)
        width = mllm.model.config.text_config.hidden_size
        if not known.names.shape == known.descriptions.shape == (len(known.categories), width):
            raise ValueError("the label embeddings are not those of its categories")
        features = mllm.model.config.vision_config.hidden_size
        if known.feature_means.shape != (len(known.categories), features):
            raise ValueError("the feature means are not those of its categories")
        if known.words.shape != (len(known.categories), mllm.processor.image_seq_len):
            raise ValueError("the words are not those of its categories")
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"The checkpoint {folder.name} does not fit: {str(error).splitlines()[0]}.") from error
    mllm.model.eval()
    return known, Calibration(**card["calibration"])


def merge_adapter(mllm: VisionLanguageModel) -> None:
    """Put the adapter's weights, if there is one, into those that it adapts. Weights shared with others are copied.

    Not for a base in 4 bits, which would round the adapter away.
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
    mllm.model._hf_peft_config_loaded = False
