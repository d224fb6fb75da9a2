"""Turn a CLIP in the format of open_clip (`open_clip_config.json`) into a CLIPModel of transformers.

Both are the same network for a plain ViT with a causal text encoder: open_clip stacks the weights of query, key and
value, and multiplies with projections from the right. Any setting that makes another network of it is refused.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.errors import UserError, first_line
from core.models.hub_files import MOST_LAYERS
from core.models.pickled_weights import file_of, read_json, read_weights

if TYPE_CHECKING:
    from transformers import CLIPConfig

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}  # the settings that are understood
VISION = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"}
TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]  # of CLIP, where none is given
RESAMPLE = {"bicubic": 3, "bilinear": 2}  # Pillow's filters
BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
PROJECTIONS = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
RESBLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")


def is_open_clip(source: Path) -> bool:
    """Return whether a folder holds a model in the format of open_clip, and none of transformers."""
    return (source / CONFIG).exists() and not (source / "config.json").exists()


def port_open_clip(source: Path) -> tuple[dict[str, Tensor], Callable[[Path], None]]:
    """Return the tensors under their names in a CLIPModel, and a function that writes the other files to a folder.

    Raises `UserError` for a network that CLIPModel is not, or if a tensor or a file is missing, left over or damaged.
    """
    from transformers import CLIPModel

    settings = read_json(source, CONFIG)
    tokenizer = _tokenizer(source)
    config = _config(source, settings.get("model_cfg"), tokenizer)
    tensors = _renamed(_weights(source))
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in CLIPModel(config).state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise UserError(f"The weights in {source} do not fit its configuration ({wrong[0]}): download the model again.")
    images = _image_settings(source, settings.get("preprocess_cfg") or {}, config)

    def write_others(folder: Path) -> None:
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(images, indent=2))

    return tensors, write_others


def _weights(source: Path) -> dict[str, Tensor]:
    if not (source / WEIGHTS).exists():
        return read_weights(source)
    try:
        return load_file(file_of(source, WEIGHTS))
    except SafetensorError as error:
        raise UserError(f"{source / WEIGHTS} is damaged ({first_line(error)}): download the model again.") from error


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return open_clip's tensors under the names of CLIPModel; one that has no counterpart keeps its name."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        block = RESBLOCK.fullmatch(name)
        if block:
            visual, layer, part, kind = block.groups()
            prefix = f"{'vision' if visual else 'text'}_model.encoder.layers.{layer}"
            if part == "attn.in_proj":
                for projection, third in zip("qkv", torch.atleast_1d(tensor).chunk(3), strict=False):
                    tensors[f"{prefix}.self_attn.{projection}_proj.{kind}"] = third
            else:
                tensors[f"{prefix}.{BLOCK.get(part, part)}.{kind}"] = tensor
        elif name in PROJECTIONS:
            tensors[PROJECTIONS[name]] = tensor.T
        else:
            tensors[NAMES.get(name, name)] = tensor
    tensors.pop("attn_mask", None)  # of the text encoder, which older versions of open_clip saved
    return tensors


def _config(source: Path, model: Any, tokenizer: Any) -> "CLIPConfig":
    """Return the configuration. Raises `UserError` for settings of another network."""
    from transformers import CLIPConfig

    vision = model.get("vision_cfg") if isinstance(model, dict) else None
    text = model.get("text_cfg") if isinstance(model, dict) else None
    if not isinstance(vision, dict) or not isinstance(text, dict):
        raise UserError(f"{source / CONFIG} describes no model: download it again.")
    parts = ((model, MODEL), (vision, VISION), (text, TEXT))
    others = [key for part, known in parts for key in part if part[key] and key not in known]  # what is off is no matter
    for part in (vision, text):
        layers = part.get("layers", 12)
        if not isinstance(layers, int) or layers > MOST_LAYERS:
            others.append("layers")
    if others:
        raise UserError(f"{source} is another network than CLIPModel ({others[0]}): only plain ViTs are converted.")
    act = {"hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu", "projection_dim": model.get("embed_dim")}
    width, words = vision.get("width", 768), text.get("width", 512)
    try:
        return CLIPConfig(
            architectures=["CLIPModel"],
            projection_dim=act["projection_dim"],
            vision_config={
                **act,
                "hidden_size": width,
                "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
                "num_hidden_layers": vision.get("layers", 12),
                "num_attention_heads": width // vision.get("head_width", 64),
                "image_size": vision.get("image_size", 224),
                "patch_size": vision.get("patch_size", 16),
            },
            text_config={
                **act,
                "hidden_size": words,
                "intermediate_size": int(words * text.get("mlp_ratio", 4.0)),
                "num_hidden_layers": text.get("layers", 12),
                "num_attention_heads": text.get("heads", 8),
                "max_position_embeddings": text.get("context_length", 77),
                "vocab_size": text.get("vocab_size", 49408),
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
        )
    except Exception as error:  # whatever the values make the classes of transformers raise
        raise UserError(
            f"{source / CONFIG} does not fit a CLIPModel ({first_line(error)}): download it again."
        ) from error


def _tokenizer(source: Path) -> Any:
    """Return CLIP's tokenizer from the files of the folder."""
    from transformers import CLIPTokenizer

    if not any((source / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise UserError(f"{source} has no tokenizer (tokenizer.json): download the model again.")
    for name in TOKENIZER:
        if (source / name).exists():
            file_of(source, name)  # refuses a link out of the folder
    try:
        return CLIPTokenizer.from_pretrained(source)
    except Exception as error:  # of tokenizers, in as many ways as a file can be broken
        raise UserError(f"The tokenizer in {source} is damaged ({first_line(error)}): download it again.") from error


def _image_settings(source: Path, given: dict[str, Any], config: "CLIPConfig") -> dict[str, Any]:
    """Return the settings of CLIP's image processor: the shorter side to the model's size, and the middle of that."""
    size, mode = config.vision_config.image_size, given.get("resize_mode", "shortest")
    resample = RESAMPLE.get(given.get("interpolation", "bicubic"))
    if mode != "shortest" or resample is None or not isinstance(size, int):
        raise UserError(f"{source} prepares photos in another way than CLIP does: it is not converted.")
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": resample,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": given.get("mean", MEAN),
        "image_std": given.get("std", STD),
    }
