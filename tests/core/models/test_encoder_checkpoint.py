"""Checkpoints on a fine-tuned vision encoder, and with more image tokens than the base has."""

import pytest
import torch
from peft import LoraConfig
from PIL import Image

from core.errors import UserError
from core.models.calibration import Calibration, LabelBank
from core.models.checkpoint import TrainingRecord, merge_adapter, open_checkpoint, read_manifest, save_checkpoint
from core.models.vision_encoder import Encoder, encoder_path, save_encoder, use_encoder
from core.zoo.registry import ModelEntry, availability

PHOTO = [Image.linear_gradient("L").convert("RGB")]


@pytest.fixture
def trained(reduced_tiny, tmp_path, monkeypatch):
    """A model with another encoder, 16 image tokens, and numbers that half precision represents."""
    monkeypatch.setattr("core.models.checkpoint.open_base", base_or_folder(reduced_tiny))
    mllm = reduced_tiny()
    torch.manual_seed(0)
    network = {k: v.half().float() * 0.5 for k, v in mllm.model.model.vision_model.network.state_dict().items()}
    facts = {"size": 96, "categories": ["A"]}
    save_encoder(tmp_path / "work/encoder.safetensors", Encoder(network, {}, torch.zeros(1, 1280), facts))
    use_encoder(mllm, tmp_path / "work/encoder.safetensors")
    mllm.resize_image_tokens(16)
    mllm.model.add_adapter(LoraConfig(r=2, target_modules=r".*text_model.*\.q_proj"))
    with torch.no_grad():
        for name, parameter in mllm.model.named_parameters():
            if ".connector." in name or ".lora_" in name:
                parameter.copy_(torch.randn_like(parameter).mul(0.1).half().float())
    return mllm


def base_or_folder(reduced_tiny):
    """What stands for `open_base`: the reduced model for the embedded base, and folders as they are."""
    from core.models.checkpoint import open_base

    return lambda source, **options: reduced_tiny() if source == "tiny" else open_base(source, **options)


@pytest.fixture
def save(trained, tmp_path):
    """Save the model as a checkpoint, and return its folder."""

    def write(name):
        labels = LabelBank(["A"], torch.ones(1, 32), torch.ones(1, 32), torch.ones(1, 1280), torch.ones(1, 16).long())
        save_checkpoint(tmp_path / "checkpoints" / name, trained, labels, Calibration(), TrainingRecord(name=name))
        return tmp_path / "checkpoints" / name

    return write


def answers(mllm):
    """What a model makes of a photo."""
    with torch.no_grad():
        vision = mllm.vision_features(PHOTO)
        return vision.states, mllm.embed_photos(mllm.image_tokens(vision))


def test_two_checkpoints_share_one_encoder(trained, save):
    folders = [save("a"), save("b")]
    (shared,) = (folders[0].parent / "encoders").iterdir()
    assert shared == encoder_path(folders[0], trained.encoder_id)
    assert shared.read_bytes() == trained.encoder_file.read_bytes()
    opened = [open_checkpoint(folder, dtype=torch.float32)[0] for folder in folders]
    assert opened[0].model.model.vision_model is opened[1].model.model.vision_model
    for mllm in opened:
        assert mllm.encoder_id == trained.encoder_id == read_manifest(folders[0]).encoder
        assert mllm.processor.image_processor.size == {"height": 96, "width": 96}
        states, embedding = answers(mllm)
        assert torch.equal(states, answers(trained)[0])
        torch.testing.assert_close(embedding, answers(trained)[1], atol=0.02, rtol=0)  # of weights in 8 bits


def test_a_saved_encoder_is_not_written_again(save):
    (shared,) = (save("a").parent / "encoders").iterdir()
    before = shared.stat().st_mtime_ns, shared.stat().st_ino
    save("b")
    assert (shared.stat().st_mtime_ns, shared.stat().st_ino) == before


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_a_checkpoint_without_its_encoder_is_one_sentence_that_names_it(save, fault):
    folder = save("a")
    (shared,) = (folder.parent / "encoders").iterdir()
    if fault == "missing":
        shared.unlink()
    else:
        shared.write_bytes(shared.read_bytes()[:-1] + b"x")
    sentence = rf"^The checkpoint a needs its vision encoder: .*{shared.name} is missing or damaged\.$"
    with pytest.raises(UserError, match=sentence):
        open_checkpoint(folder, dtype=torch.float32)
    assert availability(ModelEntry("a", folder, "")) != "ready"


def test_a_checkpoint_with_more_image_tokens_than_its_base_is_opened(reduced_tiny, save):
    mllm, labels, _ = open_checkpoint(save("a"), dtype=torch.float32)
    resampler = mllm.model.model.connector.perceiver_resampler
    assert mllm.processor.image_seq_len == resampler.n_latents == len(resampler.latents) == labels.words.shape[1] == 16
    assert mllm.model.config.perceiver_config.resampler_n_latents == 16
    assert answers(mllm)[1].shape == (1, 32)
    assert mllm.question_ids("What is it?").count(mllm.image_token) == 16
    fresh = reduced_tiny()
    assert fresh.processor.image_seq_len == fresh.model.config.perceiver_config.resampler_n_latents == 8


def test_a_merged_checkpoint_has_its_encoder_inside(trained, save, tmp_path):
    expected = answers(trained)
    merge_adapter(trained)
    (tmp_path / "elsewhere").mkdir()
    folder = save("a").rename(tmp_path / "elsewhere/a")
    assert not (tmp_path / "checkpoints/encoders").exists()
    mllm, _, _ = open_checkpoint(folder, dtype=torch.float32)
    assert mllm.processor.image_seq_len == 16
    for own, before in zip(answers(mllm), expected, strict=True):
        torch.testing.assert_close(own, before, atol=1e-2, rtol=1e-2)  # half of the merged weights' digits are kept
