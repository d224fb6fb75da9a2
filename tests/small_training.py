"""A recipe of a few steps, and what tests do with the batches and losses of one."""

from contextlib import contextmanager

import pytest
import torch

from train.data.collator import Collator
from train.recipe import Adapter, EncoderStage, Recipe, read_preset

STAGE = {"steps": 4, "photos": 6, "connector_lr": 1e-3, "adapter_lr": 1e-3, "warmup_steps": 1, "save_every": 2}


def small_recipe(base, **changes) -> Recipe:
    """The preset of the embedded model in float32 for `base`, with few steps, photos and negatives."""
    recipe = read_preset("tiny-cpu", base=str(base), precision="float32")
    stages = {name: getattr(recipe, name).changed(**STAGE) for name in ("warmup", "align", "instruct")}
    sizes = {"views": 2, "groups_per_batch": 2, "hard_negatives": 2}
    shares = dict.fromkeys(("described_share", "closed_share", "rehearsed_share"), 0.34)
    return recipe.changed(**{**stages, **sizes, **shares, **changes})


def plain_recipe(base, **changes) -> Recipe:
    """The same without cached features, warm-up and memory."""
    fields = {"views": 0, "feature_dropout": 0.0, "warmup": None, "anchor": False}
    fields |= {"adapter": Adapter(rank=2, alpha=4, dropout=0.0), "negatives_from_memory": False}
    return small_recipe(base, **{**fields, **changes})


def encoder_recipe(**changes) -> Recipe:
    """The small recipe for the embedded base, with fresh views and, before, a few steps of its encoder at 64 pixels."""
    stage = {"steps": 4, "photos": 6, "sizes": [64], "size": 64, "warmup_steps": 1, "save_every": 2}
    return small_recipe("tiny", views=0, augmented=True, encoder=EncoderStage(**{**stage, **changes}))


def batch_of(stage, mllm, data, recipe, step=0, **options):
    """The whole batch of a step."""
    indices = [(step, position) for position in range(getattr(recipe, stage).photos)]
    return Collator(stage, mllm, data, recipe, **options)(indices)["batch"]


@contextmanager
def cut_off(monkeypatch, step):
    """A training that is killed when it asks for the batch of a step."""
    call = Collator.__call__

    def killed(self, slots):
        if slots[0][0] == step:
            raise KeyboardInterrupt
        return call(self, slots)

    with monkeypatch.context() as patch:
        patch.setattr(Collator, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            yield


def total(losses) -> torch.Tensor:
    """The sum of named losses."""
    return torch.stack(list(losses.values())).sum()


def gradients(model) -> dict[str, torch.Tensor]:
    """Copies of the gradients by the name of their parameter."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
