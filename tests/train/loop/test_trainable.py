"""What a recipe trains of a model."""

import pytest
import torch
from small_training import plain_recipe

from core.models.base_models import open_base
from train.loop.trainable import add_adapter, set_trainable
from train.recipe import Adapter


@pytest.mark.parametrize(
    ("adapter", "stage", "trained"),
    [
        (Adapter(on_connector=True), "align", {"connector lora", "text lora"}),
        (Adapter(kind="dora", on_connector=False), "align", {"connector", "text lora"}),
        (Adapter(kind="full", on_connector=False), "align", {"connector", "text"}),
        (Adapter(on_connector=False), "warmup", {"connector"}),
    ],
)
def test_what_is_trained_is_what_the_recipe_says(reduced, reduced_idefics2, adapter, stage, trained):
    recipe = plain_recipe(reduced_idefics2).changed(adapter=adapter)
    mllm = reduced()
    add_adapter(mllm, recipe)
    kinds = set()
    for name in set_trainable(mllm, recipe, stage):
        place = "connector" if "connector" in name else "text" if "text_model" in name or "lm_head" in name else name
        kinds.add(f"{place} lora" if "lora_" in name else place)
    assert kinds == trained
    assert any("magnitude" in name for name, _ in mllm.model.named_parameters()) == (adapter.kind == "dora")


def test_all_weights_are_trained_on_copies_of_the_shared_ones(recipe):
    other, mllm = open_base("tiny", dtype=torch.float32), open_base("tiny", dtype=torch.float32)
    add_adapter(mllm, recipe.changed(adapter=Adapter(kind="full")))
    trained = set_trainable(mllm, recipe.changed(adapter=Adapter(kind="full")), "align")
    shared = {p.data_ptr() for p in other.model.parameters()}
    assert not [name for name, p in trained.items() if p.data_ptr() in shared]
    assert mllm.text_model is mllm.model.model.text_model
