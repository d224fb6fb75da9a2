import json
import shutil

import pytest
import torch
from peft import LoraConfig
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from core.errors import UserError
from core.models.calibration import Calibration, LabelBank
from core.models.checkpoint import TrainingRecord, open_checkpoint, read_manifest, save_checkpoint
from core.models.efficientnet import TinyIdefics2ForConditionalGeneration
from core.models.embedded import load_mllm
from core.models.vision_encoder import Encoder, save_encoder, use_encoder
from core.recognition.label_space import LabelSpaceBuilder
from core.storage.cache import sha256_of
from train.objectives.stage_model import initialise_connector


@pytest.fixture(scope="module")
def trained():
    """A model whose adapter and connector hold numbers that half precision represents."""
    mllm = load_mllm(torch.float32)
    mllm.model.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=r".*text_model.*\.(q|k|v|o|gate|up|down)_proj"))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in mllm.model.named_parameters():
            if ".connector." in name or ".lora_" in name:
                parameter.copy_(torch.randn_like(parameter).mul(0.02).half().float())
    return mllm


@pytest.fixture
def folder(trained, tmp_path):
    torch.manual_seed(2)
    words = torch.tensor([[40_000, 3, *[-1] * 6], [7, *[-1] * 7]])
    labels = LabelBank(["A", "B"], torch.randn(2, 576), torch.randn(2, 576), torch.randn(2, 1280), words)
    save_checkpoint(
        tmp_path / "one", trained, labels, Calibration(1.0, 2.0, 3.0, 4.0, 5.0, 6, 7.0), TrainingRecord(name="one")
    )
    return tmp_path / "one"


def test_a_round_trip_rounds_weights_to_8_bits_once(trained, folder):
    fresh, labels, calibration = open_checkpoint(folder, dtype=torch.float32)
    stored = dict(fresh.model.named_parameters())
    for name, parameter in trained.model.named_parameters():
        step = parameter.abs().amax(dim=-1, keepdim=True) / 127 if parameter.dim() > 1 else 0  # 8 bits a weight
        assert ((parameter - stored[name]).abs() <= 0.51 * step).all(), name
    save_checkpoint(folder, fresh, labels, calibration, TrainingRecord(name="one"))
    again = open_checkpoint(folder, dtype=torch.float32)[0]
    for name, parameter in again.model.named_parameters():
        assert torch.equal(parameter, stored[name]), name
    assert torch.equal(again.embed_texts(["Cedar Waxwing"]), fresh.embed_texts(["Cedar Waxwing"]))
    assert labels.categories == ["A", "B"]
    assert labels.words.tolist() == [[40_000, 3, *[-1] * 6], [7, *[-1] * 7]]
    assert calibration == Calibration(1.0, 2.0, 3.0, 4.0, 5.0, 6, 7.0)


def test_a_checkpoint_keeps_whether_photos_are_embedded_with_bos(trained, folder, monkeypatch):
    with_bos, labels, calibration = open_checkpoint(folder)
    assert with_bos.object_bos
    monkeypatch.setattr(trained, "object_bos", False)
    save_checkpoint(folder, trained, labels, calibration, TrainingRecord())
    assert not open_checkpoint(folder)[0].object_bos


def test_names_are_compared_by_the_words_that_training_drew_photos_to(trained, folder):
    words = {}
    for kept in ("attributes", "name", "codes"):
        _, labels, calibration = open_checkpoint(folder)
        save_checkpoint(folder, trained, labels, calibration, TrainingRecord(training={"words": kept}))
        mllm, labels, _ = open_checkpoint(folder, dtype=torch.float32)
        words[kept] = LabelSpaceBuilder(mllm, labels).build(["Cedar Waxwing", "Laysan Albatross"]).words
    alone = mllm.word_embeddings(mllm.word_ids(["Cedar Waxwing", "Laysan Albatross"]))
    assert torch.equal(words["name"], alone)
    assert not torch.equal(words["attributes"], alone)
    assert not words["codes"].any()  # of an albatross there is none


def test_a_missing_checkpoint_is_a_message(tmp_path):
    with pytest.raises(UserError, match="missing or incomplete"):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["connector.safetensors", "adapter_model.safetensors"])
def test_a_truncated_file_is_refused(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=f"damaged: {name}"):
        open_checkpoint(folder, dtype=torch.float32)


def test_another_base_is_refused_naming_both(folder):
    from core.models.embedded import base_fingerprint

    manifest = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps({**manifest, "base_id": "somewhere-else"}))
    with pytest.raises(UserError, match=f"somewhere-else.*{base_fingerprint()}"):
        read_manifest(folder)


def test_a_save_that_was_cut_off_keeps_what_was_there(trained, folder, monkeypatch):
    monkeypatch.setattr("core.models.checkpoint.sha256_of", lambda path: (_ for _ in ()).throw(OSError("disk full")))
    labels = LabelBank(["A"], torch.zeros(1, 576), torch.zeros(1, 576), torch.zeros(1, 1280), torch.zeros(1, 2))
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(folder, trained, labels, Calibration(), TrainingRecord())
    monkeypatch.undo()
    assert read_manifest(folder).name == "one"
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


@pytest.mark.parametrize("text", ["[]", "{}", "not json", '{"base": "x", "categories": []}', "[" * 100_000])
def test_an_odd_manifest_is_a_message(folder, text):
    (folder / "checkpoint.json").write_text(text)
    with pytest.raises(UserError, match="missing or incomplete"):
        read_manifest(folder)


