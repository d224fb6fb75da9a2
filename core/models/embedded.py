"""The base of the embedded models, assembled once from installed wheels into a per-user cache.

The text model (SmolLM2-135M-Instruct, a GGUF file) and the vision tower (EfficientNet-Lite2) arrive as ordinary
Python packages, so that a machine without access to a model hub has them. `ensure_base` turns them into a normal
`from_pretrained` folder: config, safetensors, tokenizer, image processor, chat template. The connector in that
folder is all zeros: it is trained, and every checkpoint brings its own.
"""

import copy
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from filelock import FileLock

from core.errors import UserError
from core.models.installed_weights import TEXT, TOWER, locate_sources, require_architecture
from core.storage.cache import CACHE_VARIABLE, cache_root, sha256_of

if TYPE_CHECKING:
    import torch
    from transformers import Idefics2Config, Idefics2Processor, LlamaConfig, LlamaForCausalLM

    from core.models.efficientnet import TinyIdefics2ForConditionalGeneration
    from core.models.vlm import VisionLanguageModel

log = logging.getLogger(__name__)

EMBEDDED = "tiny"  # the name of this base, as checkpoints record it

ASSEMBLY_VERSION = 1  # raise when the assembled folder changes: a new number is a new base
IMAGE_SIZE = 288  # pixels per side: 9 x 9 patch tokens
LATENTS = 8  # image tokens the text model sees

_lock = Lock()

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def base_fingerprint() -> str:
    """Return the fingerprint of this base, a hash of its version and its sources; adapters record it."""
    parts = (ASSEMBLY_VERSION, IMAGE_SIZE, LATENTS, TEXT.sha256, TOWER.sha256)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def base_folder() -> Path:
    """Return the folder of the base, which may not be assembled yet."""
    return cache_root() / f"tiny-base-{base_fingerprint()}"


def check_base() -> None:
    """Check the base. Raises `UserError` if it is damaged, or not assembled yet and cannot be."""
    require_architecture()
    if base_folder().is_dir():
        _check(base_folder())
    else:
        locate_sources()


def ensure_base(progress: Callable[[str], None] = log.info) -> Path:
    """Return the base's folder, assembled first if need be (about half a minute, once).

    Safe when two processes start at once (one assembles, the other waits) and when one is killed half-way
    (the folder appears by a rename, complete or not at all). Raises `UserError` if a wheel is missing, a
    cached file is damaged or the cache cannot be written.
    """
    require_architecture()
    folder = base_folder()
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if not folder.is_dir():
                    for half_built in folder.parent.glob(f"{folder.name}.*/"):  # by a process that was killed
                        shutil.rmtree(half_built, ignore_errors=True)
                    _assemble_atomically(folder, progress)
        except OSError as error:
            if error.errno is None:  # not the file system's
                raise
            raise UserError(
                f"The weights cannot be written to {folder.parent} ({error.strerror}): make room there, or "
                f"name another folder in the environment variable {CACHE_VARIABLE}."
            ) from error
    _check(folder)
    return folder


def _check(folder: Path) -> None:
    try:
        files = json.loads((folder / "manifest.json").read_text())
        damaged = [name for name, digest in files.items() if sha256_of(folder / name) != digest]
    except (OSError, ValueError):
        damaged = ["manifest.json"]
    if damaged:
        raise UserError(
            f"The cached weights in {folder} are damaged ({damaged[0]}): delete that folder and start again."
        )


def _assemble_atomically(folder: Path, progress: Callable[[str], None]) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        _assemble(scratch, progress)
        manifest = {path.name: sha256_of(path) for path in sorted(scratch.iterdir())}
        with (scratch / "manifest.json").open("w") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _assemble(folder: Path, progress: Callable[[str], None]) -> None:
    text_file, tower_file = locate_sources()

    import torch

    from core.models.efficientnet import TinyIdefics2ForConditionalGeneration

    progress("Assembling the embedded model (once, about half a minute): reading the tokenizer ...")
    processor = _processor(text_file)
    progress("Assembling the embedded model: reading the text model ...")
    text = _text_model(text_file, len(processor.tokenizer))
    progress("Assembling the embedded model: putting the parts together ...")
    model = TinyIdefics2ForConditionalGeneration(_config(text.config, processor))
    model.model.text_model.load_state_dict(text.model.state_dict())
    tower = torch.load(tower_file, weights_only=True)
    model.model.vision_model.network.load_state_dict({k: v for k, v in tower.items() if not k.startswith("_fc.")})
    for parameter in model.model.connector.parameters():
        torch.nn.init.zeros_(parameter)
    model.tie_weights()
    model.to(torch.float16).save_pretrained(folder)
    processor.save_pretrained(folder)
    progress("The embedded model is ready.")


