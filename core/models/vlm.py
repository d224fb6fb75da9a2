"""A vision-language model of the Idefics2 or Idefics3 (SmolVLM) architecture, in the steps that the method needs.

A photo goes through the frozen vision encoder once (`VisionFeatures`, cacheable), through the connector (image tokens),
and through the text model once per text that is related to it. A photo is one image: splitting into sub-images must be
off.
"""

import copy
import math
import sys
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    DynamicCache,
    Idefics2ForConditionalGeneration,
    Idefics2Processor,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
)

from core.errors import UserError
from core.models.special_tokens import SpecialTokens
from core.storage.cache import sha256_of

# Of sequence lengths in a group: padding costs a CPU as much as words do; a GPU waits for every further pass to start.
MAX_GROWTH = {"cpu": 1.3, "cuda": 8.0}
END_OF_UTTERANCE = "<end_of_utterance>"  # ends a turn in the chat templates of Idefics2-8B and SmolVLM


@dataclass(frozen=True)
class VisionFeatures:
    """The output of the frozen vision encoder for B photos."""

    states: Tensor  # [B, P, D_vision]
    mask: Tensor  # [B, P] bool: False where a patch is padding


Item = TypeVar("Item", bound=Sized)


def eos_states(states: Tensor, sequences: Sequence[Sized]) -> Tensor:
    """Return the last state of each right-padded sequence, from states [B, T, H]: [B, H] float32, L2-normalised."""
    last = torch.tensor([len(sequence) - 1 for sequence in sequences], device=states.device)
    return F.normalize(states[torch.arange(len(sequences), device=states.device), last].float(), dim=-1)


def by_length(
    items: Sequence[Item],
    compute: Callable[[list[Item]], Tensor],
    most: int = sys.maxsize,
    growth: float = math.inf,
) -> Tensor:
    """Compute a row of every item, in groups of similar length, and return the rows in the order of the items.

    A group has at most `most` items, of which none is longer than `growth` times the shortest, plus two.
    """
    order = sorted(range(len(items)), key=lambda i: len(items[i]))
    groups: list[list[int]] = []
    for i in order:
        if not groups or len(groups[-1]) == most or len(items[i]) > growth * len(items[groups[-1][0]]) + 2:
            groups.append([])
        groups[-1].append(i)
    rows = torch.cat([compute([items[i] for i in group]) for group in groups])
    return rows[torch.tensor(order, device=rows.device).argsort()]


