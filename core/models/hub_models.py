"""Open any multi-modal or contrastive model of the hub from its folder or its id, by what its config.json says.

Weights are safetensors, and no code of a repository is ever run.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from core.errors import UserError, first_line
from core.models.base_models import locate
from core.models.hub_files import check_size, check_weights, read_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from core.models.contrastive import ContrastiveModel
    from core.models.general import GeneralModel

TRIAL_PHOTO = (64, 64)
CONTRASTIVE = ("clip", "metaclip_2", "siglip", "siglip2")
PACKAGES = ("torchvision", "num2words", "timm", "sentencepiece", "tiktoken", "bitsandbytes")


def open_question_model(
    source: str, revision: str | None = None, folder: Path | None = None
) -> "GeneralModel | ContrastiveModel":
    """Open a model that answers questions about photos, from a folder or a hub repository at a revision.

    `folder` is where it is, if that is known. Raises `UserError` if it cannot be had, is of no family that transformers
    knows, needs code of its repository or a package that is not installed, or is damaged.
    """
    folder = folder or locate(source, revision)
    settings = read_config(source, folder)
    family = settings.get("model_type")
    name = Path(source).name
    check_weights(source, folder)
    config = _known_config(source, folder, family, "auto_map" in settings)
    from transformers import AutoModel, AutoModelForImageTextToText

    from core.models.contrastive import ContrastiveModel
    from core.models.general import GeneralModel

    contrastive = family in CONTRASTIVE
    model, processor = _load(source, folder, config, AutoModel if contrastive else AutoModelForImageTextToText)
    opened = ContrastiveModel(name, model, processor) if contrastive else GeneralModel(name, model, processor)
    _try_out(source, opened)
    return opened


def _try_out(source: str, model: "GeneralModel | ContrastiveModel") -> None:
    """Ask a model about a grey photo. Raises `UserError` if its files do not fit together: then it fails for all photos.

    Settings of a token that there is not, or of numbers that the weights are not in, are met only when it is used.
    """
    from core.models.general import GeneralModel

    photo = Image.new("RGB", TRIAL_PHOTO, "grey")
    try:
        model.name_scores(photo, "What is it?", ["cat", "dog"])
        if isinstance(model, GeneralModel):
            model.ask(photo, "What is it?", 2)
    except UserError:
        raise
    except Exception as error:  # whatever transformers meets in files of others
        raise UserError(f"{source} cannot answer: its files do not fit together ({first_line(error)}).") from error


def _known_config(source: str, folder: Path, family: str | None, own_code: bool) -> "PreTrainedConfig":
    """Return the configuration. Raises `UserError` for a family that neither transformers nor we have a class for."""
    from transformers import (
        CONFIG_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoConfig,
        AutoModelForImageTextToText,
    )

    from core.models.mobilevlm import MobileVlm, MobileVlmConfig

    AutoConfig.register(MobileVlmConfig.model_type, MobileVlmConfig, exist_ok=True)
    AutoModelForImageTextToText.register(MobileVlmConfig, MobileVlm, exist_ok=True)
    if own_code and family not in CONFIG_MAPPING:
        raise UserError(
            f"{source} needs code of its own repository, which is never run here: serve it elsewhere and use it as an "
            "endpoint."
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise UserError(f"{source} cannot be loaded: its config.json does not fit ({first_line(error)}).") from error
    if family not in CONTRASTIVE and type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise UserError(
            f"{source} is a {family} model, which answers no questions about photos: choose one that transformers "
            "opens for image-text-to-text, or a CLIP or SigLIP."
        )
    return config


def _load(source: str, folder: Path, config: "PreTrainedConfig", auto: Any) -> tuple[Any, Any]:
    """Return model and processor. Raises `UserError` with the package to install, or with what does not fit."""
    import torch

    from core.models.devices import default_device, fast_dtype
    from core.models.photo_prompts import open_processor

    device = default_device()
    try:
        with torch.device("meta"):
            check_size(source, folder, auto.from_config(config, trust_remote_code=False))
        processor = open_processor(folder, config)
        model, report = auto.from_pretrained(
            folder,
            config=config,
            dtype=fast_dtype(device),
            device_map={"": device},
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except UserError:
        raise
    except torch.OutOfMemoryError as error:
        raise UserError(f"The memory is not enough to load {source}: choose a smaller model.") from error
    except Exception as error:  # whatever its files make the classes of transformers raise
        package = missing_package(error)
        if package:
            raise UserError(
                f"{source} needs the package {package}, which is not installed: run `.venv/bin/pip install {package}`."
            ) from error
        raise UserError(f"{source} cannot be loaded: {first_line(error)}.") from error
    if report["missing_keys"]:
        missing = min(report["missing_keys"])
        raise UserError(f"{source} is incomplete: its weights lack {missing}; download it again.")
    floats = (weight for weight in model.parameters() if weight.dtype in (torch.float32, torch.float16, torch.bfloat16))
    if not all(weight.isfinite().all() for weight in floats):
        raise UserError(f"{source} is damaged: some of its weights are not numbers; download it again.")
    return model.eval().requires_grad_(False), processor


def missing_package(error: Exception) -> str | None:
    """Return the package that an error asks for and that is not installed, or None."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return error.name.partition(".")[0]
    text = str(error).lower() if isinstance(error, ImportError | ValueError) else ""
    asked = [package for package in PACKAGES if package in text]
    return next((package for package in asked if importlib.util.find_spec(package) is None), None)
