"""Any multi-modal model of the hub that answers questions about photos, through the classes of transformers.

It covers text models that see image tokens, encoder-decoders (BLIP-2 and InstructBLIP on T5), prefix-LM masks
(PaliGemma) and cross-attention (Idefics). `core.models.vlm` is the model that can be trained.
"""

import copy
import inspect
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from core.models.photo_prompts import Prompt, Prompter
from core.models.streaming import ReplyStreamer, stream_generation

MAX_NAMES = 24  # in a batch
MAX_TOKENS = 6144  # in a batch of names, prompts included: 3 GB of keys and values in a model of 7 B
ATTENTION_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)
CROSS_ATTENTION = ("image_attention_mask", "cross_attention_mask")  # inputs of models whose text looks at the photo
FOLLOWED = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", *CROSS_ATTENTION}  # [n, T, ...]
PHOTO_ALWAYS = ("idefics", "blip-2", "instructblip")
IDEFICS_IMAGE = ("<image>", "<fake_token_around_image>")  # never part of a reply
START_TO_END = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


class GeneralModel:
    """A `QuestionModel` on a model of `AutoModelForImageTextToText`, with frozen weights."""

    def __init__(self, name: str, model: Any, processor: Any) -> None:
        self.name = name
        self._model = model
        self._family = model.config.model_type
        self._prompter = Prompter(name, processor, self._family)
        parts = (model.config, model.config.get_text_config())
        self._encoder_decoder = any(getattr(part, "is_encoder_decoder", False) for part in parts)
        self._greedy = self._greedy_settings()
        ends = self._greedy.eos_token_id
        self._ends = ends if isinstance(ends, list) else [] if ends is None else [ends]

    def _greedy_settings(self) -> GenerationConfig:
        """Set greedy decoding; of the repository's own settings keep only which tokens start and end a text."""
        sources = (self._model.generation_config, self._model.config.get_text_config(), self._prompter.tokenizer)
        tokens = {}
        for key in START_TO_END:
            known = (getattr(source, key, None) for source in sources)
            tokens[key] = next((token for token in known if token is not None), None)
        banned = None
        if self._family == "idefics":
            banned = [[token] for token in self._prompter.tokenizer.convert_tokens_to_ids(list(IDEFICS_IMAGE))]
        greedy = GenerationConfig(do_sample=False, num_beams=1, bad_words_ids=banned, **tokens)
        self._model.generation_config = greedy
        if hasattr(self._model, "language_model"):  # BLIP-2 and InstructBLIP generate with it
            self._model.language_model.generation_config = greedy
        return greedy

    @torch.no_grad()
    def ask(self, photo: Image.Image, question: str, max_tokens: int) -> str:
        """Return the greedy reply of at most `max_tokens` tokens, without prompt, special tokens and thought.

        A model that thinks is told not to, where its chat template knows how; else `max_tokens` must leave room for
        the thought, of which nothing is returned.
        """
        prompt = self._prompt(photo, question)
        generated = self._model.generate(**prompt.inputs, max_new_tokens=max_tokens)[0]
        asked = prompt.inputs["input_ids"][0]
        if self._encoder_decoder:  # which returns no prompt, but the token that its decoder starts with
            generated = generated[1:]
        elif torch.equal(generated[: len(asked)], asked):
            generated = generated[len(asked) :]
        return self._prompter.reply(generated, prompt)

    def stream(self, photo: Image.Image, question: str, max_tokens: int) -> Iterator[str]:
        """Yield the reply of `ask` as it grows. Closing the iterator stops the work within one token."""
        prompt = self._prompt(photo, question)
        generate = partial(self._model.generate, **prompt.inputs, max_new_tokens=max_tokens)
        streamer = ReplyStreamer(self._prompter.tokenizer, lambda tokens: self._prompter.reply(tokens, prompt))
        yield from stream_generation(generate, streamer)

    @torch.no_grad()
    def letter_scores(self, photo: Image.Image, question: str, count: int) -> Tensor | None:
        """Return log p(letter | photo, question) [count] of A, B, ... as the first token of the answer.

        Tokens that are the same letter with and without a space before it are added up. None for a model that begins
        with a thought, or whose tokenizer has no token for a letter.
        """
        prompt = self._prompt(photo, question)
        letters = [self._prompter.letter_ids(prompt, chr(ord("A") + i)) for i in range(count)]
        if prompt.thinks or not all(letters):
            return None
        first = self._first(prompt)[0]
        return torch.stack([first[tokens].logsumexp(dim=0) for tokens in letters]).cpu()

    @torch.no_grad()
    def name_scores(self, photo: Image.Image, question: str, names: Sequence[str]) -> Tensor | None:
        """Return log p(name, end of the reply | photo, question) [N], summed over the tokens of each name.

        With its end every name is a whole reply, and the probabilities of all replies sum to one: dividing by the
        length would favour names of many predictable tokens. `core.models.scoring` ranks by the same sum. None for a
        model that begins with a thought.
        """
        prompt = self._prompt(photo, question)
        if prompt.thinks:
            return None
        first, cache = self._first(prompt)
        answers = [self._prompter.answer_ids(prompt, name) for name in names]
        length = prompt.inputs["input_ids"].shape[1] + max(map(len, answers))
        scores = []
        for batch in _batches(answers, max(1, min(MAX_NAMES, MAX_TOKENS // length))):
            following = self._following(prompt, cache, batch)
            for row, tokens in enumerate(batch):
                inside = following[row, torch.arange(len(tokens) - 1), tokens[1:]]
                score = first[tokens[0]] + inside.sum()
                if self._ends:
                    score = score + following[row, len(tokens) - 1, self._ends].logsumexp(dim=0)
                scores.append(score)
        return torch.stack(scores).cpu()

    def reply_scores(self, photo: Image.Image, question: str, options: Sequence[str]) -> Tensor | None:
        """Return `name_scores`: names are ranked by their likelihood as replies to the question."""
        return self.name_scores(photo, question, options)

    @torch.no_grad()
    def embed_photos(self, photos: Sequence[Image.Image]) -> Tensor | None:
        """Return the last hidden states [N, H] float32, L2-normalised, at an EOS behind prompts without a question.

        None for models that give no hidden states (BLIP-2, InstructBLIP): their space is not measured.
        """
        end = torch.tensor([[self._prompter.tokenizer.eos_token_id]])
        return self._last_states(self._continued(self._prompt(photo, ""), end) for photo in photos)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor | None:
        """Return the last hidden states [N, H] float32, L2-normalised, at the EOS of `[BOS, text, EOS]`.

        None for models that give none, or that read no text without a photo (Idefics).
        """
        if self._family in PHOTO_ALWAYS:
            return None
        eos = self._prompter.tokenizer.eos_token_id
        sequences = [torch.tensor([[*self._prompter.text_ids(text), eos]]) for text in texts]
        return self._last_states(
            {"input_ids": ids.to(self._model.device), "attention_mask": torch.ones_like(ids).to(self._model.device)}
            for ids in sequences
        )

    def _last_states(self, inputs: Iterable[dict[str, Tensor]]) -> Tensor | None:
        """Return the last hidden state [N, H] at the last position of each input; None if there are none."""
        states = []
        for one in inputs:
            layers = None
            if not self._encoder_decoder:
                layers = getattr(self._model(**one, output_hidden_states=True), "hidden_states", None)
            if not layers:
                return None
            states.append(layers[-1][0, -1].float())
        return F.normalize(torch.stack(states), dim=-1).cpu()

    def _prompt(self, photo: Image.Image, question: str) -> Prompt:
        """Return the prompt on the device and in the number format of the model."""
        prompt = self._prompter.ask(photo, question)
        moved = {
            key: value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)
            for key, value in prompt.inputs.items()
        }
        return Prompt(moved, prompt.thinks)

    def _first(self, prompt: Prompt) -> tuple[Tensor, DynamicCache | None]:
        """Return the log-probabilities [V] of the reply's first token, and the cache of the prompt if names can use it.

        A cache with layers other than plain attention cannot take several tokens at once.
        """
        inputs: dict[str, Any] = dict(prompt.inputs)
        if self._encoder_decoder:
            inputs["decoder_input_ids"] = self._start(1)
        elif "logits_to_keep" in inspect.signature(self._model.forward).parameters:
            inputs["logits_to_keep"] = 1
        output = self._model(**inputs, use_cache=True)
        cache = getattr(output, "past_key_values", None)
        plain = isinstance(cache, DynamicCache) and all(type(layer) in ATTENTION_LAYERS for layer in cache.layers)
        usable = plain and not self._encoder_decoder and not any(key in inputs for key in CROSS_ATTENTION)
        return output.logits[0, -1].float().log_softmax(dim=-1), cache if usable else None

    def _following(self, prompt: Prompt, cache: DynamicCache | None, answers: list[list[int]]) -> Tensor:
        """Return the log-probabilities [n, L, V] of what follows each token of n answers, padded on the right.

        No padding is masked: it is behind all that counts, and the models are causal there.
        """
        tokens = pad_sequence([torch.tensor(answer) for answer in answers], batch_first=True).to(self._model.device)
        if self._encoder_decoder:
            inputs = self._repeated(prompt, len(tokens))
            logits = self._model(**inputs, decoder_input_ids=torch.cat([self._start(len(tokens)), tokens], dim=1)).logits
        elif cache is None:
            logits = self._model(**self._continued(prompt, tokens)).logits
        else:
            own = copy.deepcopy(cache)
            own.batch_repeat_interleave(len(tokens))
            logits = self._model(input_ids=tokens, past_key_values=own).logits
        return logits[:, -tokens.shape[1] :].float().log_softmax(dim=-1)

    def _start(self, n: int) -> Tensor:
        """Return the tokens [n, 1] that a decoder starts with."""
        return torch.full((n, 1), self._greedy.decoder_start_token_id, device=self._model.device)

    def _repeated(self, prompt: Prompt, n: int) -> dict[str, Tensor]:
        """Return the inputs of n equal prompts, their photos one behind the other."""
        return {key: value.repeat(n, *[1] * (value.dim() - 1)) for key, value in prompt.inputs.items()}

    def _continued(self, prompt: Prompt, tokens: Tensor) -> dict[str, Tensor]:
        """Return the inputs of prompts that are followed by tokens [n, L]."""
        inputs = self._repeated(prompt, len(tokens))
        for key in FOLLOWED & inputs.keys():  # as the prompt's last token, which is text
            inputs[key] = torch.cat([inputs[key], *[inputs[key][:, -1:]] * tokens.shape[1]], dim=1)
        if self._family == "paligemma":
            inputs["token_type_ids"][:, -tokens.shape[1] :] = 1  # what follows the prefix is causal
        inputs["input_ids"][:, -tokens.shape[1] :] = tokens
        return inputs


def _batches(answers: list[list[int]], most: int) -> Iterator[list[list[int]]]:
    for start in range(0, len(answers), most):
        yield answers[start : start + most]
