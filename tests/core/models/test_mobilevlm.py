"""MobileVLM v2 in the form that transformers loads, against its description and the names in its authors' code."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import AddedToken, AutoTokenizer, CLIPVisionConfig, LlamaConfig

from core.models.embedded import ensure_base
from core.models.mobilevlm import MobileVlm, MobileVlmConfig, from_original, mobilevlm_processor

QUESTION = "Which bird is this?"
PROMPT = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    f"and polite answers to the user's questions. USER: <image>\n{QUESTION} ASSISTANT:"
)


@pytest.fixture(scope="module")
def processor():
    tokenizer = AutoTokenizer.from_pretrained(ensure_base())
    tokenizer.add_tokens([AddedToken("<image>", special=True, normalized=False)], special_tokens=True)
    return mobilevlm_processor(tokenizer)


@pytest.fixture(scope="module")
def model(processor):
    """The architecture with its real image size, two layers deep and 32 wide, random weights."""
    small = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = CLIPVisionConfig(hidden_size=16, image_size=336, patch_size=14, **small)
    text = LlamaConfig(hidden_size=32, vocab_size=len(processor.tokenizer), **small)
    torch.manual_seed(0)
    return MobileVlm(
        MobileVlmConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=processor.image_token_id,
            image_seq_length=144,
        )
    ).eval()


def inputs_of(processor, photo):
    conversation = [{"role": "user", "content": [{"type": "text", "text": QUESTION}, {"type": "image"}]}]
    prompt = processor.apply_chat_template(conversation, add_generation_prompt=True)
    return prompt, processor(text=prompt, images=[photo], return_tensors="pt")


def test_the_projector_is_what_its_description_says(model):
    projector = model.model.multi_modal_projector
    weights = projector.state_dict()
    patches = torch.randn(2, 576, 16)
    hidden = F.gelu(patches @ weights["linear_1.weight"].T + weights["linear_1.bias"])
    hidden = hidden @ weights["linear_2.weight"].T + weights["linear_2.bias"]
    pooled = hidden.reshape(2, 12, 2, 12, 2, 32).mean((2, 4))  # of every 2 x 2 patches one token
    padded = F.pad(pooled, (0, 0, 1, 1, 1, 1))
    kernel = weights["position.weight"]  # [32, 1, 3, 3]: each channel by itself
    positions = sum(padded[:, y : y + 12, x : x + 12] * kernel[:, 0, y, x] for y in range(3) for x in range(3))
    expected = (pooled + positions + weights["position.bias"]).reshape(2, 144, 32)
    assert torch.allclose(projector(patches), expected, atol=1e-5)


def test_the_real_size_has_the_tensors_of_the_authors_checkpoint():
    text = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32)
    with torch.device("meta"):
        shapes = {name: tuple(t.shape) for name, t in MobileVlm(MobileVlmConfig(text_config=text)).state_dict().items()}
    original = {  # a part, as model/vision_projector.py, vision_encoder.py and mobilellama.py of their code name it
        "model.mm_projector.mlp.mlp.0.weight": (4096, 1024),
        "model.mm_projector.mlp.mlp.0.bias": (4096,),
        "model.mm_projector.mlp.mlp.2.weight": (4096, 4096),
        "model.mm_projector.mlp.mlp.2.bias": (4096,),
        "model.mm_projector.peg.peg.0.weight": (4096, 1, 3, 3),
        "model.mm_projector.peg.peg.0.bias": (4096,),
        "model.vision_tower.vision_tower.vision_model.embeddings.class_embedding": (1024,),
        "model.vision_tower.vision_tower.vision_model.embeddings.patch_embedding.weight": (1024, 3, 14, 14),
        "model.vision_tower.vision_tower.vision_model.embeddings.position_embedding.weight": (577, 1024),
        "model.vision_tower.vision_tower.vision_model.encoder.layers.23.mlp.fc1.weight": (4096, 1024),
        "model.embed_tokens.weight": (32000, 4096),
        "model.layers.31.mlp.down_proj.weight": (4096, 11008),
        "model.norm.weight": (4096,),
        "lm_head.weight": (32000, 4096),
    }
    assert {name: shapes[from_original(name)] for name in original} == original
    projector = {name for name in shapes if "multi_modal_projector" in name}
    assert projector == {from_original(name) for name in original if "mm_projector" in name}
    assert from_original("model.layers.0.self_attn.rotary_emb.inv_freq") is None


def test_a_photo_is_padded_to_a_square_with_the_mean_colour(processor):
    pixels = processor.image_processor(Image.new("RGB", (200, 100), "white"))["pixel_values"][0]
    assert pixels.shape == (3, 336, 336)
    assert np.abs(pixels[:, [0, 80, -80, -1]]).max() < 0.02  # 122, 116, 104 are CLIP's mean, rounded down
    assert pixels[:, 168].min() > 1.9


def test_the_prompt_is_vicunas_with_144_image_tokens(processor):
    prompt, inputs = inputs_of(processor, Image.new("RGB", (200, 100)))
    assert prompt == PROMPT
    assert (inputs["input_ids"] == processor.image_token_id).sum() == 144


def test_a_reduced_model_reads_a_photo_and_answers_alike_after_saving(model, processor, tmp_path):
    inputs = inputs_of(processor, Image.effect_noise((200, 100), 90).convert("RGB"))[1]
    with torch.no_grad():
        logits = model(**inputs).logits
        blank = model(**{**inputs, "pixel_values": torch.zeros_like(inputs["pixel_values"])}).logits
        step = model.generate(**inputs, max_new_tokens=3, do_sample=False, pad_token_id=0)
    assert logits.shape == (1, inputs["input_ids"].shape[1], len(processor.tokenizer))
    assert not torch.allclose(logits[0, -1], blank[0, -1])
    assert step[0, inputs["input_ids"].shape[1]] == logits[0, -1].argmax()
    model.save_pretrained(tmp_path)
    again = MobileVlm.from_pretrained(tmp_path)
    assert all(torch.equal(weights, again.state_dict()[name]) for name, weights in model.state_dict().items())
