"""Folders with models of the hub's families, two layers deep and 32 wide, with random weights and a stand-in tokenizer.

Each has the files, the processor settings and the chat template (or none) of a repository of its family. Where a
processor needs torchvision, its image processor and tokenizer are saved alone, as the repositories of those families do.
"""

import json
from pathlib import Path

import torch
import transformers as hf
from reduced_parts import (
    CHATML,
    CLIP_VISION,
    CROP,
    INTERNVL_TOKENS,
    LLAVA_SETTINGS,
    SIZE,
    SQUARE,
    TURNS,
    VISION,
    WIDTH,
    stand_in_tokenizer,
    t5_config,
    text_config,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics.image_processing_pil_idefics import IdeficsImageProcessorPil
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from core.models.mobilevlm import IMAGE_SIZE, MobileVlm, MobileVlmConfig, mobilevlm_processor


def llava():
    tokenizer = stand_in_tokenizer()
    config = hf.LlavaConfig(
        vision_config=CLIP_VISION,
        text_config=text_config(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    return config, hf.LlavaProcessor(CLIPImageProcessorPil(**CROP), tokenizer, chat_template=TURNS, **LLAVA_SETTINGS)


def mobilevlm():
    tokenizer = stand_in_tokenizer()
    config = MobileVlmConfig(
        vision_config={**CLIP_VISION, "image_size": IMAGE_SIZE},
        text_config=text_config(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=144,
    )
    return config, mobilevlm_processor(tokenizer)


def llava_next():
    tokenizer = stand_in_tokenizer()
    grid = [[56, 112], [112, 56], [112, 112]]
    config = hf.LlavaNextConfig(
        vision_config=CLIP_VISION,
        text_config=text_config(tokenizer, "mistral"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=grid,
    )
    images = LlavaNextImageProcessorPil(**CROP, image_grid_pinpoints=grid)
    return config, hf.LlavaNextProcessor(images, tokenizer, **LLAVA_SETTINGS)  # without a template: FOCI's is used


def _blip(tokenizer, config_class, processor, text):
    config = config_class(
        vision_config=VISION,
        qformer_config={**WIDTH, "vocab_size": len(tokenizer) + 8, "encoder_hidden_size": 32},
        text_config=text,
        num_query_tokens=8,
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
    )
    return config, processor


def blip2_t5():
    tokenizer = stand_in_tokenizer()
    processor = hf.Blip2Processor(BlipImageProcessorPil(size=SQUARE), tokenizer, num_query_tokens=8)
    return _blip(tokenizer, hf.Blip2Config, processor, t5_config(tokenizer))


def instructblip(text=text_config):
    tokenizer = stand_in_tokenizer()
    images = BlipImageProcessorPil(size=SQUARE)
    processor = hf.InstructBlipProcessor(images, tokenizer, stand_in_tokenizer(), num_query_tokens=8)
    return _blip(tokenizer, hf.InstructBlipConfig, processor, text(tokenizer))


def paligemma():
    tokenizer = stand_in_tokenizer()
    images = SiglipImageProcessorPil(size=SQUARE)
    images.image_seq_length = 16
    processor = hf.PaliGemmaProcessor(images, tokenizer)
    config = hf.PaliGemmaConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model", "projection_dim": 32, "vision_use_head": False},
        text_config=text_config(processor.tokenizer, "gemma", vocab_size=len(processor.tokenizer) + 8),
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
    )
    return config, processor


def idefics1():
    tokenizer = stand_in_tokenizer()
    resampler = {"resampler_n_latents": 8, "resampler_depth": 1, "resampler_n_heads": 4, "resampler_head_dim": 8}
    config = hf.IdeficsConfig(
        **{**text_config(tokenizer, "idefics", vocab_size=len(tokenizer))},
        additional_vocab_size=0,
        cross_layer_interval=1,
        alpha_initializer="ones",
        vision_config={**VISION, "embed_dim": 32},
        perceiver_config={"use_resampler": True, **resampler},
    )
    return config, hf.IdeficsProcessor(IdeficsImageProcessorPil(image_size=SIZE), tokenizer)


def idefics2():
    tokenizer = stand_in_tokenizer()
    images = Idefics2ImageProcessorPil(size={"shortest_edge": SIZE, "longest_edge": 2 * SIZE})
    processor = hf.Idefics2Processor(images, tokenizer, image_seq_len=8)
    resampler = {"resampler_n_latents": 8, "resampler_depth": 1, "resampler_n_heads": 4, "resampler_head_dim": 8}
    config = hf.Idefics2Config(
        text_config=text_config(tokenizer, "mistral"),
        vision_config={**VISION, "image_size": 2 * SIZE},
        perceiver_config={"hidden_size": 32, "num_key_value_heads": 2, **resampler},
        image_token_id=processor.image_token_id,
    )
    return config, processor


def idefics3():
    tokenizer = stand_in_tokenizer()
    images = Idefics3ImageProcessorPil(size={"longest_edge": 112}, max_image_size={"longest_edge": SIZE})
    template = CHATML.format(image="<image>")
    processor = hf.Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=template)
    config = hf.Idefics3Config(
        text_config=text_config(tokenizer), vision_config=VISION, scale_factor=2, image_token_id=processor.image_token_id
    )
    return config, processor


def smolvlm2():
    tokenizer = stand_in_tokenizer()
    tokenizer.chat_template = CHATML.format(image="<image>")
    images = SmolVLMImageProcessorPil(size={"longest_edge": 112}, max_image_size={"longest_edge": SIZE})
    config = hf.SmolVLMConfig(
        text_config=text_config(tokenizer),
        vision_config=VISION,
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return config, (images, tokenizer, {"processor_class": "SmolVLMProcessor", "image_seq_len": 4})


def _qwen(config_class, patch, sections, vision, **text):
    tokenizer = stand_in_tokenizer()
    tokenizer.chat_template = CHATML.format(image="<|vision_start|><|image_pad|><|vision_end|>")
    side = 2 * patch
    images = Qwen2VLImageProcessorPil(
        patch_size=patch, merge_size=2, size={"shortest_edge": 4 * side**2, "longest_edge": 16 * side**2}
    )
    rope = {"mrope_section": sections, "rope_type": "default", "rope_theta": 1e4, "mrope_interleaved": True}
    sizes = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 32}
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    text_settings = {k: v for k, v in text_config(tokenizer, **text).items() if k != "model_type"}
    config = config_class(
        text_config={**text_settings, "rope_parameters": rope},
        vision_config={**sizes, "patch_size": patch, "initializer_range": 0.2, **vision},
        **{f"{role}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for role, name in names.items()},
    )
    return config, (images, tokenizer, {})


def qwen2_5_vl():
    return _qwen(hf.Qwen2_5_VLConfig, 14, [1, 1, 2], {"fullatt_block_indexes": [1]})


def qwen3_vl():
    positions = {"num_position_embeddings": 144, "deepstack_visual_indexes": [0]}
    return _qwen(hf.Qwen3VLConfig, 16, [2, 1, 1], positions)


def qwen3_5():
    """Return a model with linear attention, whose template opens a thought unless it is told not to think."""
    attention = {"layer_types": ["linear_attention", "full_attention"]}
    heads = {
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    }
    config, (images, tokenizer, settings) = _qwen(
        hf.Qwen3_5Config, 16, [2, 1, 1], {"num_position_embeddings": 144}, **attention, **heads
    )
    thought = "<think>\n{% if enable_thinking is defined and not enable_thinking %}\n</think>\n\n{% endif %}"
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant\n", f"assistant\n{thought}")
    return config, (images, tokenizer, settings)


def gemma3():
    """Return a model whose image tokens see one another, and whose first layer sees 16 tokens."""
    tokenizer = stand_in_tokenizer(boi_token="<img>", eoi_token="</img>", image_token="<image>")
    images = Gemma3ImageProcessorPil(size=SQUARE)
    processor = hf.Gemma3Processor(images, tokenizer, image_seq_length=4, chat_template=CHATML.format(image="<img>"))
    layers = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
    begin, end, image = tokenizer.convert_tokens_to_ids(["<img>", "</img>", "<image>"])
    config = hf.Gemma3Config(
        text_config={**text_config(tokenizer, "gemma3_text"), **layers},
        vision_config={**VISION, "vision_use_head": False},
        mm_tokens_per_image=4,
        boi_token_index=begin,
        eoi_token_index=end,
        image_token_index=image,
    )
    return config, processor


def internvl():
    tokenizer = stand_in_tokenizer(**INTERNVL_TOKENS)
    tokenizer.chat_template = CHATML.format(image="<IMG_CONTEXT>\n")
    config = hf.InternVLConfig(
        vision_config={**VISION, "image_size": [SIZE, SIZE], "patch_size": [14, 14]},
        text_config=text_config(tokenizer, "qwen2"),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
    )
    images = GotOcr2ImageProcessorPil(size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=2)
    return config, (images, tokenizer, {"processor_class": "InternVLProcessor", "image_seq_length": 4})


def siglip():
    tokenizer = stand_in_tokenizer()
    text = {**WIDTH, "vocab_size": len(tokenizer), "max_position_embeddings": 64}
    config = hf.SiglipConfig(text_config=text, vision_config=VISION)
    return config, hf.SiglipProcessor(SiglipImageProcessorPil(size=SQUARE), tokenizer)


def clip():
    tokenizer = stand_in_tokenizer("<s> $A </s>")  # whose state is the text's
    last = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = {**WIDTH, "vocab_size": len(tokenizer), "max_position_embeddings": 77, **last}
    config = hf.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
    return config, hf.CLIPProcessor(CLIPImageProcessorPil(**CROP), tokenizer)


MLLMS = {
    "llava": llava,
    "mobilevlm": mobilevlm,
    "llava-next": llava_next,
    "blip2-t5": blip2_t5,
    "instructblip-t5": lambda: instructblip(t5_config),
    "instructblip-vicuna": instructblip,
    "paligemma": paligemma,
    "idefics1": idefics1,
    "idefics2": idefics2,
    "idefics3": idefics3,
    "qwen2.5-vl": qwen2_5_vl,
    "qwen3-vl": qwen3_vl,
    "qwen3.5": qwen3_5,
    "gemma3": gemma3,
    "smolvlm2": smolvlm2,
    "internvl": internvl,
}
CONTRASTIVE = {"siglip": siglip, "clip": clip}


def save_reduced(family: str, folder: Path) -> Path:
    """Save the reduced model of a family to a folder as its repositories hold it."""
    config, processor = (MLLMS | CONTRASTIVE)[family]()
    torch.manual_seed(0)
    auto = hf.AutoModelForImageTextToText if family in MLLMS else hf.AutoModel
    model = MobileVlm(config) if family == "mobilevlm" else auto.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1 and not weight.any():  # what would keep the photo from the text
                weight.normal_(std=0.2)
    model.save_pretrained(folder)
    if isinstance(processor, tuple):
        images, tokenizer, settings = processor
        images.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "processor_config.json").write_text(json.dumps(settings))
    else:
        processor.save_pretrained(folder)
    return folder
