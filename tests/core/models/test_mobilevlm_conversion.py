"""A checkpoint of MobileVLM v2 in its authors' form becomes one of ours that answers alike."""

import json
import string

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoProcessor, LlamaConfig
from transformers.convert_slow_tokenizer import import_protobuf

from core.errors import UserError
from core.models.conversion import convert
from core.models.mobilevlm import RENAMED, MobileVlm, MobileVlmConfig
from core.models.mobilevlm_conversion import TOWER, VISION, read_tokenizer
from core.progress import run

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
QUESTION = "Which bird is this?"


def write_tokenizer(path):
    """Write a SentencePiece model like Llama's: bytes, letters, and a few pieces of two letters or more."""
    letters = [*string.ascii_letters, *string.punctuation, "▁"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁a", "US", "USE", "USER", "▁USER", "is", "▁is", *letters]
    model = import_protobuf().ModelProto()
    for number, text in enumerate(pieces):
        kind = 2 if number == 0 else 3 if number < 3 else 6 if number < 259 else 1
        model.pieces.add(piece=text, score=float(259 - number), type=kind)
    path.write_bytes(model.SerializeToString())
    return len(pieces)


@pytest.fixture
def original(tmp_path, monkeypatch):
    """The folder of a reduced checkpoint in two files, and the model whose weights it holds."""
    monkeypatch.setattr("core.models.mobilevlm_conversion.VISION", {**VISION, **SMALL})
    folder = tmp_path / "source"
    folder.mkdir()
    words = write_tokenizer(folder / "tokenizer.model")
    torch.manual_seed(0)
    text = LlamaConfig(vocab_size=words, num_key_value_heads=4, **SMALL)
    model = MobileVlm(MobileVlmConfig(vision_config={**VISION, **SMALL}, text_config=text)).eval().half()
    names = {}
    for name in model.state_dict():
        start = next(original for original, ours in RENAMED.items() if name.startswith(ours))
        names[start + name.removeprefix(RENAMED[start])] = name
    halves = [dict(list(names.items())[::2]), dict(list(names.items())[1::2])]
    halves[0]["model.layers.0.self_attn.rotary_emb.inv_freq"] = "lm_head.weight"  # as older versions saved
    weight_map = {}
    for number, half in enumerate(halves, 1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({theirs: model.state_dict()[ours] for theirs, ours in half.items()}, folder / file)
        weight_map |= dict.fromkeys(half, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    config = {
        **{"model_type": "mobilevlm", "architectures": ["MobileLlamaForCausalLM"], "mm_projector_type": "ldpnetv2"},
        **{"mm_vision_tower": TOWER, "mm_vision_select_layer": -2, "image_aspect_ratio": "pad", "vocab_size": words},
        **{"num_key_value_heads": 4, "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2, **SMALL},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder, model.float()


def test_the_converted_model_answers_as_the_original(original, tmp_path):
    folder, model = original
    run(convert(folder, tmp_path / "out"))
    converted, report = MobileVlm.from_pretrained(tmp_path / "out", dtype=torch.float32, output_loading_info=True)
    assert not any(report.values())
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    conversation = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    prompt = processor.apply_chat_template(conversation, add_generation_prompt=True)
    inputs = processor(text=prompt, images=[Image.effect_noise((90, 60), 90).convert("RGB")], return_tensors="pt")
    words = model.config.text_config.vocab_size
    assert processor.image_token_id == words
    with torch.no_grad():
        logits = converted(**inputs).logits
        features = model.get_image_features(inputs["pixel_values"]).pooler_output[0]  # put between the words, as theirs
        before, after = (model.get_input_embeddings()(ids) for ids in original_ids(processor.tokenizer, prompt))
        expected = model(inputs_embeds=torch.cat([before, features, after])[None]).logits
        answer = converted.generate(**inputs, max_new_tokens=4)
    assert torch.allclose(logits[..., :words], expected, atol=1e-4)
    assert torch.allclose(logits[..., words], logits[..., :words].mean(-1), atol=1e-3)  # never the largest
    assert answer[0, inputs["input_ids"].shape[1]] == expected[0, -1].argmax()
    assert converted.generation_config.eos_token_id == 2


def original_ids(tokenizer, prompt):
    """Tokenise the texts before and after the image each by itself, as the authors' `tokenizer_image_token` does."""
    before, after = (tokenizer(part).input_ids for part in prompt.split("<image>"))
    assert before[0] == after[0] == tokenizer.bos_token_id
    return torch.tensor(before), torch.tensor(after[1:])


def test_the_tokenizer_is_llamas(original):
    tokenizer = read_tokenizer(original[0])
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("USER: a\nis é").input_ids)
    assert tokens == ["<s>", "▁USER", ":", "▁a", "<0x0A>", "is", "▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("a<image>is").input_ids) == ["<s>", "▁a", "<image>", "▁is"]
    assert tokenizer.decode(tokenizer("USER is é").input_ids, skip_special_tokens=True) == "USER is é"


def without_tower(folder):
    index = folder / "pytorch_model.bin.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    for path in folder.glob("*.bin"):
        torch.save({k: v for k, v in torch.load(path).items() if "vision_tower" not in k}, path)
    kept = {name: file for name, file in weight_map.items() if "vision_tower" not in name}
    index.write_text(json.dumps({"weight_map": kept}))


@pytest.mark.parametrize("pickled", [False, True])
def test_a_vision_encoder_that_is_left_out_comes_from_clip(pickled, original, tmp_path):
    folder, model = original
    without_tower(folder)
    with pytest.raises(UserError, match=f"holds no vision encoder: give the folder of {TOWER} as --vision-tower"):
        run(convert(folder, tmp_path / "out"))
    clip = {f"vision_model.{name}": tensor for name, tensor in model.model.vision_tower.state_dict().items()}
    clip |= {"text_model.weight": torch.zeros(1), "vision_model.embeddings.position_ids": torch.zeros(1, 577)}
    (tmp_path / "clip").mkdir()
    if pickled:
        torch.save(clip, tmp_path / "clip/pytorch_model.bin")
    else:
        save_file(clip, tmp_path / "clip/model.safetensors")
    run(convert(folder, tmp_path / "out", tmp_path / "clip"))
    converted = MobileVlm.from_pretrained(tmp_path / "out", dtype=torch.float32).model.vision_tower.state_dict()
    assert all(torch.equal(tensor, converted[name]) for name, tensor in model.model.vision_tower.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mm_projector_type": "ldpnet"}, "another MobileVLM than version 2"),
        ({"mm_vision_tower": "other/clip"}, "another MobileVLM than version 2"),
        ({"intermediate_size": 65}, "do not fit its configuration .model.language_model.layers.0.mlp.down_proj"),
    ],
)
def test_other_checkpoints_are_refused(changes, message, original, tmp_path):
    folder = original[0]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UserError, match=message):
        run(convert(folder, tmp_path / "out"))


@pytest.mark.parametrize(("data", "message"), [(None, "tokenizer.model is missing"), (b"\xff" * 9, "is damaged")])
def test_a_tokenizer_that_cannot_be_read_is_a_message(data, message, original):
    path = original[0] / "tokenizer.model"
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_tokenizer(original[0])
