"""The file of a fine-tuned vision encoder, and the models that use it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from core.models.vision_encoder import Encoder, encoder_input, encoder_path, read_encoder, save_encoder, use_encoder
from core.storage.cache import sha256_of


@pytest.fixture
def saved(reduced_tiny, tmp_path):
    """An encoder, and the file of it."""
    torch.manual_seed(0)
    network = reduced_tiny().model.model.vision_model.network.state_dict()
    network = {k: v + 0.1 * torch.rand(v.shape) if v.is_floating_point() else v + 7 for k, v in network.items()}
    classifier = {"weight": torch.randn(3, 1280), "bias": torch.randn(3)}
    encoder = Encoder(network, classifier, torch.randn(3, 1280), {"size": 96, "categories": ["A", "B", "C"]})
    save_encoder(tmp_path / "encoder.safetensors", encoder)
    return encoder, tmp_path / "encoder.safetensors"


def test_an_encoder_is_read_as_it_was_saved_in_half_precision(saved, tmp_path):
    encoder, path = saved
    again = read_encoder(path)
    for before, after in ((encoder.network, again.network), (encoder.classifier, again.classifier)):
        assert before.keys() == after.keys()
        for name, tensor in before.items():
            assert after[name].dtype == tensor.dtype
            assert torch.equal(after[name], tensor.half().float() if tensor.is_floating_point() else tensor), name
    assert torch.equal(again.means, encoder.means.half().float())
    assert again.facts == encoder.facts
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["categories"]) == ["A", "B", "C"]
        assert file.get_tensor("classifier.weight").dtype == torch.float16
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_models_share_the_weights_of_one_file(saved, reduced_tiny):
    encoder, path = saved
    one, other, plain = reduced_tiny(), reduced_tiny(), reduced_tiny()
    assert one.encoder_id == ""
    for mllm in (one, other):
        assert use_encoder(mllm, path).facts == encoder.facts
        assert mllm.encoder_id == sha256_of(path)[:16]
        assert mllm.processor.image_processor.size == {"height": 96, "width": 96}
    towers = [mllm.model.model.vision_model for mllm in (one, other, plain)]
    assert towers[0] is towers[1]
    assert not towers[0].training
    assert not any(parameter.requires_grad for parameter in towers[0].parameters())
    for name, tensor in towers[0].network.state_dict().items():
        assert torch.equal(tensor, read_encoder(path).network[name])
    photo = [Image.linear_gradient("L").convert("RGB")]
    assert one.vision_features(photo).states.shape == (1, 9, 1280)
    assert plain.vision_features(photo).states.shape == (1, 4, 1280)


def test_another_file_at_the_same_path_is_another_encoder(saved, reduced_tiny):
    encoder, path = saved
    first = use_encoder(reduced_tiny(), path)
    save_encoder(path, Encoder(encoder.network, encoder.classifier, -encoder.means, {"size": 64}))
    mllm = reduced_tiny()
    second = use_encoder(mllm, path)
    assert torch.equal(second.means, -first.means)
    assert mllm.processor.image_processor.size == {"height": 64, "width": 64}


def test_weights_that_do_not_fit_are_refused(saved, reduced_tiny):
    encoder, path = saved
    encoder.network.pop("_conv_head.weight")
    save_encoder(path, encoder)
    with pytest.raises(RuntimeError, match="_conv_head"):
        use_encoder(reduced_tiny(), path)


def test_checkpoints_in_one_folder_have_their_encoders_in_one_place(tmp_path):
    assert encoder_path(tmp_path / "a", "1") == encoder_path(tmp_path / "b", "1") != encoder_path(tmp_path / "a", "2")


def test_training_normalises_as_the_processor_does(reduced_tiny):
    mllm, pixels = reduced_tiny(), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected, _ = mllm.pixels([Image.fromarray(pixels)])
    views = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    torch.testing.assert_close(encoder_input(mllm, views), expected, atol=1e-5, rtol=0)
