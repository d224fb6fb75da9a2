"""Train the stages of the connector and the adapter, with gradient caching in stage I."""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from core.errors import UserError, first_line
from core.models.vlm import VisionLanguageModel
from train.data.batch import Batch
from train.data.collator import Collator
from train.data.training_set import TrainingSet
from train.loop.stage_checkpoint import load_parameters, remove_checkpoints, save_parameters
from train.loop.trainable import add_adapter, fast_layers, set_trainable
from train.loop.trainer import LossTrainer, run_trainer
from train.objectives.stage_model import StageModel, parts_of
from train.recipe import Recipe, Stage

log = logging.getLogger(__name__)


class StageTrainer(LossTrainer):
    """Trains a `StageModel`; in chunks in stage I if the recipe sets `chunk`."""

    def __init__(self, model: StageModel, collator: Collator, stage: Stage, folder: Path) -> None:
        self.stage_model, self.rates = model, stage
        super().__init__(model, collator, stage, folder)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return AdamW with learning rates for the connector and the rest; the temperature has no weight decay."""
        if self.optimizer is None:
            connector = [p for n, p in self.trained.items() if ".connector." in n]
            temperature = [p for n, p in self.trained.items() if n.startswith("temperature")]
            rest = [p for n, p in self.trained.items() if ".connector." not in n and not n.startswith("temperature")]
            groups = [
                {"params": connector, "lr": self.rates.connector_lr},
                {"params": rest, "lr": self.rates.adapter_lr},
                {"params": temperature, "lr": self.rates.adapter_lr, "weight_decay": 0.0},
            ]
            self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=self.args.weight_decay)
        return self.optimizer

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Refresh the memory bank where it is due, then compute the loss and gradients of one pass."""
        inner, step = self.stage_model, inputs["batch"].step
        contrasts = inputs["batch"].descriptions is not None
        if contrasts and inner.recipe.has_memory and step % self.stage.save_every == 0:
            with self.accelerator.autocast():
                inner.refresh_memory()
        return super().training_step(model, inputs, num_items_in_batch)

    def pass_over(self, model: torch.nn.Module, batch: Batch, num_items_in_batch: Any) -> Tensor:
        """Compute a pass in chunks if the recipe says so in stage I."""
        if self.stage_model.stage == "align" and self.stage_model.recipe.chunk:
            model.train()
            return self._step_in_chunks(model, batch)
        return super().pass_over(model, batch, num_items_in_batch)

    def _step_in_chunks(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """Compute exact gradients of a batch in the memory of a chunk by gradient caching (Gao et al. 2021).

        The embeddings are computed without gradients, then the loss and its gradient by each embedding, then every chunk
        again with that gradient. Dropout is the same in both passes.
        """
        inner = self.stage_model
        parts = parts_of(batch, inner.recipe.chunk)
        seeds = torch.randint(2**62, (len(parts),)).tolist()
        rows = []
        with torch.no_grad(), self.accelerator.autocast():
            for part, seed in zip(parts, seeds, strict=True):
                torch.manual_seed(seed)
                rows.append(inner.encode(batch, part))
        leaves = torch.cat(rows).requires_grad_()
        temperature = inner.temperature().detach().requires_grad_()
        alignment = inner.alignment(batch, leaves, temperature)
        self._total(batch, alignment).backward()
        gradients = torch.split(leaves.grad, [len(r) for r in rows])  # type: ignore[arg-type]
        value = torch.stack(list(alignment.values())).sum().detach()
        for i, (part, seed, gradient) in enumerate(zip(parts, seeds, gradients, strict=True)):
            last = i == len(parts) - 1
            torch.manual_seed(seed)
            with nullcontext() if last else self.accelerator.no_sync(model):
                losses = model(batch, part, gradient)
                share = losses.pop("alignment")
                if last and inner.temperature.logarithm.requires_grad:
                    share = share + temperature.grad * inner.temperature()
                if losses:
                    direct = self._total(batch, losses)
                    value = value + direct.detach()
                    share = share + direct
                self.accelerator.backward(share)
        return value


def start_from(mllm: VisionLanguageModel, recipe: Recipe) -> None:
    """Load the connector and the adapter of the recipe's `start_file`. Raises `UserError` if they do not fit."""
    add_adapter(mllm, recipe)
    path = Path(recipe.start_file)
    try:
        load_parameters(set_trainable(mllm, recipe, "instruct"), path)
    except (OSError, SafetensorError, UserError) as error:
        raise UserError(
            f"{path} does not hold the connector and the adapter of a stage of this recipe: {first_line(error)}"
        ) from error


def run_stage(stage: str, mllm: VisionLanguageModel, data: TrainingSet, recipe: Recipe, folder: Path) -> None:
    """Train `mllm` in one stage, in place; load a stage that is finished in `folder`, and resume an interrupted one.

    Raises `UserError` on a loss or a gradient that is not finite, naming the photos and saving nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if stage != "warmup":
        add_adapter(mllm, recipe)
    parameters = set_trainable(mllm, recipe, stage)
    finished = folder / f"{stage}.safetensors"
    if finished.exists():
        load_parameters(parameters, finished)
        return
    if recipe.gradient_checkpointing:
        mllm.text_model.activation_checkpointing_enable({"use_reentrant": False})
    scratch = folder / stage
    model, collator = StageModel(stage, mllm, data, recipe), Collator(stage, mllm, data, recipe)
    trainer = StageTrainer(model, collator, recipe.stage(stage, len(data.records)), scratch)
    with fast_layers(mllm, recipe):
        run_trainer(trainer)
    if trainer.is_world_process_zero():
        save_parameters(parameters, finished)
        remove_checkpoints(scratch)
    trainer.accelerator.wait_for_everyone()
    mllm.model.eval()
    if recipe.gradient_checkpointing:
        mllm.text_model.activation_checkpointing_disable()
