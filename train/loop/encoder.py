"""Fine-tune the embedded vision encoder, before the stages that train on its features."""

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from core.errors import UserError, first_line
from core.models.embedded import EMBEDDED
from core.models.vision_encoder import Encoder, save_encoder, use_encoder
from core.models.vlm import VisionLanguageModel
from train.data.collator import Collator
from train.data.decoded_photos import decoded_photos
from train.data.training_set import TrainingSet
from train.data.training_split import TrainingSplit
from train.loop.stage_checkpoint import last_complete, remove_checkpoints
from train.loop.trainer import LossTrainer, run_trainer
from train.objectives.encoder_model import EncoderModel
from train.objectives.stage_model import processes
from train.recipe import Recipe

log = logging.getLogger(__name__)

FILE = "encoder.safetensors"


class EncoderTrainer(LossTrainer):
    """Trains an `EncoderModel`, with a learning rate for every layer."""

    def __init__(self, model: EncoderModel, collator: Collator, folder: Path) -> None:
        assert model.recipe.encoder is not None
        super().__init__(model, collator, model.recipe.encoder, folder)
        self.encoder_model = model
        self.add_callback(_AverageWeights(model))

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return AdamW with a learning rate for every layer, and weight decay on matrices and kernels alone."""
        if self.optimizer is None:
            groups: list[dict[str, Any]] = []
            for parameters, lr in self.encoder_model.parameter_groups():
                groups.append({"params": [p for p in parameters if p.ndim > 1], "lr": lr})
                groups.append({"params": [p for p in parameters if p.ndim <= 1], "lr": lr, "weight_decay": 0.0})
            self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=self.args.weight_decay)
        return self.optimizer


class _AverageWeights(TrainerCallback):
    def __init__(self, model: EncoderModel) -> None:
        self.model = model

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.model.update_average(state.global_step)


def _check_base(mllm: VisionLanguageModel) -> None:
    if mllm.base != EMBEDDED:
        raise UserError(f"The vision encoder of {mllm.base} stays as it is: leave encoder out of the recipe.")


def run_encoder_stage(mllm: VisionLanguageModel, split: TrainingSplit, recipe: Recipe, folder: Path) -> Encoder:
    """Fine-tune the model's vision encoder, in place; load one that is finished in `folder`, resume an interrupted run.

    Raises `UserError` for a base whose encoder stays frozen.
    """
    _check_base(mllm)
    finished = folder / FILE
    if not finished.exists():
        photos = decoded_photos(split.training)
        data = TrainingSet.build(split.training, None, split.descriptions, photos=photos)
        model, collator = EncoderModel(mllm, data, recipe), Collator("encoder", mllm, data, recipe)
        trainer = EncoderTrainer(model, collator, folder / "encoder")
        if last_complete(folder / "encoder") is None:
            model.initialise_classifier()
        run_trainer(trainer)
        if processes().is_main_process:
            save_encoder(finished, model.finished(_held_out(data, split)))
            remove_checkpoints(folder / "encoder")
        trainer.accelerator.wait_for_everyone()
    return use_encoder(mllm, finished)


def load_encoder(mllm: VisionLanguageModel, path: Path) -> Encoder:
    """Give a model the vision encoder of a file. Raises `UserError` if the file or the base cannot be used for that."""
    _check_base(mllm)
    try:
        return use_encoder(mllm, path)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"{path} is not the file of a fine-tuned vision encoder: {first_line(error)}.") from error


def _held_out(data: TrainingSet, split: TrainingSplit) -> TrainingSet:
    """Return the held-out photos, with the categories of the training photos."""
    position = {category.name: i for i, category in enumerate(data.categories)}
    records = [record for record in split.held_out if record.category in position]
    members: list[list[int]] = [[] for _ in data.categories]
    for row, record in enumerate(records):
        members[position[record.category]].append(row)
    photos = decoded_photos(records) if records else None
    return TrainingSet(records, None, data.categories, data.nearest_categories, members, photos=photos)
