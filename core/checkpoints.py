"""A trained checkpoint of the embedded model: adapter + connector + label embeddings on top of a base.

checkpoint.json             what it is: name, base fingerprint, training, calibration, file hashes
adapter_config.json         PEFT's LoRA configuration
adapter_model.safetensors   the LoRA weights
connector.safetensors       the connector's weights
labels.safetensors          embeddings, words and feature statistics of the known categories
"""

import copy
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import UserError
from core.mllm import Mllm
from core.weights import base_fingerprint, sha256_of

ADAPTED = r".*text_model.*\.(q|k|v|o|gate|up|down)_proj"  # modules of the text model that get an adapter
FILES = ("adapter_config.json", "adapter_model.safetensors", "connector.safetensors", "labels.safetensors")


@dataclass(frozen=True)
class Calibration:
    """How raw scores become probabilities and when a photo is unknown; fitted on a part of train."""

    name_weight: float = 0.0  # of o.c, the object-name similarity
    description_weight: float = 0.0  # of o.a, the object-description similarity
    words_weight: float = 0.0  # of the image tokens' similarity with the words of name and attributes
    likelihood_weight: float = 1.0  # of the name's log-likelihood under the open-set question
    letter_weight: float = 1.0  # of an option's letter's log-likelihood under the closed-set question
    candidates: int = 1000  # names kept by the embeddings for scoring by likelihood
    unknown_distance: float = float("inf")  # a photo farther than this from every known category is unknown

    def ranking_weights(self) -> Tensor:
        """[4] in the order of `core.identify.SCORES`."""
        weights = (self.name_weight, self.description_weight, self.words_weight, self.likelihood_weight)
        return torch.tensor(weights, dtype=torch.float32)


@dataclass(frozen=True)
class Labels:
    """Embeddings of the categories a checkpoint knows, and the statistics behind "unknown"."""

    categories: list[str]
    names: Tensor  # [C, H] float32
    descriptions: Tensor  # [C, H] float32
    feature_means: Tensor  # [C, D] float32: mean normalised vision feature of each category
    words: Tensor  # [C, L] token ids of the words that training drew the category's image tokens to; -1 for none


def adapter_config(rank: int, alpha: int, dropout: float) -> LoraConfig:
    """The LoRA configuration of the embedded checkpoints."""
    return LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=ADAPTED, init_lora_weights="gaussian"
    )


def save_checkpoint(folder: Path, mllm: Mllm, labels: Labels, calibration: Calibration, facts: dict) -> None:
    """Write a checkpoint folder in half precision: all of it beside `folder` first, then put in its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))

    def write(name: str, tensors: dict[str, Tensor]) -> None:
        halved = {k: v.detach().half() if v.is_floating_point() else v for k, v in tensors.items()}
        save_file({k: v.cpu().contiguous() for k, v in halved.items()}, scratch / name)

    try:
        config = copy.copy(next(iter(mllm.model.peft_config.values())))
        config.base_model_name_or_path = f"tiny-base-{base_fingerprint()}"  # not where this machine keeps it
        config.save_pretrained(scratch)
        write("adapter_model.safetensors", get_peft_model_state_dict(mllm.model))
        write("connector.safetensors", mllm.model.model.connector.state_dict())
        write("labels.safetensors", {k: v for k, v in vars(labels).items() if k != "categories"})
        card = {
            "base": base_fingerprint(),
            "categories": labels.categories,
            "calibration": asdict(calibration),
            "files": {name: sha256_of(scratch / name) for name in FILES},
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


def read_card(folder: Path) -> dict:
    """`checkpoint.json`, after checking that the folder is complete, undamaged and made for this base.

    Raises `UserError` with the reason otherwise.
    """
    try:
        card = json.loads((folder / "checkpoint.json").read_text())
        base, _, _ = card["base"], card["categories"], Calibration(**card["calibration"])
        damaged = [n for n in FILES if not (folder / n).is_file() or sha256_of(folder / n) != card["files"][n]]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"The checkpoint {folder.name} is missing or incomplete.") from None
    if damaged:
        raise UserError(f"The checkpoint {folder.name} is damaged: {damaged[0]} is missing or not what was saved.")
    if base != base_fingerprint():
        raise UserError(f"The checkpoint {folder.name} was made for the base {base}, not for {base_fingerprint()}.")
    return card


def load_into(mllm: Mllm, folder: Path) -> tuple[Labels, Calibration]:
    """Put the adapter and the connector of a checked checkpoint on top of a base model.

    Raises `UserError` if a tensor is missing, left over or of another shape than the base or the categories ask for.
    """
    card = read_card(folder)
    try:
        adapter, connector, labels = (load_file(folder / name) for name in FILES[1:])
        mllm.model.model.connector.load_state_dict({k: v.float() for k, v in connector.items()})
        mllm.model.add_adapter(LoraConfig.from_pretrained(folder))
        expected = get_peft_model_state_dict(mllm.model)
        if {k: v.shape for k, v in adapter.items()} != {k: v.shape for k, v in expected.items()}:
            raise ValueError("the adapter's tensors are not those of its configuration")
        set_peft_model_state_dict(mllm.model, adapter)
        floats = {k: v.float() if v.is_floating_point() else v for k, v in labels.items()}
        known = Labels(card["categories"], **floats)
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
