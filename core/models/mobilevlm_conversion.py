"""Turn a checkpoint of MobileVLM v2 by its authors into what `core.models.mobilevlm` loads."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from core.errors import UserError
from core.models.mobilevlm import GRID, MobileVlm, MobileVlmConfig, from_original, mobilevlm_processor
from core.models.pickled_weights import file_of, read_weights

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ORIGINAL_TYPE = "mobilevlm"  # `model_type` of the authors' configuration
TOWER = "openai/clip-vit-large-patch14-336"
VISION = {  # that of `TOWER`
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
TEXT = (  # fields of the authors' configuration, which extends Llama's
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "hidden_act",
    "bos_token_id",
    "eos_token_id",
)
WORDS = ("model.language_model.embed_tokens.weight", "lm_head.weight")


def port_mobilevlm(
    source: Path, original: dict[str, Any], weights: dict[str, Tensor], tower: Path | None
) -> tuple[dict[str, Tensor], Callable[[Path], None]]:
    """Return the tensors under their names here, and a function that writes configuration and processor to a folder.

    `original` is the authors' configuration. Raises `UserError` for another version of the model, or if a tensor is
    missing, left over or of another shape than the configuration says.
    """
    if not str(original.get("mm_projector_type")).startswith("ldpnetv2") or original.get("mm_vision_tower") != TOWER:
        raise UserError(f"{source} is another MobileVLM than version 2 on {TOWER}: only that is converted.")
    tensors = {renamed: tensor for name, tensor in weights.items() if (renamed := from_original(name))}
    if tower:
        tensors |= _tower_weights(tower, tensors)
    tokenizer = read_tokenizer(source)
    for name in tensors.keys() & WORDS:
        tensors[name] = _with_rows(tensors[name], len(tokenizer))
    config = _config(original, tensors, tokenizer)
    _check_fit(source, config, tensors)
    processor = mobilevlm_processor(tokenizer, pad=original.get("image_aspect_ratio") == "pad")

    def write_others(folder: Path) -> None:
        model = _empty(config)
        model.config.save_pretrained(folder)
        model.generation_config.save_pretrained(folder)
        processor.save_pretrained(folder)

    return tensors, write_others


def _tower_weights(folder: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the vision encoder in a folder of CLIP, as precise as those of the language model."""
    file = folder / "model.safetensors"
    weights = load_file(file_of(folder, file.name)) if file.exists() else read_weights(folder)
    dtype = next(iter(tensors.values())).dtype
    prefix = "vision_model."
    renamed = {
        from_original(f"model.vision_tower.vision_tower.{name}"): tensor.to(dtype)
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }
    return {name: tensor for name, tensor in renamed.items() if name}


def read_tokenizer(source: Path) -> "PreTrainedTokenizerFast":
    """Return the tokenizer in tokenizer.model, with a token for images.

    As in the authors' code every piece of text between images begins with a space. Raises `UserError` if the file is
    missing or damaged.
    """
    from transformers import AddedToken, LlamaTokenizer, PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import generate_merges, import_protobuf

    data = file_of(source, "tokenizer.model").read_bytes()
    try:
        pieces = import_protobuf().ModelProto.FromString(data).pieces
    except Exception as error:  # of protobuf, which is no package of ours
        raise UserError(f"{source}/tokenizer.model is damaged: download the model again.") from error
    vocabulary = {piece.piece: number for number, piece in enumerate(pieces)}
    merges = generate_merges(vocabulary, {piece.piece: piece.score for piece in pieces})
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"}
    llama = LlamaTokenizer(vocab=vocabulary, merges=merges, legacy=True, add_bos_token=True, **special)
    llama.add_tokens([AddedToken("<image>", special=True, normalized=False)], special_tokens=True)
    return PreTrainedTokenizerFast(tokenizer_object=llama.backend_tokenizer, padding_side="left", **special)


def _with_rows(words: Tensor, rows: int) -> Tensor:
    """Return [V, D] with mean rows up to `rows`, whose logit is the mean logit: such a token is never the likeliest."""
    mean = words.float().mean(0, keepdim=True).to(words.dtype)
    return torch.cat([words, mean.expand(max(rows - len(words), 0), -1)])


def _config(
    original: dict[str, Any], tensors: dict[str, Tensor], tokenizer: "PreTrainedTokenizerFast"
) -> MobileVlmConfig:
    text = {key: original[key] for key in TEXT if key in original}
    text |= {"model_type": "llama", "pad_token_id": tokenizer.pad_token_id}
    if WORDS[0] in tensors:
        text["vocab_size"] = len(tensors[WORDS[0]])
    return MobileVlmConfig(
        architectures=[MobileVlm.__name__],
        vision_config=dict(VISION),
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=GRID * GRID,
        vision_feature_layer=original.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy="default",
    )


def _empty(config: MobileVlmConfig) -> MobileVlm:
    """Return a model that has shapes and no weights."""
    with torch.device("meta"):
        return MobileVlm(config)


def _check_fit(source: Path, config: MobileVlmConfig, tensors: dict[str, Tensor]) -> None:
    expected = {name: tensor.shape for name, tensor in _empty(config).state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong and all("vision_tower" in name and name not in found for name in wrong):
        raise UserError(f"{source} holds no vision encoder: give the folder of {TOWER} as --vision-tower.")
    if wrong:
        raise UserError(f"The weights in {source} do not fit its configuration ({wrong[0]}): download the model again.")
