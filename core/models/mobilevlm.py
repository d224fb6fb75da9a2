"""MobileVLM v2: LLaVA with a projector that leaves a quarter of the image tokens.

transformers has no class for it. The architecture, its names and its prompt follow the authors' code
(github.com/Meituan-AutoML/MobileVLM, Apache-2.0), and so does `from_original`, by which `python -m core convert` turns
their checkpoint into a folder of ours.
"""

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GRID = 12  # image tokens per side
IMAGE_SIZE = 336  # pixels per side of CLIP-L/14-336, the vision encoder
CHAT_TEMPLATE = (  # Vicuna's, version 1.1
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{{ ' ' if message['role'] == 'user' else '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
RENAMED = {  # beginnings of the names of the original checkpoint
    "model.vision_tower.vision_tower.vision_model.": "model.vision_tower.",
    "model.mm_projector.mlp.mlp.0.": "model.multi_modal_projector.linear_1.",
    "model.mm_projector.mlp.mlp.2.": "model.multi_modal_projector.linear_2.",
    "model.mm_projector.peg.peg.0.": "model.multi_modal_projector.position.",
    "lm_head.": "lm_head.",
    "model.": "model.language_model.",
}
COMPUTED = ("rotary_emb.inv_freq", "embeddings.position_ids")  # ends of names: buffers that are no weights


class MobileVlmConfig(LlavaConfig):
    """LLaVA's configuration under a name of its own: the weights fit no other class."""

    model_type = "mobilevlm_v2"


class DownsampleProjector(LlavaMultiModalProjector):
    """The lightweight downsample projector, version 2 (MobileVLM V2, section 3.3): LLaVA's, pooled, with positions."""

    def __init__(self, config: MobileVlmConfig) -> None:
        super().__init__(config)
        width = config.text_config.hidden_size
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.position = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)

    def forward(self, image_features: Tensor) -> Tensor:
        """Return image tokens [B, 144, T] for the patches [B, S * S, V] of square photos."""
        tokens = super().forward(image_features).transpose(1, 2)  # [B, T, S * S]
        side = math.isqrt(tokens.shape[2])
        grid = self.pool(tokens.unflatten(2, (side, side)))  # [B, T, 12, 12]
        return (grid + self.position(grid)).flatten(2).transpose(1, 2)


class MobileVlm(LlavaForConditionalGeneration):
    """LLaVA (CLIP, Llama) over a `DownsampleProjector`."""

    config: MobileVlmConfig

    def __init__(self, config: MobileVlmConfig) -> None:
        super().__init__(config)
        self.model.multi_modal_projector = DownsampleProjector(config)
        self.post_init()


def mobilevlm_processor(tokenizer: "PreTrainedTokenizerBase", pad: bool = True) -> LlavaProcessor:
    """Return the processor: photos padded to a square with CLIP's mean colour (unless not `pad`), 144 tokens each."""
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    images = LlavaImageProcessorPil(
        do_pad=pad,
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=IMAGE_SIZE // GRID,  # of what is left after pooling
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token, which that strategy leaves out
        chat_template=CHAT_TEMPLATE,
    )


def from_original(name: str) -> str | None:
    """Return the name here of a tensor of the original checkpoint; None for what is computed, not learned."""
    if name.endswith(COMPUTED):
        return None
    original = next((start for start in RENAMED if name.startswith(start)), "")
    return RENAMED.get(original, "") + name.removeprefix(original)