def rewrite(folder, name, change):
    """Alter a file of tensors and the manifest's hash of it."""
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name)
    manifest = json.loads((folder / "checkpoint.json").read_text())
    manifest["files"][name] = sha256_of(folder / name)
    (folder / "checkpoint.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("adapter_model.safetensors", lambda tensors: tensors.pop(next(iter(tensors)))),
        ("adapter_model.safetensors", lambda tensors: tensors.update(more=torch.zeros(2))),
        ("connector.safetensors", lambda tensors: tensors.pop(next(iter(tensors)))),
        ("connector.safetensors", lambda tensors: tensors.pop(next(name for name in tensors if "scale" in name))),
        ("labels.safetensors", lambda tensors: tensors.pop("names")),
        ("labels.safetensors", lambda tensors: tensors.update(names=torch.zeros(3, 576))),
        ("labels.safetensors", lambda tensors: tensors.update(feature_means=torch.zeros(1, 1280))),
        ("labels.safetensors", lambda tensors: tensors["names.scale"].fill_(float("nan"))),
        ("labels.safetensors", lambda tensors: tensors["words"].fill_(10**6)),
        ("labels.safetensors", lambda tensors: tensors.update(words=tensors["words"].float())),
        ("labels.safetensors", lambda tensors: tensors.update(words=torch.zeros(1, 8))),
        ("labels.safetensors", lambda tensors: tensors.update(words=torch.zeros(2, 3))),
    ],
)
def test_tensors_that_do_not_fit_are_refused(folder, name, change):
    rewrite(folder, name, change)
    with pytest.raises(UserError, match="does not fit"):
        open_checkpoint(folder, dtype=torch.float32)


def test_a_manifest_cannot_name_files_elsewhere(folder):
    manifest = json.loads((folder / "checkpoint.json").read_text())
    manifest["files"]["../connector.safetensors"] = "0"
    (folder / "checkpoint.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="missing or incomplete"):
        read_manifest(folder)


def test_there_are_no_pickles_in_the_assets():
    from core.zoo.registry import ASSETS

    assert not [p for p in ASSETS.glob("**/*") if p.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}]


@pytest.mark.parametrize("name", ["finedefics-tiny", "idefics2-tiny", "object-category-tiny"])
def test_manifests_of_the_assets_keep_all_they_had(name):
    from core.zoo.registry import CHECKPOINTS

    manifest = read_manifest(CHECKPOINTS / name)
    written = json.loads((CHECKPOINTS / name / "checkpoint.json").read_text())
    written["calibration"].setdefault("encoder_weight", 0.0)
    assert manifest.model_dump(exclude={"base_folder"}) == {"encoder": "", "object_bos": True, **written}
    assert manifest.data.seen


def test_a_calibration_with_an_unknown_weight_is_refused(folder):
    manifest = json.loads((folder / "checkpoint.json").read_text())
    manifest["calibration"]["colour_weight"] = 1.0
    (folder / "checkpoint.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="missing or incomplete"):
        read_manifest(folder)


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """A whole embedded model with a fine-tuned vision encoder: the folder that an export writes, and the model."""
    folder = tmp_path_factory.mktemp("merged")
    mllm = load_mllm(torch.float32)
    initialise_connector(mllm, seed=0)
    network = {name: weights * 1.25 for name, weights in mllm.model.model.vision_model.network.state_dict().items()}
    classifier = {"weight": torch.zeros(1, 1280), "bias": torch.zeros(1)}
    save_encoder(folder / "encoder", Encoder(network, classifier, torch.zeros(1, 1280), {"size": 320}))
    use_encoder(mllm, folder / "encoder")
    labels = LabelBank(["A"], *torch.zeros(2, 1, 576), torch.zeros(1, 1280), torch.zeros(1, 8, dtype=torch.long))
    save_checkpoint(folder / "whole", mllm, labels, Calibration(1.0, 2.0, 3.0, 4.0), TrainingRecord())
    yield folder / "whole", mllm
    shutil.rmtree(folder)  # half a gigabyte


def test_a_merged_model_needs_no_file_beside_its_folder(merged):
    folder, mllm = merged
    assert sorted(path.name for path in folder.parent.iterdir()) == ["encoder", "whole"]
    opened = open_checkpoint(folder, dtype=torch.float32)[0]
    assert opened.processor.image_processor.size["height"] == 320
    pixels = torch.rand(1, 3, 320, 320)
    assert torch.equal(opened.model.model.vision_model(pixels)[0], mllm.model.model.vision_model(pixels)[0])


def test_a_merged_model_is_opened_by_its_own_class_alone(merged):
    folder, mllm = merged
    for auto in (AutoConfig, AutoModel, AutoModelForImageTextToText):
        with pytest.raises(ValueError, match="does not recognize this architecture"):
            auto.from_pretrained(folder)  # once an Idefics2 with random weights in place of the vision encoder
    model = TinyIdefics2ForConditionalGeneration.from_pretrained(folder)  # as its card says
    processor = AutoProcessor.from_pretrained(folder)
    conversation = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which bird is this?"}]}]
    prompt = processor.apply_chat_template(conversation, add_generation_prompt=True)
    inputs = processor(text=prompt, images=[Image.new("RGB", (90, 60), "red")], return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(model(**inputs).logits, mllm.model(**inputs).logits, atol=1e-2)
