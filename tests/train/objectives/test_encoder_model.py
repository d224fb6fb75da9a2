"""The fine-tuning of the vision encoder: what it changes, its losses, its average, and what it ends with."""

from types import SimpleNamespace

import pytest
import torch
from small_training import batch_of, encoder_recipe, total
from torch.nn import functional as F

from core.models.vision_encoder import encoder_input
from core.taxonomy.categories import find_category
from train.data.augmentation import Augmentation
from train.objectives.encoder_model import EncoderModel, pooled


@pytest.fixture
def build(reduced_tiny, decoded):
    """Make a model of the vision encoder, with settings of its stage."""
    return lambda **settings: EncoderModel(reduced_tiny(), decoded, encoder_recipe(**settings))


def batch(model, step=0):
    return batch_of("encoder", model.mllm, model.data, model.recipe, step)


def copied(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def floats(tensors):
    return {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}


def test_a_step_changes_everything_but_the_frozen_blocks_and_the_average(build):
    model = build(frozen_blocks=20).train()
    before = copied(model)
    groups = [{"params": parameters, "lr": lr} for parameters, lr in model.parameter_groups()]
    total(model(batch(model))).backward()
    torch.optim.SGD(groups).step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}
    last = ("tower.network._conv_head.", "tower.network._bn1.", "classifier.")
    tuned = (*last, *(f"tower.network._blocks.{i}." for i in range(20, len(model.tower.network._blocks))))
    assert changed == {name for name in before if name.startswith(tuned)}


def test_every_trained_parameter_is_in_one_group_and_first_layers_learn_slowest(build):
    model = build(frozen_blocks=2, lr=1.0, layer_decay=0.5)
    groups = list(model.parameter_groups())
    grouped = [parameter for parameters, _ in groups for parameter in parameters]
    assert len({id(p) for p in grouped}) == len(grouped)
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters() if p.requires_grad}
    blocks = len(model.tower.network._blocks) - 2
    assert [lr for _, lr in groups] == [3.0, 1.0, 1.0, *(0.5 ** (blocks - i) for i in range(blocks))]


def test_the_average_follows_its_formula(build):
    model = build(average=0.9)
    before = floats(copied(model))
    with torch.no_grad():
        for name, tensor in floats(model.state_dict()).items():
            if not name.startswith("average."):
                tensor.add_(1.0)
    for step, decay in ((1, 2 / 11), (10_000, 0.9)):  # min(average, (1 + step) / (10 + step))
        model.update_average(step)
        for name, tensor in floats(model.state_dict()).items():
            if name.startswith("average."):
                before[name] = decay * before[name] + (1 - decay) * (before[name.removeprefix("average.")] + 1)
                torch.testing.assert_close(tensor, before[name], msg=name)


def test_the_former_answers_of_an_untouched_encoder_cost_their_entropy(build):
    model = build(cutmix_share=0.0, mixup_share=0.0, distillation=2.0).eval()
    one = batch(model)
    torch.manual_seed(0)
    losses = model(one)
    torch.manual_seed(0)
    views = Augmentation(model.settings.least_area)(one.states, 64)
    features = pooled(model.mllm.model.model.vision_model, encoder_input(model.mllm, views))
    answers = F.linear(features, model.imagenet["weight"], model.imagenet["bias"])
    entropy = torch.distributions.Categorical(logits=answers).entropy().mean()
    assert entropy < 6.5  # log 1000 = 6.9 would be no answer at all
    torch.testing.assert_close(losses["distillation"], 2 * entropy)
    assert set(build(distillation=0.0).eval()(one)) == {"classification"}


def test_losses_fall(build):
    model = build(cutmix_share=0.0, mixup_share=0.0).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    one, seen = batch(model), []
    for _ in range(5):
        torch.manual_seed(0)
        loss = total(model(one))
        seen.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert seen[-1] < seen[0]


