"""Train a stage with Hugging Face's `Trainer`, with named losses, gradient caching and verified checkpoints."""

import hashlib
import json
import logging
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

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
from train.loop.trainable import add_adapter, dtype_of, set_trainable
from train.objectives.stage_model import StageModel, parts_of, processes
from train.recipe import Recipe, Stage

log = logging.getLogger(__name__)

PARAMETERS = "trained.safetensors"


class StageTrainer(Trainer):
    """Trains a `StageModel`; a step depends only on the seed and its number, also after resuming."""

    optimizer: Any

    def __init__(self, model: StageModel, collator: Collator, stage: Stage, folder: Path) -> None:
        self.stage_model, self.stage, self.folder = model, stage, folder
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
            dataloader_num_workers=2 if model.data.features is None and device.type == "cuda" else 0,
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

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return AdamW with learning rates for the connector and the rest; the temperature has no weight decay."""
        if self.optimizer is None:
            connector = [p for n, p in self.trained.items() if ".connector." in n]
            temperature = [p for n, p in self.trained.items() if n.startswith("temperature")]
            rest = [p for n, p in self.trained.items() if ".connector." not in n and not n.startswith("temperature")]
            groups = [
                {"params": connector, "lr": self.stage.connector_lr},
                {"params": rest, "lr": self.stage.adapter_lr},
                {"params": temperature, "lr": self.stage.adapter_lr, "weight_decay": 0.0},
            ]
            self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=self.args.weight_decay)
        return self.optimizer

    # One step -----------------------------------------------------------------------------------------------------

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Compute the loss and gradients of one pass; in chunks in stage I if the recipe sets `chunk`."""
        batch: Batch = inputs["batch"]
        inner, first_pass = self.stage_model, batch.photos[0]
        if inner.stage == "align" and inner.recipe.has_memory and batch.step % self.stage.save_every == 0:
            with self.accelerator.autocast():
                inner.refresh_memory()
        seed = hashlib.sha256(f"{inner.recipe.seed} {inner.stage} {batch.step} {first_pass}".encode()).digest()
        torch.manual_seed(int.from_bytes(seed[:7]))
        if inner.stage == "align" and inner.recipe.chunk:
            model.train()
            return self._step_in_chunks(model, batch.to(self.args.device))
        return super().training_step(model, inputs, num_items_in_batch)

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
            f"{self.stage_model.stage}: {what} is not finite at step {batch.step}; its photos: "
            f"{', '.join(batch.photos)}."
        )

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

    # Checkpoints --------------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log the named losses (of the first process) with the others."""
        super().log({**logs, **self.losses}, *args, **kwargs)
        self.losses = {}

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if self.args.should_save:  # called on every process
            save_parameters(self.trained, Path(output_dir or self.args.output_dir) / PARAMETERS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_parameters(self.trained, Path(resume_from_checkpoint) / PARAMETERS)

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

    def __init__(self, trainer: StageTrainer) -> None:
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
            photos = [str(self.trainer.stage_model.data.records[row].image) for row in rows]
            raise UserError(
                f"{self.trainer.stage_model.stage}: a gradient is not finite at step {state.global_step}; its photos: "
                f"{', '.join(photos)}."
            )

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict | None = None, **_: Any
    ) -> None:
        if not state.is_world_process_zero or not logs or "grad_norm" not in logs:
            return
        logs = {key: value for key, value in logs.items() if key not in ("epoch", "total_flos")}
        name = self.trainer.stage_model.stage
        with (self.trainer.folder / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps({"step": state.global_step, **logs}) + "\n")
        if state.global_step % 10 == 0 or state.global_step == state.max_steps:
            done, total = state.global_step - self.first, state.max_steps - self.first
            left = time_left(done, total, self.started)
            values = ", ".join(f"{key} {value:.4g}" for key, value in logs.items())
            log.info("%s: step %d/%d: %s; %s", name, state.global_step, state.max_steps, values, left)


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
    trainer = StageTrainer(model, collator, getattr(recipe, stage), scratch)
    checkpoint = last_complete(scratch)
    if checkpoint:
        log.info("%s: resumed from %s", stage, checkpoint)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.is_world_process_zero():
        save_parameters(parameters, finished)
        for checkpoint in scratch.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    trainer.accelerator.wait_for_everyone()
    mllm.model.eval()
    if recipe.gradient_checkpointing:
        mllm.text_model.activation_checkpointing_disable()
