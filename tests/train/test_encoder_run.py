"""`python -m train run` with the vision encoder's stage: one stage at a time, then checkpoints that share the file."""

import json
import re

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from core.models.checkpoint import open_checkpoint, read_manifest
from core.models.vision_encoder import Encoder, save_encoder
from train.cli import main
from train.loop.encoder import EncoderTrainer

STAGE = {"steps": 1, "photos": 4, "connector_lr": 1e-3, "adapter_lr": 1e-3}
PRESET = {
    "base": "tiny",
    "precision": "float32",
    "adapter": {"rank": 2, "alpha": 4, "dropout": 0.0, "on_connector": False},
    "augmented": True,
    "patch_dropout": 0.3,
    "image_tokens": 16,
    "words": "name",
    "hard_negatives": 1,
    "negatives_by": "photos",
    "shared_negatives": True,
    "closed_answer": "letter and name",
    "aligned_share": 0.1,
    "instruct_anchor": 0.3,
    "encoder": {"steps": 1, "photos": 4, "sizes": [64], "size": 64},
    "warmup": STAGE,
    "align": STAGE,
    "instruct": STAGE,
}


@pytest.fixture
def command(tmp_path, monkeypatch, reduced_tiny):
    """A run on nine pictures each of two birds, with a text model of next to no size."""
    for name, shade in (("Cedar_Waxwing", "red"), ("Bohemian_Waxwing", "blue")):
        for i in range(9):
            path = tmp_path / "data/bird" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.new("RGB", (16, 16), shade)
            picture.putpixel((i, 3), (0, 255, 0))
            picture.save(path)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(PRESET))
    monkeypatch.setattr("core.storage.cache.cache_root", lambda: tmp_path / "cache")
    for module in ("train.loop.trainable", "core.models.checkpoint"):
        monkeypatch.setattr(f"{module}.open_base", lambda *_, **__: reduced_tiny())
    monkeypatch.setattr("core.models.embedded.check_base", lambda: None)
    options = {"data": "data", "work": "work", "out": "checkpoints", "preset": "small.yaml"}
    return ["run", *(part for key, value in options.items() for part in (f"--{key}", str(tmp_path / value)))]


def test_a_run_until_the_encoder_goes_on_from_it(command, tmp_path, monkeypatch):
    assert main([*command, "--name", "a", "--until", "encoder"]) == 0
    encoder = tmp_path / "work/encoder.safetensors"
    written = encoder.stat().st_mtime_ns
    assert not list(tmp_path.glob("checkpoints/*"))
    assert not (tmp_path / "work/warmup.safetensors").exists()
    monkeypatch.setattr(EncoderTrainer, "train", lambda *_, **__: pytest.fail("trained again"))
    assert main([*command, "--name", "a", "--until", "align"]) == 0
    assert (tmp_path / "work/full/align.safetensors").exists()
    assert not (tmp_path / "work/full/instruct.safetensors").exists()
    assert not list(tmp_path.glob("checkpoints/*"))
    assert main([*command, "--name", "a"]) == 0
    assert main([*command, "--name", "b", "--variant", "finetune"]) == 0
    assert encoder.stat().st_mtime_ns == written
    (shared,) = tmp_path.glob("checkpoints/encoders/*")
    assert shared.read_bytes() == encoder.read_bytes()
    for name in "ab":
        assert read_manifest(tmp_path / "checkpoints" / name).encoder == shared.stem
        mllm, labels, _ = open_checkpoint(tmp_path / "checkpoints" / name, dtype=torch.float32)
        assert mllm.processor.image_seq_len == labels.words.shape[1] == 16


def test_a_run_may_start_from_an_encoder_that_is_there(command, tmp_path, monkeypatch, reduced_tiny):
    facts = {"size": 64, "categories": ["Bohemian Waxwing", "Cedar Waxwing"]}
    network = reduced_tiny().model.model.vision_model.network.state_dict()
    save_encoder(tmp_path / "own.safetensors", Encoder(network, {}, torch.eye(2, 1280), facts))
    monkeypatch.setattr(EncoderTrainer, "train", lambda *_, **__: pytest.fail("trained again"))
    settings = ["--set", "encoder=null", "--set", f"encoder_file={tmp_path / 'own.safetensors'}"]
    assert main([*command, "--name", "a", *settings, "--until", "warmup"]) == 0
    assert (tmp_path / "work/warmup.safetensors").exists()
    assert not (tmp_path / "work/encoder.safetensors").exists()


def test_a_run_may_go_on_from_a_finished_stage(command, tmp_path, capsys):
    assert main([*command, "--name", "a", "--until", "align"]) == 0
    started, encoder = tmp_path / "work/full/align.safetensors", tmp_path / "work/encoder.safetensors"
    command[command.index("--work") + 1] = str(tmp_path / "further")
    settings = ["--set", "encoder=null", "--set", f"encoder_file={encoder}", "--set", "warmup=null"]
    settings += ["--set", f"start_file={started}"]
    assert main([*command, "--name", "b", *settings, "--variant", "finetune", "--set", "instruct.connector_lr=0.0"]) == 0
    assert not (tmp_path / "further/warmup.safetensors").exists()
    assert "start_id" in json.loads((tmp_path / "further/recipe.json").read_text())
    before, after = load_file(started), load_file(tmp_path / "further/finetune/instruct.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("lora_" in name for name in changed)
    settings[-1] = f"start_file={encoder}"
    command[command.index("--work") + 1] = str(tmp_path / "other")
    assert main([*command, "--name", "b", *settings]) == 1
    assert "does not hold the connector and the adapter of a stage of this recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "stage", "stages"),
    [
        (["--until", "align", "--variant", "finetune"], "align", "encoder, warmup, instruct"),
        (["--until", "encoder", "--set", "encoder=null"], "encoder", "warmup, align, instruct"),
    ],
)
def test_a_stage_that_the_recipe_does_not_have_is_one_sentence(command, options, stage, stages, tmp_path, capsys):
    assert main([*command, "--name", "a", *options]) == 1
    assert f"no stage {stage}: choose one of {stages}." in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_the_dry_run_of_such_a_recipe_shows_its_batches(command, tmp_path, capsys):
    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "<image> x 16" in shown
    assert re.search("carries the loss.: '[AB]. (Bohemian|Cedar) Waxwing<", shown)
    assert "encoder: 1 steps of 4 photos at 64 pixels" in shown
    assert not (tmp_path / "work").exists()
