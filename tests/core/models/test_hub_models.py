import contextlib
import importlib.util
import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3nConfig

from core.errors import UserError
from core.models import open_question_model
from core.models.hub_models import missing_package

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
HEAD = "language_model.lm_head.weight"  # as the repositories of LLaVA name it


@pytest.fixture
def folder(reduced_folder, tmp_path):
    """A copy of the reduced LLaVA that a test may damage."""
    return shutil.copytree(reduced_folder("llava"), tmp_path / "llava")


def change(path, **settings):
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def refused(folder):
    """The sentence that opening the folder is refused with."""
    with pytest.raises(UserError) as caught:
        open_question_model(str(folder))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_repository_that_is_not_here_is_one_sentence():
    with pytest.raises(UserError, match="neither a folder nor"):
        open_question_model("nobody/nothing", revision="main")


def test_code_of_a_repository_is_never_run(folder):
    ran = folder / "ran"
    code = f"open({str(ran)!r}, 'w').close()\n"
    for name in ("modeling_own", "configuration_own", "processing_own"):
        (folder / f"{name}.py").write_text(code)
    own = {"AutoConfig": "configuration_own.C", "AutoModelForImageTextToText": "modeling_own.M"}
    change(folder / "config.json", model_type="own_mllm", auto_map=own)
    assert "needs code of its own repository, which is never run here" in refused(folder)
    change(folder / "config.json", model_type="llava")
    change(folder / "processor_config.json", auto_map={"AutoProcessor": "processing_own.P"})
    assert open_question_model(str(folder)).name == "llava"  # the class of transformers is used
    assert not ran.exists()


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_a_package_that_a_model_needs_is_named(folder):
    Gemma3nConfig().save_pretrained(folder)
    change(folder / "config.json", text_config={"model_type": "gemma3n_text", "num_hidden_layers": 2})
    assert "needs the package timm, which is not installed: run `.venv/bin/pip install timm`" in refused(folder)


def test_a_package_is_read_from_the_error(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert missing_package(ImportError("X requires the Torchvision library but it was not found")) == "torchvision"
    assert missing_package(ImportError("Package `num2words` is required to run SmolVLM processor.")) == "num2words"
    assert missing_package(ModuleNotFoundError("No module named 'a.b'", name="a.b")) == "a"
    assert missing_package(ValueError("something else")) is None


def test_a_processor_that_needs_a_package_names_it(folder, monkeypatch):
    def needing(*_, **__):
        raise ImportError("LlavaImageProcessor requires the Torchvision library but it was not found.")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("core.models.photo_prompts.AutoProcessor.from_pretrained", needing)
    assert "needs the package torchvision" in refused(folder)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "[" * 100_000, '{"model_type": "llava", "text_config": 5}', '{"model_type": ["llava"]}', "{}"],
)
def test_a_damaged_config_is_one_sentence(text, folder):
    (folder / "config.json").write_text(text)
    refused(folder)


def test_models_that_see_no_photos_are_refused(folder):
    change(folder / "config.json", model_type="llama")
    assert "answers no questions about photos" in refused(folder)


def test_models_of_open_clip_are_told_how_to_be_used(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert f"run `python -m core convert {tmp_path} FOLDER`" in refused(tmp_path)


@pytest.mark.parametrize(
    ("part", "settings", "sentence"),
    [
        ("text_config", {"num_hidden_layers": 10**9}, "asks for 1000000000 layers"),
        ("vision_config", {"num_hidden_layers": 10**9}, "asks for 1000000000 layers"),
        ("text_config", {"vocab_size": 10**11}, "its files hold"),
        ("text_config", {"hidden_size": 48}, "cannot be loaded"),
    ],
)
def test_a_config_for_other_weights_takes_no_memory(part, settings, sentence, folder):
    config = json.loads((folder / "config.json").read_text())
    change(folder / "config.json", **{part: {**config[part], **settings}})
    assert sentence in refused(folder)


def test_pickled_weights_are_never_read(folder):
    (folder / WEIGHTS).unlink()
    torch.save({}, folder / "pytorch_model.bin")
    assert "convert them with `python -m core convert`" in refused(folder)


def test_a_missing_tensor_is_named(folder):
    weights = load_file(folder / WEIGHTS)
    del weights[HEAD]
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    assert "its weights lack lm_head.weight" in refused(folder)


def test_weights_that_are_not_numbers_are_refused(folder):
    weights = load_file(folder / WEIGHTS)
    weights[HEAD][3, 3] = torch.nan
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    assert "some of its weights are not numbers" in refused(folder)


@pytest.mark.parametrize("size", [100, 10_000_000_000, 2**63])
def test_a_file_that_declares_more_than_it_holds_takes_no_memory(size, folder):
    tensor = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    header = json.dumps({HEAD: tensor}).encode()
    for declared in (len(header), 2**40):
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", declared) + header + bytes(50) * 20_000)
        assert "cannot be loaded" in refused(folder)


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ({"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}, "model-00002-of-00002.safetensors is"),
        ({"weight_map": {"lm_head.weight": "../other.safetensors"}}, "outside of its folder"),
        ({"weight_map": {"lm_head.weight": "/etc/passwd"}}, "outside of its folder"),
        ({"weight_map": ["lm_head.weight"]}, "cannot be read"),
        ([], "cannot be read"),
    ],
)
def test_an_index_may_name_files_of_the_folder_alone(index, sentence, folder):
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    (folder / INDEX).write_text(json.dumps(index))
    assert sentence in refused(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "processor_config.json"])
@pytest.mark.parametrize("text", ["", "[]", "{", '{"model": {"type": "BPE"}}'])
def test_a_damaged_tokenizer_or_processor_is_one_sentence_or_does_not_matter(name, text, folder, two_photos):
    (folder / name).write_text(text)
    with contextlib.suppress(UserError):
        assert open_question_model(str(folder)).ask(two_photos[0], "What?", 1) is not None


@pytest.mark.parametrize(
    ("file", "changes"),
    [("config.json", {"image_token_index": 10**9}), ("generation_config.json", {"eos_token_id": 99_999_999})],
)
def test_settings_of_tokens_that_there_are_not_are_one_sentence(file, changes, folder):
    change(folder / file, **changes)
    assert "its files do not fit together" in refused(folder)
