"""The losses of the stages: what they reach, and that they fall."""

from dataclasses import replace

import pytest
import torch
from small_training import batch_of, encoder_recipe, plain_recipe, total

from core.errors import UserError
from core.models.vision_encoder import Encoder
from train.loop.trainable import set_trainable
from train.objectives.stage_model import StageModel, initialise_connector, parts_of


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


def test_fresh_views_reach_the_connector_with_some_of_their_patches(reduced_tiny, decoded, monkeypatch):
    mllm, recipe = reduced_tiny(), encoder_recipe().changed(patch_dropout=0.5, mixed_share=0.0)
    initialise_connector(mllm, seed=0)
    model, seen, connect = StageModel("warmup", mllm, decoded, recipe), [], mllm.image_tokens
    monkeypatch.setattr(mllm, "image_tokens", lambda vision: seen.append(vision.states) or connect(vision))
    batch = batch_of("warmup", mllm, decoded, recipe)
    assert batch.is_photos
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        assert set(model(batch)) == {"naming", "distance"}
    assert [states.shape for states in seen] == [(6, 2, 1280)] * 3  # half of the 2 x 2 patches of 64 pixels
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_some_photos_of_the_warm_up_are_mixed_from_two(reduced_tiny, decoded):
    mllm, recipe = reduced_tiny(), encoder_recipe().changed(mixed_share=1.0)
    initialise_connector(mllm, seed=0)
    model = StageModel("warmup", mllm, decoded, recipe)
    assert set(model(batch_of("warmup", mllm, decoded, recipe))) == {"mixed_naming"}


def test_the_fine_tuned_encoder_answers_in_place_of_labels(reduced_tiny, decoded):
    mllm, recipe = reduced_tiny(), encoder_recipe().changed(mixed_share=0.0, encoder_answers=1.0)
    initialise_connector(mllm, seed=0)
    with pytest.raises(UserError, match="fine-tuned on other categories: leave encoder_answers out"):
        StageModel("warmup", mllm, decoded, recipe)
    count = len(decoded.categories)
    classifier = {"weight": torch.zeros(count, 1280), "bias": torch.zeros(count).index_fill(0, torch.tensor(1), 9.0)}
    answering = replace(decoded, encoder=Encoder({}, classifier, torch.zeros(count, 1280), {}))
    model, batch = StageModel("warmup", mllm, answering, recipe), batch_of("warmup", mllm, answering, recipe)
    targets = model._encode_photos(batch).targets
    assert torch.allclose(targets.sum(dim=1), torch.ones(len(targets)), atol=1e-5)
    assert set(targets.argmax(dim=1).tolist()) == {1}
    labels = StageModel("warmup", mllm, decoded, recipe.changed(encoder_answers=0.0))._encode_photos(batch).targets
    assert labels.argmax(dim=1).equal(batch.categories)


def test_weights_of_stage_ii_are_those_of_the_recipe(fresh, data, recipe):
    mllm = fresh()

    def losses(**changes):
        changed = recipe.changed(**changes)
        with torch.no_grad():
            return StageModel("instruct", mllm, data, changed).eval()(batch_of("instruct", mllm, data, changed))

    plain = losses()
    assert set(plain) == {"open", "closed", "description"}
    assert losses(open_weight=0.5)["open"].item() == pytest.approx(plain["open"].item() / 2, rel=1e-5)
    assert losses(closed_letter_weight=4.0)["closed"] > 1.5 * plain["closed"]
    anchored = losses(instruct_anchor=0.3)
    assert set(anchored) - set(plain) == {"naming", "distance"}
    doubled = losses(instruct_anchor=0.6)
    for name in ("naming", "distance"):
        assert doubled[name].item() == pytest.approx(2 * anchored[name].item(), rel=1e-5)


def test_some_photos_of_stage_ii_keep_the_losses_of_stage_i(fresh, data, recipe):
    mllm = fresh()
    kept = recipe.changed(aligned_share=0.5, aligned_every=2)
    assert batch_of("instruct", mllm, data, kept, step=1).descriptions is None
    model, batch = StageModel("instruct", mllm, data, kept), batch_of("instruct", mllm, data, kept)
    losses = model(batch)
    expected = {"object_attribute", "attribute_category", "category_category", "object_category"}
    assert set(losses) == {"open", "closed", "description"} | expected
    assert total(losses).isfinite()
    with torch.no_grad():
        tokens = model._encode_photos(batch).tokens[:3]
        alone = torch.cat([mllm.embed(batch.texts), mllm.embed_photos(tokens)])
        for name, value in model.eval().alignment(batch, alone, model.temperature()).items():
            assert value.isfinite(), name


def test_shared_negatives_make_the_contrast_harder(fresh, data, recipe):
    mllm, batches = fresh(), []
    for shared in (False, True):
        changed = recipe.changed(shared_negatives=shared, hard_negatives=1)
        model = StageModel("align", mllm, data, changed).eval()
        with torch.no_grad():
            batches.append(model(batch_of("align", mllm, data, changed)))
    assert batches[0]["category_category"].item() == pytest.approx(batches[1]["category_category"].item(), rel=1e-5)
    assert batches[0]["object_attribute"] < batches[1]["object_attribute"]
