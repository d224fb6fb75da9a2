"""One stage: what is trained, resumed, stopped."""

import json

import pytest
import torch
from small_training import cut_off, plain_recipe

from core.errors import UserError
from train.loop.stage_checkpoint import COMPLETE, last_complete, mark_complete
from train.loop.stages import run_stage
from train.loop.trainable import add_adapter, set_trainable
from train.objectives.stage_model import StageModel
from train.recipe import Adapter


def test_training_changes_what_it_should(fresh, data, tmp_path, recipe):
    mllm = fresh()
    before = {name: parameter.clone() for name, parameter in mllm.model.named_parameters()}
    run_stage("align", mllm, data, recipe, tmp_path)
    changed = {n for n, parameter in mllm.model.named_parameters() if not torch.equal(before[n], parameter)}
    assert changed == set(set_trainable(mllm, recipe, "align"))
    assert (tmp_path / "align/align.jsonl").exists()
    assert list((tmp_path / "align/runs").glob("*/events*"))
    assert not list((tmp_path / "align").glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("align", {}),
        ("align", {"chunk": 2}),
        ("align", {"negatives_from_memory": True}),
        ("instruct", {"negatives_from_memory": True, "aligned_share": 0.5}),
    ],
)
def test_a_run_that_was_cut_off_continues_exactly(
    reduced, reduced_idefics2, pictures, tmp_path, monkeypatch, stage, changes
):
    changes = {"learned_temperature": True, **changes}
    recipe = plain_recipe(reduced_idefics2).changed(**changes, adapter=Adapter(dropout=0.2))

    def model():
        mllm = reduced()
        add_adapter(mllm, recipe)
        return mllm

    whole = model()
    run_stage(stage, whole, pictures, recipe, tmp_path / "a")
    with cut_off(monkeypatch, step=3):
        run_stage(stage, model(), pictures, recipe, tmp_path / "b")
    half_written = tmp_path / f"b/{stage}/checkpoint-3"  # of a save that was killed
    half_written.mkdir()
    (half_written / "trained.safetensors").write_bytes(b"half")
    resumed = model()
    run_stage(stage, resumed, pictures, recipe, tmp_path / "b")
    expected = dict(whole.model.named_parameters())
    for name, parameter in resumed.model.named_parameters():
        assert torch.equal(parameter, expected[name]), name
    logs = [[json.loads(line) for line in (tmp_path / x / f"{stage}/{stage}.jsonl").open()] for x in "ab"]
    by_step = {entry["step"]: entry["loss"] for entry in logs[1]}
    assert [entry["loss"] for entry in logs[0]] == [by_step[step] for step in (1, 2, 3, 4)]


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    for step, content in ((2, b"good"), (4, b"good")):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trained.safetensors").write_bytes(content)
        mark_complete(folder)
    assert last_complete(tmp_path).name == "checkpoint-4"
    (tmp_path / "checkpoint-4/trained.safetensors").write_bytes(b"goo")
    assert last_complete(tmp_path).name == "checkpoint-2"
    (tmp_path / "checkpoint-2" / COMPLETE).unlink()
    assert last_complete(tmp_path) is None


def test_a_full_disk_keeps_the_last_checkpoint(reduced, reduced_idefics2, pictures, tmp_path, monkeypatch):
    recipe = plain_recipe(reduced_idefics2)
    save, count = torch.save, 0

    def full(*args, **kwargs):
        nonlocal count
        count += 1
        if count > 3:
            raise OSError(28, "No space left on device")
        save(*args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"step 4 cannot be written .*No space left.*: make room"):
        run_stage("align", reduced(), pictures, recipe, tmp_path)
    assert last_complete(tmp_path / "align").name == "checkpoint-2"
    assert not (tmp_path / "align.safetensors").exists()


@pytest.mark.parametrize("what", ["the loss", "a gradient"])
def test_what_is_not_finite_stops_and_names_the_photos(reduced, reduced_idefics2, pictures, tmp_path, monkeypatch, what):
    forward = StageModel.forward

    def broken(self, batch, *rest):
        losses = forward(self, batch, *rest)
        if what == "the loss":
            return {**losses, "bad": torch.tensor(torch.nan)}
        return {**losses, "bad": (next(p for p in self.parameters() if p.requires_grad) * 0).sum().sqrt()}

    monkeypatch.setattr(StageModel, "forward", broken)
    with pytest.raises(UserError, match=rf"align: {what} is not finite at step 0; its photos: .*\.png"):
        run_stage("align", reduced(), pictures, plain_recipe(reduced_idefics2), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    assert last_complete(tmp_path / "align") is None
