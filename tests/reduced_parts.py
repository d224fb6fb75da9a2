"""What reduced models of several families share: a stand-in tokenizer, chat templates and sizes."""

from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

SPECIAL = (
    *("<pad>", "<s>", "</s>", "<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"),
    *("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    *("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
)
INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
WORDS = ["Answer A B C D", "Choices: A. Common Raven B. Egyptian Mau C. Siamese D. Birman", "bird cat in the image"] * 9
SIZE = 56  # pixels per side, 4 x 4 patches
SQUARE = {"height": SIZE, "width": SIZE}
CROP = {"size": {"shortest_edge": SIZE}, "crop_size": SQUARE}
WIDTH = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}
VISION = {**WIDTH, "image_size": SIZE, "patch_size": 14}
CLIP_VISION = {**VISION, "num_hidden_layers": 3, "model_type": "clip_vision_model", "projection_dim": 32}
LLAVA_SETTINGS = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
CHATML = (
    "{{% for message in messages %}}<|im_start|>{{{{ message['role'] }}}}\n{{% for part in message['content'] %}}"
    "{{% if part['type'] == 'image' %}}{image}{{% else %}}{{{{ part['text'] }}}}{{% endif %}}{{% endfor %}}<|im_end|>\n"
    "{{% endfor %}}{{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
)
TURNS = (
    "{% for message in messages %}{{ message['role'].upper() }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def stand_in_tokenizer(template="<s> $A", **names):
    """Return a small byte-level tokenizer that puts <s> before a text and knows the families' special tokens."""
    inner = Tokenizer(BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner.train_from_iterator(WORDS, trainers.BpeTrainer(vocab_size=360, initial_alphabet=alphabet, show_progress=False))
    inner.add_special_tokens(list(SPECIAL))
    marks = [(mark, inner.token_to_id(mark)) for mark in ("<s>", "</s>")]
    inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", extra_special_tokens=names
    )


def text_config(tokenizer, model_type="llama", **more):
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    heads = {"num_key_value_heads": 2, "max_position_embeddings": 4096, "head_dim": 8}
    return {**WIDTH, **heads, **ids, "model_type": model_type, "vocab_size": len(tokenizer) + 8, **more}


def t5_config(tokenizer):
    sizes = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
    start = {"decoder_start_token_id": 0, "is_encoder_decoder": True, "initializer_factor": 3.0}
    return {**text_config(tokenizer, "t5"), **sizes, **start}
