"""The losses of the stages: what they reach, and that they fall."""

import pytest
import torch
from small_training import batch_of, plain_recipe, total

from train.loop.trainable import set_trainable
from train.objectives.stage_model import StageModel, parts_of


@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_gradients_reach_the_connector_and_the_adapter_alone(fresh, data, stage, recipe):
    mllm = fresh()
    for name, parameter in set_trainable(mllm, recipe, stage).items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    model = StageModel(stage, mllm, data, recipe)
    total(model(batch_of(stage, mllm, data, recipe))).backward()
    reached = {n for n, p in mllm.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    projections = ["self_attn." + x for x in ("q_proj", "k_proj", "v_proj", "o_proj")]
    projections += ["mlp." + x for x in ("gate_proj", "up_proj", "down_proj")]
    assert {name for name in reached if "lora" in name} == {
        f"model.text_model.layers.{layer}.{projection}.lora_{half}.default.weight"
        for layer in range(mllm.model.config.text_config.num_hidden_layers)
        for projection in projections
        for half in "AB"
    }
    connector = {f"model.connector.{name}" for name, _ in mllm.model.model.connector.named_parameters()}
    assert {name for name in reached if "lora" not in name} == connector


@pytest.mark.parametrize("stage", ["warmup", "align", "instruct"])
def test_losses_fall(fresh, data, stage, recipe):
    mllm = fresh()
    parameters = set_trainable(mllm, recipe, stage)
    model, batch = StageModel(stage, mllm, data, recipe), batch_of(stage, mllm, data, recipe)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3)
    seen = []
    for _ in range(6):
        loss = total(model(batch))
        seen.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert seen[-1] < seen[0]


def test_texts_encoded_once_have_the_loss_of_texts_encoded_for_every_photo(reduced, reduced_idefics2, pictures):
    recipe = plain_recipe(reduced_idefics2)
    mllm = reduced()
    model = StageModel("align", mllm, pictures, recipe).eval()
    once = batch_of("align", mllm, pictures, recipe)
    often = batch_of("align", mllm, pictures, recipe, distinct=False)
    assert len(once.texts) < len(often.texts) / 2
    with torch.no_grad():
        first, second = model(once), model(often)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.item() == pytest.approx(second[name].item(), abs=1e-4)


def test_variants_have_their_losses_and_questions(fresh, data, recipe):
    mllm = fresh()
    full, alone, plain = (recipe.changed(variant=v) for v in ("full", "object-category", "finetune"))
    aligned = StageModel("align", mllm, data, full)(batch_of("align", mllm, data, full))
    expected = {"description", "object_attribute", "attribute_category", "category_category", "object_category"}
    assert set(aligned) == expected | {"naming", "distance"}
    aligned = StageModel("align", mllm, data, alone)(batch_of("align", mllm, data, alone))
    assert set(aligned) == {"object_category", "naming", "distance"}
    kinds = [[(q.photo, q.kind) for q in batch_of("instruct", mllm, data, r).questions] for r in (full, alone, plain)]
    assert [k for k in kinds[0] if k[1] != "description"] == kinds[1] == kinds[2]
    assert any(kind == "description" for _, kind in kinds[0])
    assert [tuple(r.stages()) for r in (full, plain)] == [("warmup", "align", "instruct"), ("warmup", "instruct")]


def test_parts_cover_a_batch_and_end_with_photos(reduced, reduced_idefics2, pictures):
    batch = batch_of("align", reduced(), pictures, plain_recipe(reduced_idefics2))
    parts = parts_of(batch, 4)
    assert parts[-1].kind == "photos"
    for kind, count in (("texts", len(batch.texts)), ("photos", len(batch.photos))):
        assert [i for p in parts if p.kind == kind for i in range(p.rows.start, p.rows.stop)] == list(range(count))
    asked = [q for p in parts if p.kind == "photos" for q in batch.photo_part(p.rows).questions]
    assert len(asked) == len(batch.questions) > 0


def test_the_memory_holds_the_descriptions_that_the_last_batch_encoded(fresh, data, recipe):
    mllm = fresh()
    model = StageModel("align", mllm, data, recipe).eval()
    batch = batch_of("align", mllm, data, recipe)
    model.refresh_memory()
    before = model.memory.clone()
    model(batch)
    assert not model.memory.requires_grad
    encoded = mllm.embed([batch.texts[i] for i in batch.descriptions.tolist()])
    assert torch.allclose(model.memory[batch.categories], encoded, atol=1e-4)
    changed = (model.memory - before).abs().amax(dim=1) > 1e-4  # other wordings of this batch's descriptions
    assert set(changed.nonzero().flatten().tolist()) <= set(batch.categories.tolist())
