"""Let the model write about photos: streamed answers, batched answers, and descriptions clause by clause."""

from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import TextIteratorStreamer

from core.models.streaming import STREAM_TIMEOUT, stream_generation
from core.models.vlm import VisionLanguageModel
from core.progress import run
from core.taxonomy.descriptions import clause_start

ANSWER_TOKENS = 24
VALUE_TOKENS = 16  # of one attribute's value in a description
END_OF_CLAUSE = "."


class TextWriter:
    """Greedy text generation about photos that are given as image tokens."""

    def __init__(self, mllm: VisionLanguageModel) -> None:
        self._mllm = mllm

    def stream(
        self, question: str, tokens: Tensor, limit: int = ANSWER_TOKENS, prefix: str = "", until: str = ""
    ) -> Iterator[str]:
        """Yield the answer to a question about one photo [1, L, H], piece by piece.

        The model continues the answer's beginning `prefix`, which is not yielded. It stops after the token `until`, at
        the end of the answer, or after `limit` tokens. Closing the iterator stops the work within one token.
        """
        prompt = [*self._mllm.question_ids(question), *self._mllm.answer_ids(prefix)[:-1]]
        with torch.no_grad():
            embeddings, mask = self._mllm.input_embeddings([prompt], tokens)
        streamer = TextIteratorStreamer(
            self._mllm.tokenizer, skip_prompt=False, skip_special_tokens=True, timeout=STREAM_TIMEOUT
        )
        generate = partial(
            self._mllm.model.generate,
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            **self._settings(limit, until),
        )
        yield from stream_generation(generate, streamer)

    @torch.no_grad()
    def answers(self, question: str, tokens: Tensor, limit: int = ANSWER_TOKENS) -> list[str]:
        """Return the answers to one question about B photos [B, L, H], generated in one batch."""
        embeddings, mask = self._mllm.input_embeddings([self._mllm.question_ids(question)] * len(tokens), tokens)
        written = self._mllm.model.generate(
            inputs_embeds=embeddings, attention_mask=mask.long(), **self._settings(limit)
        )
        return [text.strip() for text in self._mllm.tokenizer.batch_decode(written, skip_special_tokens=True)]

    def describe(self, question: str, attributes: Sequence[str], tokens: Tensor) -> Generator[str, None, dict[str, str]]:
        """Yield an attribute description of one photo [1, L, H] piece by piece; return the value of each attribute.

        The beginning of every clause is given ("Crown is") and the model writes the value, so the description has
        exactly the given attributes.
        """
        text, values = "", {}
        for attribute in attributes:
            start = f"{' ' if text else ''}{clause_start(attribute)}"
            yield start
            text += start
            value = ""
            for piece in self.stream(question, tokens, VALUE_TOKENS, text, END_OF_CLAUSE):
                yield piece
                value += piece
            text = f"{text}{value}".rstrip()
            if not text.endswith(END_OF_CLAUSE):
                yield END_OF_CLAUSE
                text += END_OF_CLAUSE
            values[attribute] = value.strip().removesuffix(END_OF_CLAUSE)
        return values

    def attribute_values(self, question: str, attributes: Sequence[str], tokens: Tensor) -> dict[str, str]:
        """Return the value that the model writes for each attribute of one photo [1, L, H]; see `describe`."""
        return run(self.describe(question, attributes, tokens))

    def _settings(self, limit: int, until: str = "") -> dict[str, Any]:
        ends = self._mllm.tokenizer(until, add_special_tokens=False).input_ids if until else []
        return {
            "max_new_tokens": limit,
            "do_sample": False,
            "eos_token_id": [self._mllm.tokenizer.eos_token_id, self._mllm.answer_end, *ends],
            "pad_token_id": self._mllm.tokenizer.pad_token_id,
        }
