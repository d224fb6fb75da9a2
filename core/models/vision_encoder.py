"""The fine-tuned weights of the embedded vision encoder, which all checkpoints trained on them share.

The file holds the network's tensors in float16, and beside them `classifier.weight` [C, D], `classifier.bias` [C] and
`means` [C, D], the normalised mean feature of every category that it was trained on. Its metadata are JSON: `size`
(pixels per side of its input), `categories`, and how it was trained.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers.models.idefics2.configuration_idefics2 import Idefics2VisionConfig

from core.models.efficientnet import FEATURES, PATCH, EfficientNetTower
from core.models.tensor_files import write_tensors
from core.models.vlm import VisionLanguageModel
from core.storage.cache import sha256_of
from core.storage.files import replacing

CLASSIFIER = "classifier."
FOLDER = "encoders"  # beside the checkpoints


def encoder_path(checkpoint: Path, encoder_id: str) -> Path:
    """Return the file of the encoder that a checkpoint was trained on: checkpoints in one folder share them."""
    return checkpoint.parent / FOLDER / f"{encoder_id}.safetensors"


@dataclass(frozen=True)
class Encoder:
    """The contents of the file of a fine-tuned vision encoder."""

    network: dict[str, Tensor]  # float32
    classifier: dict[str, Tensor]  # weight [C, D], bias [C]
    means: Tensor  # [C, D]
    facts: dict[str, Any]  # size, categories, and how it was trained


def save_encoder(path: Path, encoder: Encoder) -> None:
    """Write the file of an encoder, atomically."""
    tensors = {**encoder.network, **{CLASSIFIER + k: v for k, v in encoder.classifier.items()}, "means": encoder.means}
    with replacing(path) as scratch:
        write_tensors(scratch, tensors, metadata={k: json.dumps(v) for k, v in encoder.facts.items()})


@lru_cache(maxsize=2)
def _read(path: Path, sha256: str) -> Encoder:
    with safe_open(path, "pt") as file:
        facts = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no dict
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    means = tensors.pop("means")
    classifier = {k.removeprefix(CLASSIFIER): tensors.pop(k) for k in list(tensors) if k.startswith(CLASSIFIER)}
    return Encoder(tensors, classifier, means, facts)


def read_encoder(path: Path) -> Encoder:
    """Return the contents of an encoder's file."""
    return _read(path, sha256_of(path))


def use_encoder(mllm: VisionLanguageModel, path: Path) -> Encoder:
    """Give a model the fine-tuned vision encoder of a file, and its input size; return the file's contents.

    Models with the same file share the encoder's weights. Raises `RuntimeError` for weights that do not fit.
    """
    encoder = read_encoder(path)
    mllm.model.model.vision_model = _tower(path, sha256_of(path), mllm.device)
    size = encoder.facts["size"]
    mllm.processor.image_processor.size = {"height": size, "width": size}
    mllm.encoder_file = path
    return encoder


@lru_cache(maxsize=2)
def _tower(path: Path, sha256: str, device: torch.device) -> EfficientNetTower:
    encoder = _read(path, sha256)
    config = Idefics2VisionConfig(hidden_size=FEATURES, image_size=encoder.facts["size"], patch_size=PATCH)
    tower = EfficientNetTower(config)
    tower.network.load_state_dict(encoder.network)
    return tower.to(device).eval().requires_grad_(False)


def encoder_input(mllm: VisionLanguageModel, views: Tensor) -> Tensor:
    """Return the normalised input [B, 3, S, S] of the vision encoder, from views with values in [0, 255]."""
    processor = mllm.processor.image_processor
    mean, std = (
        torch.tensor(values, device=views.device)[:, None, None] * 255
        for values in (processor.image_mean, processor.image_std)
    )
    return (views - mean) / std