class VisionLanguageModel:
    """An Idefics2-like model with its processor. `base` is the source given to `core.models.base_models.open_base`."""

    def __init__(
        self,
        model: Idefics2ForConditionalGeneration | Idefics3ForConditionalGeneration,
        processor: Idefics2Processor | Idefics3Processor,
        base: str,
    ) -> None:
        self.model = model
        self.processor = processor
        self.base = base
        self.tokenizer = processor.tokenizer
        self.answer_end = self.tokenizer.eos_token_id  # what the model ends an answer with
        if END_OF_UTTERANCE in str(processor.chat_template):
            self.answer_end = self.tokenizer.convert_tokens_to_ids(END_OF_UTTERANCE)
        self.image_token = model.config.image_token_id
        self.encoder_file: Path | None = None  # of a fine-tuned vision encoder; None: the base's own
        self.object_bos = True  # whether `object_ids` begins with BOS; not so for the released weights of 8B
        self.text_model = model.model.text_model
        self._special = SpecialTokens(self.tokenizer)

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return self.model.device

    def own_weights(self) -> None:
        """Copy the weights that are shared with other models, so that all of them can be trained."""
        self.model = copy.deepcopy(self.model)
        self.text_model = self.model.model.text_model

    @property
    def encoder_id(self) -> str:
        """Return the fingerprint of the fine-tuned vision encoder, "" for the base's own."""
        return sha256_of(self.encoder_file)[:16] if self.encoder_file else ""

    def resize_image_tokens(self, count: int) -> None:
        """Give an untrained resampler `count` latents, so that a photo is that many image tokens.

        Raises `UserError` for a connector of another kind.
        """
        resampler = getattr(self.model.model.connector, "perceiver_resampler", None)
        if resampler is None:
            raise UserError(f"The number of image tokens of {self.base} is fixed: leave image_tokens out of the recipe.")
        latents = torch.zeros(count, resampler.latents.shape[1], device=self.device)
        resampler.latents = torch.nn.Parameter(latents, requires_grad=False)
        resampler.n_latents = count
        self.model.config = copy.deepcopy(self.model.config)  # shared with the base
        self.model.config.perceiver_config.resampler_n_latents = count
        self.processor.image_seq_len = count

    def escape(self, text: str) -> str:
        """Return the text with its special tokens broken up, so that it cannot end a turn or stand for a photo."""
        return self._special.break_up(text)

    def pixels(self, photos: list[Image.Image]) -> tuple[Tensor, Tensor]:
        """Return the encoder's input for RGB photos: pixels [B, 3, H, W] and patch mask [B, H/p, W/p], on the CPU."""
        inputs = self.processor.image_processor([[photo] for photo in photos], return_tensors="pt")
        pixels = inputs["pixel_values"][:, 0]
        pixel_mask = inputs.get("pixel_attention_mask")
        if pixel_mask is None:
            pixel_mask = torch.ones(pixels.shape[0], 1, *pixels.shape[2:])
        patch = self.model.config.vision_config.patch_size
        patches = pixel_mask[:, 0].unfold(1, patch, patch).unfold(2, patch, patch)  # [B, H/p, W/p, p, p]
        return pixels, patches.sum(dim=(-1, -2)) == patch * patch

    @property
    def max_growth(self) -> float:
        """Return `by_length`'s growth for this device."""
        return MAX_GROWTH.get(self.device.type, 1.3)

    @torch.no_grad()
    def encode_vision(self, pixels: Tensor, patch_mask: Tensor) -> VisionFeatures:
        """Run the frozen vision encoder on `pixels` (the first half of the model's `get_image_features`)."""
        encoder = self.model.model.vision_model
        pixels = pixels.to(self.device, next(encoder.parameters()).dtype)
        patch_mask = patch_mask.to(self.device)
        states = encoder(pixel_values=pixels, patch_attention_mask=patch_mask).last_hidden_state
        return VisionFeatures(states, patch_mask.flatten(1))

    def vision_features(self, photos: list[Image.Image]) -> VisionFeatures:
        """Return the vision features of RGB photos."""
        return self.encode_vision(*self.pixels(photos))

    def image_tokens(self, vision: VisionFeatures) -> Tensor:
        """Run the connector: return the image tokens [B, L, H] of the photos."""
        connector = self.model.model.connector
        states = vision.states.to(next(connector.parameters()).dtype)
        if isinstance(self.model, Idefics3ForConditionalGeneration):
            return connector(states)  # its photos are squares: no patch is padding
        return connector(states, attention_mask=vision.mask)

    def text_ids(self, text: str) -> list[int]:
        """Return `[BOS, text, EOS]`, whose EOS state embeds a text. Raises `ValueError` for an empty text."""
        words = self.tokenizer(self.escape(text), add_special_tokens=False).input_ids
        if not words:
            raise ValueError("An empty text cannot be embedded.")
        return [self.tokenizer.bos_token_id, *words, self.tokenizer.eos_token_id]

    def object_ids(self) -> list[int]:
        """Return `[BOS, image tokens, EOS]`, whose EOS state embeds a photo; without BOS if `object_bos` is off."""
        start = [self.tokenizer.bos_token_id] if self.object_bos else []
        return [*start, *[self.image_token] * self.processor.image_seq_len, self.tokenizer.eos_token_id]

    def question_ids(self, question: str) -> list[int]:
        """Return the chat prompt that asks `question` about one photo, up to where the answer starts."""
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": self.escape(question)}]}
        prompt = self.processor.apply_chat_template([turn], add_generation_prompt=True)
        if isinstance(self.processor, Idefics3Processor):  # it makes room for an image only when it is given one
            image = self.processor.replace_image_token({"rows": [[0]], "cols": [[0]]}, 0)
            return self.tokenizer(prompt.replace(self.processor.image_token, image)).input_ids
        return self.processor(text=[prompt])["input_ids"][0]

    def answer_ids(self, answer: str) -> list[int]:
        """Return the tokens of an answer and of the end of the turn."""
        return [*self.tokenizer(self.escape(answer), add_special_tokens=False).input_ids, self.answer_end]

    def input_embeddings(self, sequences: list[list[int]], image_tokens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return right-padded input embeddings [B, T, H] and attention mask [B, T] of token sequences.

        The image placeholders of all sequences, in order, are filled with the rows of `image_tokens` [B', L, H].
        Raises `ValueError` for an empty sequence or when placeholders and image tokens do not match in number.
        """
        if not all(sequences):
            raise ValueError("A sequence without tokens cannot be embedded.")
        ids = [torch.tensor(sequence) for sequence in sequences]
        padded = pad_sequence(ids, batch_first=True, padding_value=self.tokenizer.pad_token_id).to(self.device)
        lengths = torch.tensor([len(sequence) for sequence in sequences], device=self.device)
        mask = torch.arange(padded.shape[1], device=self.device) < lengths[:, None]
        embeddings = self.model.get_input_embeddings()(padded)
        placeholders = (padded == self.image_token) & mask
        if image_tokens is None:
            image_tokens = embeddings.new_zeros(0, 1, embeddings.shape[-1])
        if placeholders.sum() != image_tokens.shape[0] * image_tokens.shape[1]:
            raise ValueError("The number of image placeholders differs from the number of image tokens.")
        embeddings = embeddings.masked_scatter(placeholders[..., None], image_tokens.to(embeddings.dtype))
        return embeddings, mask

    def hidden_states(
        self, sequences: list[list[int]], image_tokens: Tensor | None = None, cache: DynamicCache | None = None
    ) -> Tensor:
        """Return the last hidden states [B, T, H] (after the final norm) of right-padded sequences."""
        embeddings, _ = self.input_embeddings(sequences, image_tokens)
        # No attention mask: padding is on the right, where a causal model's real tokens never look.
        return self.text_model(
            inputs_embeds=embeddings, past_key_values=cache, use_cache=cache is not None
        ).last_hidden_state

    def embed(self, sequences: list[list[int]], image_tokens: Tensor | None = None) -> Tensor:
        """Return the last hidden state at each sequence's EOS (o, a and c of the method): [B, H] float32, L2-normalised.

        Raises `ValueError` for a sequence that does not end in EOS: its position is taken from the length, since
        padding may be the same token.
        """
        eos = self.tokenizer.eos_token_id
        if any(not sequence or sequence[-1] != eos for sequence in sequences):
            raise ValueError("A sequence to embed must end in the end-of-sequence token.")
        if image_tokens is not None:  # photos are all of one length
            return self.embed_batch(sequences, image_tokens)
        return by_length(sequences, self.embed_batch, growth=self.max_growth)

    def embed_batch(self, sequences: list[list[int]], image_tokens: Tensor | None = None) -> Tensor:
        """Run `embed` in one pass, every sequence padded to the longest."""
        return eos_states(self.hidden_states(sequences, image_tokens), sequences)

    def embed_texts(self, texts: list[str], batch: int = 32) -> Tensor:
        """Return the embeddings [N, H] float32 of texts (category names or descriptions), without gradients."""
        with torch.no_grad():
            return by_length(texts, lambda part: self.embed([self.text_ids(text) for text in part]), most=batch)

    def word_ids(self, texts: list[str]) -> Tensor:
        """Return the ids [N, L] of each text's first L tokens, L being the number of image tokens; -1 is padding."""
        rows = torch.full((len(texts), self.processor.image_seq_len), -1)
        for row, text in zip(rows, texts, strict=True):
            ids = self.tokenizer(self.escape(text), add_special_tokens=False).input_ids[: len(row)]
            row[: len(ids)] = torch.tensor(ids, dtype=row.dtype)
        return rows

    def word_embeddings(self, ids: Tensor) -> Tensor:
        """Return the input embeddings [N, L, H] float32 of `word_ids` [N, L], zeros for padding."""
        ids = ids.to(self.device)
        table = self.model.get_input_embeddings().weight.detach()
        return table[ids.clamp(min=0)].float() * (ids >= 0)[..., None]

    def embed_photos(self, image_tokens: Tensor) -> Tensor:
        """Return the object embeddings [B, H] float32 of photos given as image tokens [B, L, H]."""
        return self.embed([self.object_ids()] * image_tokens.shape[0], image_tokens)
