"""Train with Hugging Face's `Trainer`, with named losses, logs and verified checkpoints."""

import hashlib
import json
import logging
import os
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from core.errors import UserError
from core.models.vlm import VisionLanguageModel
from core.progress import time_left
from train.data.batch import Batch
from train.data.collator import Collator
from train.data.sampler import StepIndexDataset
from train.data.training_set import TrainingSet
from train.loop.stage_checkpoint import last_complete, load_parameters, mark_complete, save_parameters
from train.loop.trainable import dtype_of
from train.objectives.stage_model import processes
from train.recipe import Optimisation, Recipe

log = logging.getLogger(__name__)

PARAMETERS = "trained.safetensors"


class LossModel(Protocol):
    """What is trained: a module whose `forward` returns the named losses of a batch."""

    stage: str
    mllm: VisionLanguageModel
    data: TrainingSet
    recipe: Recipe

    def saved_tensors(self) -> dict[str, Tensor]:
        """Return everything that changes in training, by name."""


class LossTrainer(Trainer):
    """Trains a `LossModel`; a step depends only on the seed and its number, also after resuming."""

    optimizer: Any

    def __init__(self, model: LossModel, collator: Collator, stage: Optimisation, folder: Path) -> None:
        assert isinstance(model, torch.nn.Module)
        self.loss_model, self.stage, self.folder = model, stage, folder
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.losses: dict[str, float] = {}
        steps = stage.steps_for(len(model.data.records))
        count = processes().num_processes
        share, left = divmod(stage.photos, count)
        at_once = stage.photos_at_once or share
        if left or share % at_once:
            raise UserError(
                f"{stage.photos} photos per step cannot be shared evenly by {count} processes, {at_once} at once."
            )
        device = model.mllm.device
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=share // at_once,
            weight_decay=stage.weight_decay,
            lr_scheduler_type=stage.schedule,
            warmup_steps=min(stage.warmup_steps, steps // 2),
            max_grad_norm=1.0,
            bf16=dtype_of(model.recipe) == torch.bfloat16,
            use_cpu=device.type == "cpu",
            seed=model.recipe.seed,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_steps=stage.save_every,
            save_total_limit=2,
            report_to=["tensorboard"],
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_drop_last=True,
            dataloader_num_workers=_workers() if model.data.features is None and device.type == "cuda" else 0,
            ddp_find_unused_parameters=False,
        )
        arguments._n_gpu = min(arguments.n_gpu, 1)  # one process per GPU
        super().__init__(
            model=model,
            args=arguments,
            data_collator=collator,
            train_dataset=StepIndexDataset(steps, stage.photos),
            callbacks=[_ProgressLog(self)],
        )
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self.train_dataset)  # the collator's sampler shuffles

    # One step -----------------------------------------------------------------------------------------------------

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Compute the loss and gradients of one pass, with random numbers that depend on nothing but the batch."""
        batch: Batch = inputs["batch"].to(self.args.device, non_blocking=True)
        key = f"{self.loss_model.recipe.seed} {self.loss_model.stage} {batch.step} {batch.photos[0]}"
        torch.manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:7]))
        return self.pass_over(model, batch, num_items_in_batch)

    def pass_over(self, model: torch.nn.Module, batch: Batch, num_items_in_batch: Any) -> Tensor:
        """Compute the loss and gradients of a batch that is on the device, after the random numbers are seeded."""
        return super().training_step(model, {"batch": batch}, num_items_in_batch)

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], **_: Any) -> Tensor:
        """Return the sum of the named losses. Raises `UserError` if it is not finite, naming the photos."""
        return self._total(inputs["batch"], model(inputs["batch"]))

    def _total(self, batch: Batch, losses: dict[str, Tensor]) -> Tensor:
        total = torch.stack(list(losses.values())).sum()
        if not total.isfinite():
            self._stop_at("the loss", batch)
        for name, value in losses.items():
            share = value.item() / self.args.gradient_accumulation_steps
            self.losses[name] = self.losses.get(name, 0.0) + share
        return total

    def _stop_at(self, what: str, batch: Batch) -> None:
        raise UserError(
            f"{self.loss_model.stage}: {what} is not finite at step {batch.step}; its photos: {', '.join(batch.photos)}."
        )

    # Checkpoints --------------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log the named losses (of the first process) with the others."""
        super().log({**logs, **self.losses}, *args, **kwargs)
        self.losses = {}

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if self.args.should_save:  # called on every process
            save_parameters(self.loss_model.saved_tensors(), Path(output_dir or self.args.output_dir) / PARAMETERS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_parameters(self.loss_model.saved_tensors(), Path(resume_from_checkpoint) / PARAMETERS)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise UserError(
                f"The checkpoint of step {self.state.global_step} cannot be written to {self.folder} ({error}): make "
                "room there and start again, to resume from the last complete checkpoint."
            ) from error
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_complete(self.folder / f"checkpoint-{self.state.global_step}")


class _ProgressLog(TrainerCallback):
    """Writes the JSONL log and the progress, and stops the training at gradients that are not finite."""

    def __init__(self, trainer: LossTrainer) -> None:
        self.trainer = trainer
        self.started, self.first = time.monotonic(), 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.started, self.first = time.monotonic(), state.global_step

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        gradients = [p.grad for p in self.trainer.trained.values() if p.grad is not None]
        if not torch.nn.utils.get_total_norm(gradients).isfinite():
            rows = self.trainer.data_collator.rows(state.global_step)
            photos = [str(self.trainer.loss_model.data.records[row].image) for row in rows]
            raise UserError(
                f"{self.trainer.loss_model.stage}: a gradient is not finite at step {state.global_step}; its photos: "
                f"{', '.join(photos)}."
            )

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict | None = None, **_: Any
    ) -> None:
        if not state.is_world_process_zero or not logs or "grad_norm" not in logs:
            return
        logs = {key: value for key, value in logs.items() if key not in ("epoch", "total_flos")}
        name = self.trainer.loss_model.stage
        with (self.trainer.folder / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps({"step": state.global_step, **logs}) + "\n")
        if state.global_step % 10 == 0 or state.global_step == state.max_steps:
            done, total = state.global_step - self.first, state.max_steps - self.first
            left = time_left(done, total, self.started)
            values = ", ".join(f"{key} {value:.4g}" for key, value in logs.items())
            log.info("%s: step %d/%d: %s; %s", name, state.global_step, state.max_steps, values, left)


def _workers() -> int:
    """Return the number of processes that build batches beside a GPU."""
    return max(1, min(12, (os.cpu_count() or 1) - 2))


def run_trainer(trainer: LossTrainer) -> None:
    """Train from the last complete checkpoint of an interrupted run, or from the start."""
    checkpoint = last_complete(trainer.folder)
    if checkpoint:
        log.info("%s: resumed from %s", trainer.loss_model.stage, checkpoint)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
