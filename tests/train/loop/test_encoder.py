"""The stage of the vision encoder: resumed, loaded when it is finished."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_training import cut_off, encoder_recipe

from core.errors import UserError
from core.models.vision_encoder import Encoder, read_encoder, save_encoder
from train.data.training_split import TrainingSplit
from train.loop.encoder import FILE, EncoderTrainer, load_encoder, run_encoder_stage
from train.objectives.encoder_model import EncoderModel


@pytest.fixture
def split(decoded, tmp_path, monkeypatch):
    """A few of the pictures, every fifth of them held out."""
    monkeypatch.setattr("core.storage.cache.cache_root", lambda: tmp_path / "cache")
    held_out = decoded.records[::5]
    return TrainingSplit("birds", [record for record in decoded.records if record not in held_out], held_out, {})


@pytest.mark.parametrize(
    "use",
    [
        lambda mllm, split, folder: run_encoder_stage(mllm, split, encoder_recipe(), folder),
        lambda mllm, split, folder: load_encoder(mllm, folder / FILE),
    ],
    ids=["stage", "file"],
)
def test_only_a_base_whose_encoder_is_known_gets_another_one(reduced, split, tmp_path, use):
    with pytest.raises(UserError, match=r"^The vision encoder of .* stays as it is: leave encoder out of the recipe\.$"):
        use(reduced(), split, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["missing", "no safetensors", "no facts", "other tensors"])
def test_a_file_that_is_no_encoder_is_one_sentence_that_names_it(reduced_tiny, tmp_path, fault):
    path = tmp_path / "own.safetensors"
    if fault == "no safetensors":
        path.write_bytes(b"something else")
    elif fault == "no facts":
        save_file({"means": torch.zeros(1, 1280)}, path)
    elif fault == "other tensors":
        save_encoder(path, Encoder({"a": torch.zeros(2)}, {}, torch.zeros(1, 1280), {"size": 64}))
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))} is not the file of a fine-tuned vision encoder: "):
        load_encoder(reduced_tiny(), path)


def test_means_of_an_encoder_serve_for_its_own_categories_alone(reduced_tiny, split):
    names, means = sorted({record.category for record in split.training}), torch.ones(5, 1280)
    recipe = encoder_recipe().changed(encoder=None, negatives_by="photos")
    for categories, used in ((names, True), (names[::-1], False), ([*names, "Pug"], False)):
        encoder = Encoder({}, {}, means, {"categories": categories})
        assert (split.training_set(reduced_tiny(), recipe, encoder).means is means) == used


def test_a_finished_encoder_is_used_and_not_trained_again(reduced_tiny, split, tmp_path, monkeypatch):
    models, finished = [], EncoderModel.finished
    monkeypatch.setattr(EncoderModel, "finished", lambda self, held_out: models.append(self) or finished(self, held_out))
    mllm = reduced_tiny()
    before = {name: tensor.clone() for name, tensor in mllm.model.model.vision_model.state_dict().items()}
    recipe = encoder_recipe(steps=2, size=96)
    encoder = run_encoder_stage(mllm, split, recipe, tmp_path)
    stored = read_encoder(tmp_path / FILE)
    tuned = mllm.model.model.vision_model.network.state_dict()
    average = models[0].average["tower"].network.state_dict()
    weights = models[0].tower.network.state_dict()
    for name, tensor in tuned.items():
        assert torch.equal(tensor, stored.network[name])
        assert torch.equal(tensor.half(), average[name].half())
    assert not torch.equal(average["_conv_head.weight"], weights["_conv_head.weight"])
    assert not torch.equal(tuned["_conv_head.weight"], before["network._conv_head.weight"])
    assert mllm.processor.image_processor.size == {"height": 96, "width": 96}
    assert encoder.facts["held_out_photos"] == len(split.held_out)
    assert len((tmp_path / "encoder/encoder.jsonl").read_text().splitlines()) == 2
    assert not list((tmp_path / "encoder").glob("checkpoint-*"))
    monkeypatch.setattr(EncoderTrainer, "train", lambda *_, **__: pytest.fail("trained again"))
    other = reduced_tiny()
    run_encoder_stage(other, split, recipe, tmp_path)
    assert other.encoder_id == mllm.encoder_id != ""


def test_a_run_that_was_cut_off_continues_exactly(reduced_tiny, split, tmp_path, monkeypatch):
    recipe = encoder_recipe(kept_shares=[1.0])
    run_encoder_stage(reduced_tiny(), split, recipe, tmp_path / "a")
    with cut_off(monkeypatch, step=3):
        run_encoder_stage(reduced_tiny(), split, recipe, tmp_path / "b")
    assert (tmp_path / "b/encoder/checkpoint-2").is_dir()
    assert not (tmp_path / "b" / FILE).exists()
    monkeypatch.setattr(EncoderModel, "initialise_classifier", lambda _: pytest.fail("started again"))
    run_encoder_stage(reduced_tiny(), split, recipe, tmp_path / "b")
    whole, resumed = (load_file(tmp_path / part / FILE) for part in "ab")
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
    logs = [[json.loads(line) for line in (tmp_path / x / "encoder/encoder.jsonl").open()] for x in "ab"]
    by_step = {entry["step"]: entry["loss"] for entry in logs[1]}
    assert [entry["loss"] for entry in logs[0]] == [by_step[step] for step in (1, 2, 3, 4)]
