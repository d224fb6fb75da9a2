"""Pickled weights become safetensors, and what is not weights is refused without being run."""

import json
import pickle
import shutil

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from core.cli import main
from core.errors import UserError
from core.models.conversion import convert
from core.models.pickled_weights import find_source
from core.progress import run


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=50, tie_word_embeddings=True, **sizes))


@pytest.fixture
def source(llama, tmp_path):
    """A repository whose weights are one pickled file, two of its tensors the same memory."""
    folder = tmp_path / "source"
    folder.mkdir()
    llama.config.save_pretrained(folder)
    torch.save(llama.state_dict(), folder / "pytorch_model.bin")
    for name in ("tokenizer.json", "README.md", "training_args.bin", "flax_model.index.json"):
        (folder / name).write_text("{}")
    return folder


def same_weights(model, folder):
    loaded, report = type(model).from_pretrained(folder, use_safetensors=True, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return all(torch.equal(weights, loaded.state_dict()[name]) for name, weights in model.state_dict().items())


def test_a_repository_keeps_its_names_and_files(source, llama, tmp_path, capsys):
    assert main(["convert", str(source), str(tmp_path / "out")]) == 0
    assert str(tmp_path / "out") in capsys.readouterr().out
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["config.json", "model.safetensors", "tokenizer.json"]
    assert same_weights(llama, tmp_path / "out")


def test_many_tensors_go_to_several_files(source, llama, tmp_path, monkeypatch):
    monkeypatch.setattr("core.models.conversion.SHARD_BYTES", 30_000)
    steps = list(convert(source, tmp_path / "out"))
    assert [step.fraction for step in steps] == sorted(step.fraction for step in steps)
    assert steps[-1].fraction == 1
    shards = sorted((tmp_path / "out").glob("*.safetensors"))
    assert shards[-1].name == f"model-{len(shards):05}-of-{len(shards):05}.safetensors"
    assert 1 < len(shards) == len(steps) - 2
    assert same_weights(llama, tmp_path / "out")


@pytest.mark.parametrize(
    "wrap", [lambda w: {"state_dict": w, "epoch": 3}, lambda w: {"model": w}], ids=["state", "model"]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_of_a_training_loop_are_found(wrap, zipped, source, llama, tmp_path):
    for path in source.glob("*.bin"):
        path.unlink()
    torch.save(wrap(llama.state_dict()), source / "last.pth", _use_new_zipfile_serialization=zipped)
    run(convert(source, tmp_path / "out"))
    assert same_weights(llama, tmp_path / "out")


class Harmful:
    def __reduce__(self):
        return (open, ("harm", "w"))


def _harmful(folder):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weights": Harmful()}, protocol=2))


def _outside(folder):
    (folder / "pytorch_model.bin").rename(folder.parent / "elsewhere.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "../elsewhere.bin"}}))


def _linked(folder):
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "vocab.txt").symlink_to(folder.parent / "secret.txt")


def _partial(folder):
    weight_map = {"lm_head.weight": "pytorch_model.bin", "lm_head.bias": "pytorch_model.bin"}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))


def _remote_code(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "other/repository--m.M"}}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_harmful, "not read, since it holds more than weights"),
        (_outside, "names a file outside of it"),
        (_linked, "names a file outside of it"),
        (_partial, "lm_head.bias is in none of the files"),
        (_remote_code, "code of its own .auto_map., which is never run"),
        (lambda folder: (folder / "modeling.py").write_text(""), "code of its own .modeling.py., which is never run"),
        (lambda folder: (folder / "a.safetensors").write_text(""), "nothing to convert"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json is damaged"),
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04" * 9), "damaged"),
        (lambda folder: torch.save([1, 2], folder / "pytorch_model.bin"), "no table of weights"),
        (lambda folder: (folder / "pytorch_model.bin").rename(folder / "a.pth"), "several files"),
        (lambda folder: [path.unlink() for path in folder.glob("*.bin")], "holds no pickled weights"),
    ],
)
def test_what_is_refused_is_one_sentence_and_leaves_nothing(change, message, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change(source)
    with pytest.raises(UserError, match=message) as refusal:
        run(convert(source, tmp_path / "out"))
    assert str(refusal.value).count(". ") == 0
    assert not {"harm", "out", ".out.unfinished"} & {path.name for path in tmp_path.iterdir()}


def test_a_disk_that_is_too_full_is_told_before_anything_is_written(source, tmp_path, monkeypatch):
    monkeypatch.setattr("core.models.conversion.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    monkeypatch.setattr("core.models.conversion.new_folder", lambda _: pytest.fail("a folder was made"))
    with pytest.raises(UserError, match="needs 0.0 GB, and 0.0 GB are free"):
        run(convert(source, tmp_path / "out"))


def test_a_folder_that_exists_is_not_written_to(source):
    with pytest.raises(UserError, match="exists: name a new folder"):
        run(convert(source, source))


def test_a_stopped_conversion_leaves_nothing_and_begins_anew(source, llama, tmp_path):
    (tmp_path / ".out.unfinished").mkdir()  # of a process that was killed
    (tmp_path / ".out.unfinished/half").write_text("")
    steps = convert(source, tmp_path / "out")
    next(steps)
    next(steps)
    steps.close()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    run(convert(source, tmp_path / "out"))
    assert same_weights(llama, tmp_path / "out")


def test_a_repository_that_was_downloaded_is_found_with_its_links(source, llama, tmp_path, monkeypatch):
    cache = tmp_path / "hub/models--some--llama"
    snapshot = cache / "snapshots/0123"
    for folder in (cache / "blobs", cache / "refs", snapshot):
        folder.mkdir(parents=True)
    (cache / "refs/main").write_text("0123")
    for name in ("config.json", "pytorch_model.bin"):
        shutil.copy(source / name, cache / "blobs" / name)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    run(convert(find_source("some/llama"), tmp_path / "out"))
    assert same_weights(llama, tmp_path / "out")
    with pytest.raises(UserError, match="hf download some/other"):
        find_source("some/other")
