"""Contrastive models of photos and texts (CLIP, SigLIP): they compare, and write nothing."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

CAPTION = "an image of a {}"  # FOCI's template of CLIP models
BATCH = 32
MAX_CAPTIONS = 10_000  # whose features are kept: reading hundreds of names takes minutes without a GPU
OPTION = re.compile(r"^([A-Z])\. (.+)$", re.MULTILINE)  # as `core.taxonomy.prompts.closed_question` lists them


@dataclass(frozen=True)
class ContrastiveFeatures:
    """Features of N photos or texts, float32 and L2-normalised."""

    pooled: Tensor  # [N, D]: of the shared space, from the class token or the pooling head
    average: Tensor  # [N, H]: the mean over patches or words before that


class ContrastiveModel:
    """A `QuestionModel` that answers closed questions by the similarity of the photo with the options."""

    def __init__(self, name: str, model: Any, processor: Any) -> None:
        self.name = name
        self._model = model
        self._images = processor.image_processor
        self._tokenizer = processor.tokenizer
        self._siglip = model.config.model_type.startswith("siglip")
        self._captions: dict[str, Tensor] = {}  # [D] by name

    def ask(self, photo: Image.Image, question: str, max_tokens: int) -> None:
        """Return None: the model cannot write. Its choice among options is in `letter_scores`."""

    def letter_scores(self, photo: Image.Image, question: str, count: int) -> Tensor | None:
        """Return the log-softmax [count] of the similarities with the question's options; None if it lists others."""
        options = lettered_options(question)
        if len(options) != count:
            return None
        return self.name_scores(photo, question, options).log_softmax(dim=0)

    @torch.no_grad()
    def name_scores(self, photo: Image.Image, question: str, names: Sequence[str]) -> Tensor:
        """Return the model's own logits [N] of a photo with captions of the names; the question does not count."""
        photos = self.photo_features([photo]).pooled  # [1, D]
        captions = self._caption_features(names)
        bias = self._model.logit_bias.float().cpu() if self._siglip else 0.0
        return (photos @ captions.T * self._model.logit_scale.exp().float().cpu() + bias)[0]

    def reply_scores(self, photo: Image.Image, question: str, options: Sequence[str]) -> None:
        """Return None: the model cannot write."""

    def _caption_features(self, names: Sequence[str]) -> Tensor:
        """Return the features [N, D] of captions of the names, which are kept."""
        if new := [name for name in dict.fromkeys(names) if name not in self._captions]:
            if len(self._captions) + len(new) > MAX_CAPTIONS:
                self._captions.clear()
                new = list(dict.fromkeys(names))
            features = self.text_features([CAPTION.format(name) for name in new]).pooled
            self._captions.update(zip(new, features, strict=True))
        return torch.stack([self._captions[name] for name in names])

    @torch.no_grad()
    def photo_features(self, photos: Sequence[Image.Image]) -> ContrastiveFeatures:
        """Return the features of RGB photos."""
        parts = []
        for batch in _batches(photos):
            inputs = self._images(images=batch, return_tensors="pt").to(self._model.device, self._model.dtype)
            output = self._model.get_image_features(**inputs)
            states = output.last_hidden_state  # [B, P, H]
            mask = inputs.get("pixel_attention_mask")  # [B, P] of SigLIP 2 for photos of any shape
            if mask is None:
                states = states if self._siglip else states[:, 1:]  # without the class token
                mask = torch.ones(states.shape[:2], device=states.device)
            parts.append((output.pooler_output, _mean(states, mask)))
        return _features(parts)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> ContrastiveFeatures:
        """Return the features of texts, each cut to what the model can read."""
        length = self._model.config.text_config.max_position_embeddings
        parts = []
        for batch in _batches([text.lower() for text in texts] if self._siglip else texts):
            padding = "max_length" if self._siglip else True  # SigLIP was trained on padded texts, without a mask
            inputs = self._tokenizer(
                batch,
                padding=padding,
                truncation=True,
                max_length=length,
                return_attention_mask=True,
                return_tensors="pt",
            ).to(self._model.device)
            words = inputs["attention_mask"]
            seen = {} if self._siglip else {"attention_mask": words}
            output = self._model.get_text_features(input_ids=inputs["input_ids"], **seen)
            parts.append((output.pooler_output, _mean(output.last_hidden_state, words)))
        return _features(parts)


def lettered_options(question: str) -> list[str]:
    """Return the options that a closed question lists, in order; none if their letters are not A, B, ..."""
    found = OPTION.findall(question)
    in_order = [letter for letter, _ in found] == [chr(ord("A") + i) for i in range(len(found))]
    return [option.strip() for _, option in found] if in_order and len(found) > 1 else []


def _batches(items: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), BATCH):
        yield list(items[start : start + BATCH])


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask[..., None].float()
    return (states.float() * weights).sum(dim=1) / weights.sum(dim=1)


def _features(parts: list[tuple[Tensor, Tensor]]) -> ContrastiveFeatures:
    pooled, average = (torch.cat(side).float().cpu() for side in zip(*parts, strict=True))
    return ContrastiveFeatures(F.normalize(pooled, dim=-1), F.normalize(average, dim=-1))
