"""Encode a photo: its augmented views through the vision encoder, the connector and the text model."""

from dataclasses import dataclass

import torch
from PIL import Image, ImageOps
from torch import Tensor

from core.models.scoring import pooled_features
from core.models.vlm import VisionFeatures, VisionLanguageModel

CENTER_CROP = 0.9  # of each side of a photo


@dataclass(frozen=True)
class PhotoEncoding:
    """The features of V views of one photo, and their means over the views."""

    vision: VisionFeatures  # states [V, P, D], mask [V, P]; the unchanged photo comes first
    image_tokens: Tensor  # [V, L, H] in the same order
    embedding: Tensor  # [H] mean of the views' object embeddings
    features: Tensor  # [D] mean of the views' pooled vision features

    @property
    def tokens(self) -> Tensor:
        """Return the image tokens [1, L, H] of the unchanged photo, for questions about it."""
        return self.image_tokens[:1]


def tta_views(photo: Image.Image) -> list[Image.Image]:
    """Return the views for test-time augmentation: the photo, its centre crop and the horizontal flips of both.

    Averaging over the four is more accurate than the photo alone.
    """
    left, top = (round(side * (1 - CENTER_CROP) / 2) for side in photo.size)
    crop = photo.crop((left, top, photo.width - left, photo.height - top))
    return [view for picture in (photo, crop) for view in (picture, ImageOps.mirror(picture))]


@torch.no_grad()
def encode_views(mllm: VisionLanguageModel, vision: VisionFeatures) -> PhotoEncoding:
    """Encode one photo from the vision features of its views."""
    tokens = mllm.image_tokens(vision)
    embedding = mllm.embed_photos(tokens).mean(dim=0).cpu()
    return PhotoEncoding(vision, tokens, embedding, pooled_features(vision).mean(dim=0).cpu())


@torch.no_grad()
def encode_each(mllm: VisionLanguageModel, photos: list[Image.Image]) -> list[PhotoEncoding]:
    """Encode several photos in one pass, each from a single view (V = 1)."""
    vision = mllm.vision_features(photos)
    tokens = mllm.image_tokens(vision)
    embeddings, features = mllm.embed_photos(tokens).cpu(), pooled_features(vision).cpu()
    return [
        PhotoEncoding(
            VisionFeatures(vision.states[i : i + 1], vision.mask[i : i + 1]),
            tokens[i : i + 1],
            embeddings[i],
            features[i],
        )
        for i in range(len(photos))
    ]
