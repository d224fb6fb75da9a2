"""Bases that a checkpoint is trained on: the embedded one, or any folder or hub repository of a known family."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError, first_line
from core.models.embedded import EMBEDDED, base_fingerprint, load_mllm

if TYPE_CHECKING:
    import torch

    from core.models.vlm import VisionLanguageModel

MODEL_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]  # no code, nothing pickled
IDEFICS2_CHAT = (  # as Idefics2 was trained; its repositories on the hub hold none
    "{% for message in messages %}{{ message['role'].capitalize() }}"
    "{{ ':' if message['content'][0]['type'] == 'image' else ': ' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
HEAD_BYTES = 1 << 20  # of every weights file, for the fingerprint of its base


def locate(source: str, revision: str | None = None) -> Path:
    """Return the folder of a base: `source` itself, or the local copy of a hub repository, downloaded if allowed.

    Raises `UserError` if it is neither.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=MODEL_FILES))
    except (OSError, ValueError) as error:  # what the hub raises
        raise UserError(
            f"{source} is neither a folder nor in the hub's cache here, and cannot be had from the hub "
            f"({first_line(error)}): get it by `HF_HUB_OFFLINE=0 .venv/bin/hf download {source}`."
        ) from error


def base_id(source: str) -> str:
    """Return a fingerprint of a base: a hash of its config and of each weights file's name, size and first megabyte."""
    if source == EMBEDDED:
        return base_fingerprint()
    folder = locate(source)
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(HEAD_BYTES))
    return digest.hexdigest()[:16]


def open_base(source: str, four_bit: bool = False, dtype: "torch.dtype | None" = None) -> "VisionLanguageModel":
    """Open a base as a fresh `VisionLanguageModel` with frozen weights.

    `four_bit` stores the text model as NF4 (QLoRA) and needs a CUDA device. `dtype` is that of the text model: unless
    given, bfloat16 where that is fast. Raises `UserError` if the base cannot be had, is of an unknown family, or
    cannot be quantised here.
    """
    from core.models.devices import default_device, fast_dtype

    device = default_device()
    if four_bit and device.type != "cuda":
        raise UserError("4-bit weights (QLoRA) need a CUDA device: choose a preset with quantised: false.")
    if source == EMBEDDED:
        return load_mllm(dtype)
    from core.models.vlm import VisionLanguageModel

    folder = locate(source)
    model_class, processor_class = _classes(source, folder)
    try:
        processor = processor_class.from_pretrained(folder)
        model = model_class.from_pretrained(
            folder,
            dtype=dtype or fast_dtype(device),
            use_safetensors=True,
            device_map={"": device},
            quantization_config=_quantisation() if four_bit else None,
        )
    except (ImportError, OSError, ValueError) as error:  # an ImportError: bitsandbytes is not installed
        raise UserError(f"The base {source} cannot be loaded: {str(error).splitlines()[0]}") from error
    if processor.chat_template is None and model.config.model_type == "idefics2":
        processor.chat_template = IDEFICS2_CHAT
    processor.image_processor.do_image_splitting = False  # one photo is one image: parts would multiply its tokens
    return VisionLanguageModel(model.eval().requires_grad_(False), processor, source)


def _classes(source: str, folder: Path) -> tuple[Any, Any]:
    """Return the classes of a base's model and processor. Raises `UserError` for an unknown family."""
    from transformers import (
        Idefics2ForConditionalGeneration,
        Idefics2Processor,
        Idefics3ForConditionalGeneration,
        Idefics3Processor,
    )

    from core.models.efficientnet import TinyIdefics2Config, TinyIdefics2ForConditionalGeneration

    families = {
        "idefics2": (Idefics2ForConditionalGeneration, Idefics2Processor),
        "idefics3": (Idefics3ForConditionalGeneration, Idefics3Processor),  # SmolVLM's first generation
    }
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is not the folder of a model: it has no readable config.json.") from error
    family = config.get("model_type")
    if family == TinyIdefics2Config.model_type or config.get("architectures") == [
        "TinyIdefics2ForConditionalGeneration"
    ]:
        return TinyIdefics2ForConditionalGeneration, Idefics2Processor
    if family not in families:
        raise UserError(f"{source} is a {family} model: the method is set up for {' and '.join(families)} here.")
    return families[family]


def _quantisation() -> Any:
    """Return the settings of NF4 weights for the text model."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["vision_model", "connector", "lm_head"],
    )
