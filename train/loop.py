"""One training loop for every stage: seeded by step, checkpointed atomically, resumed exactly."""

import json
import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.devices import fast_dtype
from core.errors import UserError
from core.mllm import Mllm
from train.recipe import Stage

log = logging.getLogger(__name__)

CHECKPOINT_EVERY = 25  # steps


def trainable(mllm: Mllm) -> dict[str, torch.nn.Parameter]:
    """The parameters that training may change: the connector and, where there is one, the adapter."""
    return {
        name: parameter for name, parameter in mllm.model.named_parameters() if ".connector." in name or ".lora_" in name
    }


def set_trainable(mllm: Mllm) -> dict[str, torch.nn.Parameter]:
    """Freeze everything but the connector and the adapter, which are kept in float32."""
    parameters = trainable(mllm)
    mllm.model.requires_grad_(False)
    for parameter in parameters.values():
        parameter.data = parameter.data.float()  # small updates are lost in bfloat16
        parameter.requires_grad_(True)
    return parameters


@contextmanager
def autocast(mllm: Mllm) -> Iterator[None]:
    """bfloat16 arithmetic where it is fast, plain float32 elsewhere."""
    dtype = fast_dtype(mllm.device)
    with torch.autocast(mllm.device.type, dtype) if dtype != torch.float32 else nullcontext():
        yield


@contextmanager
def _atomic(path: Path) -> Iterator[Path]:
    scratch = path.with_name(f".{path.name}.tmp")
    yield scratch
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    scratch.replace(path)


def run_stage(
    name: str,
    mllm: Mllm,
    stage: Stage,
    seed: int,
    folder: Path,
    step_losses: Callable[[random.Random], tuple[dict[str, Tensor], list[str]]],
    refresh: Callable[[], None] | None = None,
) -> None:
    """Train `mllm` in place; on return its weights are those after `stage.steps` steps.

    `step_losses(rng)` draws a batch with `rng` and returns its named losses (their sum is minimised) and the batch's
    records; `refresh` renews what it keeps between steps, at every checkpoint. What a step draws depends on the seed,
    the stage and the step's number alone, so a run that was cut off continues from `folder` as if it had not been.
    Raises `UserError` on a loss or a gradient that is not finite, naming the records and saving nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = set_trainable(mllm)
    finished = folder / f"{name}.safetensors"
    if finished.exists():
        _load(parameters, finished)
        return
    adapter = [p for n, p in parameters.items() if ".lora_" in n]
    connector = [p for n, p in parameters.items() if ".connector." in n]
    groups = [{"params": connector, "lr": stage.connector_lr}] + [{"params": adapter, "lr": stage.adapter_lr}] * bool(
        adapter
    )
    optimizer = torch.optim.AdamW(groups, weight_decay=stage.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, stage))
    state_path = folder / f"{name}.resume.pt"
    first = 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        with torch.no_grad():
            for key, parameter in parameters.items():
                parameter.copy_(state["parameters"][key])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
        log.info("%s: resumed at step %d", name, first)

    mllm.model.train()
    mllm.model.model.vision_model.eval()
    started = time.monotonic()
    with (folder / f"{name}.jsonl").open("a") as history:
        for step in range(first, stage.steps):
            torch.manual_seed(seed * 1_000_003 + step)
            if refresh and step % CHECKPOINT_EVERY == 0:
                with autocast(mllm):
                    refresh()
            with autocast(mllm):
                losses, records = step_losses(random.Random(f"{seed} {name} {step}"))
            total = torch.stack(list(losses.values())).sum()
            if not total.isfinite():
                raise UserError(f"{name}: the loss is not finite at step {step}; its photos: {', '.join(records)}.")
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            if not norm.isfinite():
                raise UserError(f"{name}: a gradient is not finite at step {step}; its photos: {', '.join(records)}.")
            optimizer.step()
            schedule.step()
            values = {key: round(value.item(), 4) for key, value in losses.items()}
            history.write(json.dumps({"step": step, **values}) + "\n")
            history.flush()
            done = step + 1
            if done % 10 == 0 or done == stage.steps:
                left = (time.monotonic() - started) / (done - first) * (stage.steps - done)
                log.info("%s: step %d/%d %s, %.0f min left", name, done, stage.steps, values, left / 60)
            if done % CHECKPOINT_EVERY == 0 and done < stage.steps:
                state = {
                    "parameters": {key: p.detach() for key, p in parameters.items()},
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "step": done,
                }
                with _atomic(state_path) as scratch:
                    torch.save(state, scratch)
    with _atomic(finished) as scratch:
        save_file({key: p.detach().contiguous() for key, p in parameters.items()}, scratch)
    state_path.unlink(missing_ok=True)
    mllm.model.eval()


def _load(parameters: dict[str, torch.nn.Parameter], path: Path) -> None:
    stored = load_file(path)
    if stored.keys() != parameters.keys():
        raise UserError(f"{path} belongs to another model: delete it to train that stage again.")
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(stored[key])


def _rate(step: int, stage: Stage) -> float:
    if step < stage.warmup_steps:
        return (step + 1) / stage.warmup_steps
    progress = (step - stage.warmup_steps) / max(1, stage.steps - stage.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
