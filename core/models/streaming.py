"""Run a generation in a thread of its own, token by token, so that it can be shown as it grows and stopped."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, TextIteratorStreamer

STREAM_TIMEOUT = 120  # seconds without a token after which the stream fails


class _StopOnEvent(StoppingCriteria):  # type: ignore[misc]  # mypy skips transformers
    def __init__(self, event: threading.Event) -> None:
        self.event = event

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        return torch.full((input_ids.shape[0],), self.event.is_set(), device=input_ids.device)


def stream_generation(generate: Callable[..., object], streamer: TextIteratorStreamer) -> Iterator[str]:
    """Yield what `generate` writes to the streamer, and raise what it raises.

    It is called with the arguments `streamer` and `stopping_criteria`. Closing the iterator stops it within one token.
    """
    cancelled = threading.Event()
    failure: list[BaseException] = []

    def work() -> None:
        try:
            generate(streamer=streamer, stopping_criteria=[_StopOnEvent(cancelled)])
        except BaseException as error:  # raised again in the caller's thread below
            failure.append(error)
            streamer.end()

    worker = threading.Thread(target=work, name="generation", daemon=True)
    worker.start()
    try:
        yield from streamer
    finally:
        cancelled.set()
        worker.join()
    if failure:
        raise failure[0]


class ReplyStreamer(TextIteratorStreamer):  # type: ignore[misc]  # mypy skips transformers
    """Yields the whole reply so far after every token, as `read` makes it from the tokens [T] behind the prompt."""

    def __init__(self, tokenizer: Any, read: Callable[[Tensor], str]) -> None:
        super().__init__(tokenizer)  # no timeout: a large model reads its prompt for minutes
        self._read = read
        self._tokens: list[int] | None = None  # None: the prompt has not come yet

    def put(self, value: Tensor) -> None:
        """Take the prompt, which comes first, or the next token."""
        if self._tokens is None:
            self._tokens = []
        else:
            self._tokens += value.flatten().tolist()
            self.text_queue.put(self._read(torch.tensor(self._tokens)))

    def end(self) -> None:
        """End the stream."""
        self.text_queue.put(self.stop_signal)
