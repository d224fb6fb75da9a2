"""Add the adapter, and select the parameters that a recipe trains and their number format."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer

from core.models.base_models import open_base
from core.models.devices import default_device, fast_dtype
from core.models.embedded import EMBEDDED
from core.models.vlm import VisionLanguageModel
from train.recipe import Recipe

ADAPTED = "q|k|v|o|gate|up|down"  # projections that get an adapter


def dtype_of(recipe: Recipe) -> torch.dtype:
    """Return the number format of the text model and of autocast."""
    return fast_dtype(default_device()) if recipe.precision == "auto" else getattr(torch, recipe.precision)


def open_base_for(recipe: Recipe) -> VisionLanguageModel:
    """Open the recipe's base, with its number of image tokens and its form of the object's sequence."""
    mllm = open_base(recipe.base, recipe.quantised, dtype_of(recipe))
    mllm.object_bos = recipe.object_bos
    if (recipe.warmup or recipe.start_file) and recipe.image_tokens:
        mllm.resize_image_tokens(recipe.image_tokens)
    return mllm


def add_adapter(mllm: VisionLanguageModel, recipe: Recipe) -> None:
    """Add the recipe's adapter, if any, to a model that has none yet."""
    adapter = recipe.adapter
    frozen = not any(parameter.requires_grad for parameter in mllm.text_model.parameters())
    if adapter.kind == "full" and mllm.base == EMBEDDED and frozen:  # in the first stage the weights are still shared
        mllm.own_weights()
    if adapter.kind == "full" or hasattr(mllm.model, "peft_config"):
        return
    where = "(text_model|modality_projection|perceiver_resampler)" if adapter.on_connector else "text_model"
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=rf".*{where}.*\.({ADAPTED})_proj",
        use_dora=adapter.kind == "dora",
        init_lora_weights="gaussian",
    )
    torch.manual_seed(recipe.seed)
    mllm.model.add_adapter(config)


@contextmanager
def fast_layers(mllm: VisionLanguageModel, recipe: Recipe) -> Iterator[None]:
    """Let autocast alone convert the adapters' inputs, and compile the text model's layers if the recipe says so.

    The adapters' own copies of their inputs in float32 would take half of the memory. Outside autocast they are needed.
    """
    adapters = [module for module in mllm.model.modules() if isinstance(module, BaseTunerLayer)]
    for module in adapters:
        module.cast_input_dtype_enabled = dtype_of(recipe) != torch.bfloat16
    for layer in mllm.text_model.layers if recipe.compiled else []:
        layer.compile(dynamic=True)
    try:
        yield
    finally:
        for module in adapters:
            module.cast_input_dtype_enabled = True
        for layer in mllm.text_model.layers:
            layer._compiled_call_impl = None


def set_trainable(mllm: VisionLanguageModel, recipe: Recipe, stage: str) -> dict[str, torch.nn.Parameter]:
    """Freeze all parameters except those that a stage trains. Return these by name, in float32.

    They are the adapter (or the whole text model), and the connector if it has no adapter. The warm-up trains the
    connector alone.
    """
    mllm.model.requires_grad_(False)
    chosen = {}
    for name, parameter in mllm.model.named_parameters():
        connector = ".connector." in name and "lora_" not in name and not recipe.adapter.on_connector
        text = "lora_" in name or (recipe.adapter.kind == "full" and (".text_model." in name or "lm_head" in name))
        if connector or (text and stage != "warmup"):
            parameter.data = parameter.data.float()  # small updates are lost in bfloat16
            chosen[name] = parameter.requires_grad_(True)
    return chosen
