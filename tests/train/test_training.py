"""One tiny run through every stage on generated pictures: what is trained, resumed, stopped."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from core.checkpoints import adapter_config
from core.errors import UserError
from core.models import load_mllm
from train.data import read_data
from train.features import cache_features
from train.loop import run_stage, set_trainable
from train.recipe import Recipe, Stage
from train.run import check_enough
from train.stages import Steps, TrainingSet, initialise_connector

NAMES = ["Cedar_Waxwing", "Bohemian_Waxwing", "Downy_Woodpecker", "Baltimore_Oriole", "Hooded_Oriole"]
STAGE = Stage(4, 6, connector_lr=1e-3, adapter_lr=1e-3, warmup_steps=1)
RECIPE = replace(
    Recipe(),
    views=2,
    groups_per_batch=1,
    categories_per_group=3,
    hard_negatives=3,
    described_photos=2,
    closed_photos=2,
    warmup=STAGE,
    stage1=STAGE,
    stage2=STAGE,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("birds")
    rng = random.Random(0)
    for i, name in enumerate(NAMES):
        (folder / name).mkdir()
        for k in range(3):
            picture = Image.new("RGB", (64, 64), (40 * i, 90, 200 - 30 * i))
            ImageDraw.Draw(picture).ellipse([rng.randint(0, 20), 10 + k, 50, 60], fill=(rng.randint(0, 255), 50, 30 * i))
            picture.save(folder / name / f"{k}.png")
    records = read_data(folder, "none.csv")
    with pytest.MonkeyPatch.context() as patch:
        base = load_mllm(torch.float32)
        patch.setattr("train.features.cache_root", lambda: folder.parent / "cache")
        features = cache_features(base, records, RECIPE.views, seed=0)
        again = cache_features(None, records, RECIPE.views, seed=0)  # the second time no model is asked
        part = next((folder.parent / "cache/features").glob("*.npy"))
        whole = part.rename(part.with_suffix(".part"))
        cut = np.lib.format.open_memmap(whole, mode="r+")
        cut[7:] = 0
        cut.flush()
        resumed = cache_features(base, records, RECIPE.views, seed=0)
    assert (features.array == again.array).all()
    assert (features.array == resumed.array).all()
    return TrainingSet.build(records, features)


@pytest.fixture
def fresh(data):
    def build():
        mllm = load_mllm(torch.float32)
        initialise_connector(mllm, seed=0)
        mllm.model.add_adapter(adapter_config(rank=2, alpha=4, dropout=0.0))
        return mllm, Steps(mllm, data, RECIPE)

    return build


def changed(before, mllm):
    return {name for name, parameter in mllm.model.named_parameters() if not torch.equal(before[name], parameter)}


@pytest.mark.parametrize("kind", ["align", "instruct"])
def test_gradients_reach_the_connector_and_the_adapter_alone(fresh, kind):
    mllm, steps = fresh()
    parameters = set_trainable(mllm)
    with torch.no_grad():
        for name, parameter in parameters.items():
            if "lora_B" in name:
                parameter.normal_(std=0.01)
    losses, _ = getattr(steps, kind)(random.Random(0))
    torch.stack(list(losses.values())).sum().backward()
    reached = {n for n, p in mllm.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    projections = ["self_attn." + x for x in ("q_proj", "k_proj", "v_proj", "o_proj")]
    projections += ["mlp." + x for x in ("gate_proj", "up_proj", "down_proj")]
    assert {name for name in reached if "lora" in name} == {
        f"model.text_model.layers.{layer}.{projection}.lora_{half}.default.weight"
        for layer in range(30)
        for projection in projections
        for half in "AB"
    }
    connector = {f"model.connector.{name}" for name, _ in mllm.model.model.connector.named_parameters()}
    assert {name for name in reached if "lora" not in name} == connector


def test_training_changes_what_it_should(fresh, tmp_path):
    mllm, steps = fresh()
    before = {name: parameter.clone() for name, parameter in mllm.model.named_parameters()}
    run_stage("stage1", mllm, STAGE, 0, tmp_path, steps.align)
    assert changed(before, mllm) == set(set_trainable(mllm))


@pytest.mark.parametrize("kind", ["warm_up", "align", "instruct"])
def test_losses_fall(fresh, tmp_path, kind):
    mllm, steps = fresh()
    step = getattr(steps, kind)
    seen = []

    def watched(_):
        losses, records = step(random.Random(1))
        seen.append(sum(loss.item() for loss in losses.values()))
        return losses, records

    run_stage(kind, mllm, replace(STAGE, steps=8), 0, tmp_path, watched)
    assert seen[-1] < seen[0]


def test_a_run_that_was_cut_off_continues_exactly(fresh, tmp_path, monkeypatch):
    monkeypatch.setattr("train.loop.CHECKPOINT_EVERY", 2)
    mllm, steps = fresh()
    run_stage("whole", mllm, STAGE, 0, tmp_path / "a", steps.align, steps.encode_bank)
    expected = {name: p.clone() for name, p in set_trainable(mllm).items()}

    mllm, steps = fresh()
    count = 0

    def cut_off(rng):
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return steps.align(rng)

    with pytest.raises(KeyboardInterrupt):
        run_stage("whole", mllm, STAGE, 0, tmp_path / "b", cut_off, steps.encode_bank)
    (tmp_path / "b" / ".whole.resume.pt.tmp").write_bytes(b"half")  # of a save that was killed
    mllm, steps = fresh()
    run_stage("whole", mllm, STAGE, 0, tmp_path / "b", steps.align, steps.encode_bank)
    for name, parameter in set_trainable(mllm).items():
        assert torch.equal(parameter, expected[name]), name
    history = [(tmp_path / x / "whole.jsonl").read_text().splitlines() for x in "ab"]
    assert history[0] == history[1][:2] + history[1][-2:]


def test_a_loss_that_is_not_finite_stops_and_names_the_photos(fresh, tmp_path):
    mllm, _ = fresh()
    with pytest.raises(UserError, match=r"not finite at step 0.*bird\.png"):
        run_stage("bad", mllm, STAGE, 0, tmp_path, lambda rng: ({"loss": torch.tensor(torch.nan)}, ["bird.png"]))
    parameter = next(iter(set_trainable(mllm).values()))
    with pytest.raises(UserError, match=r"a gradient is not finite at step 0.*bird\.png"):
        run_stage("bad", mllm, STAGE, 0, tmp_path, lambda rng: ({"loss": (parameter * 0).sum().sqrt()}, ["bird.png"]))
    assert not list(tmp_path.glob("*.safetensors")) + list(tmp_path.glob("*.pt"))


def test_a_run_needs_enough_of_known_categories(data):
    stranger = replace(data.records[0], category="Purple Martian")
    with pytest.raises(UserError, match="No attributes are known for 'Purple Martian'"):
        check_enough([stranger], data.records)
    with pytest.raises(UserError, match="No category has 8 photos"):
        check_enough(data.records, [])
    with pytest.raises(UserError, match="only one kind of bird"):
        check_enough(data.records[:3], data.records)


def test_batches_hold_look_alikes(fresh):
    _, steps = fresh()
    rows = steps._grouped_rows(random.Random(0))
    seen = {steps.category_of[row] for row in rows}
    assert len(seen) == RECIPE.categories_per_group
    assert any(seen - {c} <= set(steps.data.look_alikes[c][: RECIPE.categories_per_group]) for c in seen)


def test_the_bank_holds_what_the_last_batches_encoded(fresh):
    mllm, steps = fresh()
    steps.align(random.Random(0))
    names = mllm.embed_texts([category.name for category in steps.data.categories])
    assert torch.allclose(steps.bank[0], names, atol=1e-4)
    assert not steps.bank.requires_grad
    before = steps.bank[1].clone()
    steps.align(random.Random(2))
    changed = (steps.bank[1] - before).abs().amax(dim=1) > 1e-4  # other wordings of this batch's descriptions
    assert 0 < changed.sum() <= RECIPE.categories_per_group
