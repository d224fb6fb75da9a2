"""The small vision encoder, and the Idefics2 that contains it.

`TinyIdefics2ForConditionalGeneration` is an `Idefics2ForConditionalGeneration` in every respect but one: its
vision transformer is replaced by EfficientNet-Lite2 (ImageNet-1k), which a CPU runs in tens of milliseconds.
"""

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from transformers import Idefics2Config, Idefics2ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.idefics2.configuration_idefics2 import Idefics2VisionConfig

PATCH = 32  # total stride of EfficientNet-Lite2: one token per 32 x 32 pixels
FEATURES = 1280  # channels of its last feature map


class EfficientNetTower(nn.Module):
    """EfficientNet-Lite2's feature map as patch tokens, behind the interface of Idefics2's vision transformer."""

    def __init__(self, config: Idefics2VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.network = EfficientNet.from_name("efficientnet-lite2", image_size=config.image_size)
        del self.network._fc  # the ImageNet classifier is not part of the tower

    def forward(
        self, pixel_values: torch.Tensor, patch_attention_mask: torch.Tensor | None = None, **_: object
    ) -> BaseModelOutputWithPooling:
        """Return last_hidden_state [B, (H/32)*(W/32), 1280] for pixel_values [B, 3, H, W].

        `patch_attention_mask` is accepted for the interface; convolutions do not use it, and the photos
        of this model are resized to a square, so nothing is padded.
        """
        pixel_values = pixel_values.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        feature_map = self.network.extract_features(pixel_values)  # [B, 1280, H/32, W/32]
        return BaseModelOutputWithPooling(last_hidden_state=feature_map.flatten(2).transpose(1, 2))


class TinyIdefics2Config(Idefics2Config):
    """Idefics2's configuration under a name of its own, for which transformers' Auto classes have no other model."""

    model_type = "tiny_idefics2"


class TinyIdefics2ForConditionalGeneration(Idefics2ForConditionalGeneration):
    """Idefics2 (connector and text model unchanged) over an `EfficientNetTower`."""

    config: TinyIdefics2Config

    def __init__(self, config: TinyIdefics2Config) -> None:
        super().__init__(config)
        self.model.vision_model = EfficientNetTower(config.vision_config)