def test_the_steps_are_shared_by_the_sizes_and_the_last_ones_mix_no_photos(build, monkeypatch):
    model, mixed = build(steps=20, sizes=[32, 64], cutmix_share=1.0, mixup_share=0.0), []
    monkeypatch.setattr("train.objectives.encoder_model.cutmix", lambda *given: mixed.append(given) or given)
    sides = []
    model.tower.register_forward_pre_hook(
        lambda _, __, inputs: sides.append(inputs["pixel_values"].shape[-1]), with_kwargs=True
    )
    for step in (0, 9, 10, 17, 18, 19):
        one = batch(model)
        one.step = step
        model(one)
    assert sides == [32, 32, 64, 64, 64, 64]
    assert len(mixed) == 4


def test_labels_are_smoothed_over_the_own_kind_alone(reduced_tiny):
    kinds = [find_category(name) for name in ("Pug", "Cedar Waxwing", "Beagle", "Hooded Oriole", "Boxer")]
    data = SimpleNamespace(categories=kinds, records=[None] * 10)
    same = EncoderModel(reduced_tiny(), data, encoder_recipe()).same_group
    third, half = 1 / 3, 1 / 2
    torch.testing.assert_close(same[0], torch.tensor([third, 0, third, 0, third]))
    torch.testing.assert_close(same[1], torch.tensor([0, half, 0, half, 0]))
    torch.testing.assert_close(same.sum(1), torch.ones(5))


def test_the_classifier_starts_from_the_pretrained_features(build):
    model = build(kept_shares=[0.0])
    chance = 100 / len(model.data.categories)
    before = copied(model)
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model.initialise_classifier()
        weights.append(model.classifier.weight.clone())
    assert torch.equal(*weights)  # whatever was drawn before
    assert model.finished(model.data).facts["held_out_accuracy"]["0.0"] > 4 * chance
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == {f"{part}classifier.{name}" for part in ("", "average.") for name in ("weight", "bias")}
    assert torch.equal(model.average["classifier"].weight, model.classifier.weight)


def test_the_rest_of_the_weights_is_pretrained(build):
    model = build(kept_shares=[0.0])
    pretrained = floats(model.mllm.model.model.vision_model.network.state_dict())
    tuned = floats(model.average["tower"].network.state_dict())
    with torch.no_grad():
        for tensor in tuned.values():
            tensor.mul_(1.5)
    for share in (0.0, 0.25, 1.0):
        model.settings = model.settings.changed(kept_shares=[share])
        encoder = model.finished(model.data)
        assert encoder.facts["tuned_share"] == share
        for name, tensor in floats(encoder.network).items():
            torch.testing.assert_close(tensor, share * tuned[name] + (1 - share) * pretrained[name], msg=name)
            assert share or torch.equal(tensor, pretrained[name])


def test_held_out_photos_choose_how_much_is_kept(build):
    model = build(kept_shares=[1.0, 0.0])
    model.initialise_classifier()
    with torch.no_grad():
        for parameter in model.average["tower"].parameters():
            parameter.normal_(std=0.01)
    encoder = model.finished(model.data)
    assert encoder.facts["tuned_share"] == 0.0
    assert encoder.facts["held_out_photos"] == len(model.data.records)
    assert encoder.facts["categories"] == [category.name for category in model.data.categories]
    assert encoder.facts["size"] == 64
    none = SimpleNamespace(records=[], category_of=[], photos=None)
    assert model.finished(none).facts["tuned_share"] == 1.0  # the first, where there is nothing to choose by


def test_the_means_are_those_of_every_categorys_photos(build):
    model = build()
    encoder = model.finished(model.data)
    photos = model.data.photos.get(list(range(len(model.data.records))))
    views = F.interpolate(photos.permute(0, 3, 1, 2).float(), (64, 64), mode="bicubic", antialias=True).clamp(0, 255)
    with torch.no_grad():
        features = F.normalize(pooled(model.average["tower"].eval(), encoder_input(model.mllm, views)), dim=-1)
    expected = F.normalize(torch.stack([features[rows].mean(0) for rows in model.data.members]), dim=-1)
    torch.testing.assert_close(encoder.means, expected)