def _processor(text_file: Path) -> "Idefics2Processor":
    """Return the image processor and the tokenizer, with the padding token and the chat template of this base."""
    from transformers import AutoTokenizer, Idefics2Processor
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    tokenizer = AutoTokenizer.from_pretrained(text_file.parent, gguf_file=text_file.name)
    tokenizer.bos_token, tokenizer.eos_token = "<|im_start|>", "<|im_end|>"
    tokenizer.pad_token = "<|endoftext|>"  # noqa: S105 - not the end-of-sequence token: padding must differ from an end
    image_processor = Idefics2ImageProcessorPil(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        resample=3,  # bicubic
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        do_image_splitting=False,
        do_pad=False,
    )
    return Idefics2Processor(image_processor, tokenizer, image_seq_len=LATENTS, chat_template=CHAT_TEMPLATE)


def _text_model(text_file: Path, vocabulary: int) -> "LlamaForCausalLM":
    """Return the text model in float32; tokens beyond its own (image placeholder, fences) start as the mean word."""
    import torch
    from transformers import AutoModelForCausalLM

    text = AutoModelForCausalLM.from_pretrained(text_file.parent, gguf_file=text_file.name, dtype=torch.float32)
    known = text.get_input_embeddings().weight.shape[0]
    text.resize_token_embeddings(vocabulary, mean_resizing=False)
    with torch.no_grad():
        words = text.get_input_embeddings().weight
        words[known:] = words[:known].mean(0)
    return text


def _config(text: "LlamaConfig", processor: "Idefics2Processor") -> "Idefics2Config":
    """Return the configuration of the whole model around a text model."""
    from transformers import Idefics2Config

    from core.models.efficientnet import FEATURES, PATCH

    left_out = ("quantization_config", "_name_or_path", "dtype")
    text_config = {key: value for key, value in text.to_dict().items() if key not in left_out}
    return Idefics2Config(
        text_config=text_config | {"pad_token_id": processor.tokenizer.pad_token_id},
        vision_config={"hidden_size": FEATURES, "image_size": IMAGE_SIZE, "patch_size": PATCH, "num_hidden_layers": 0},
        perceiver_config={
            "hidden_size": text.hidden_size,
            "rms_norm_eps": text.rms_norm_eps,
            "resampler_n_latents": LATENTS,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "num_key_value_heads": 4,
        },
        image_token_id=processor.image_token_id,
        tie_word_embeddings=True,
    )


@cache
def _base(folder: Path, dtype: "torch.dtype", device: "torch.device") -> "TinyIdefics2ForConditionalGeneration":
    import torch

    from core.models.efficientnet import TinyIdefics2Config, TinyIdefics2ForConditionalGeneration

    config = TinyIdefics2Config.from_dict(json.loads((folder / "config.json").read_text()))  # written as an Idefics2's
    base = TinyIdefics2ForConditionalGeneration.from_pretrained(folder, config=config, dtype=torch.float32)
    base.to(device).eval()
    if device.type == "cpu":  # twice as fast there as the fused attention, which is made for longer texts
        base.model.text_model.set_attn_implementation("eager")
    base.model.text_model.to(dtype)  # the tower and the connector lose accuracy in bfloat16 and are small
    for module in base.modules():  # a buffer that was not converted keeps the whole file of weights in memory
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.clone())
    return base.requires_grad_(False)


def load_mllm(dtype: "torch.dtype | None" = None) -> "VisionLanguageModel":
    """Open the embedded base as a fresh `VisionLanguageModel` that shares its frozen weights with all others.

    It has its own connector (untrained: zeros), and an adapter added to one model does not affect another.
    `dtype` (of the text model) is bfloat16 where that is fast and float32 elsewhere, unless given.
    """
    from core.models.devices import default_device, fast_dtype
    from core.models.vlm import VisionLanguageModel

    folder = ensure_base()
    device = default_device()
    with _lock:
        base = _base(folder, dtype or fast_dtype(device), device)
        tensors = [*base.named_parameters(), *base.named_buffers()]
        shared = {id(tensor): tensor for name, tensor in tensors if ".connector." not in name}
        model = copy.deepcopy(base, shared)  # a deep copy that takes the shared tensors for copied already
    return VisionLanguageModel(model, _load_processor(folder), EMBEDDED)


def _load_processor(folder: Path) -> "Idefics2Processor":
    """Return the processor with Pillow's resizing, whether torchvision is installed or not: the two differ."""
    from transformers import AutoTokenizer, Idefics2Processor
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    return Idefics2Processor(
        Idefics2ImageProcessorPil.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
        image_seq_len=LATENTS,
        chat_template=CHAT_TEMPLATE,
    )
