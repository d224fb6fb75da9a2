"""Answer queries with a model behind an endpoint or with a model of the zoo."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

from core.data.images import read_photo
from core.errors import UserError
from core.models.openai_endpoint import Endpoint, EndpointSettings, Limits, ReplyError, user_message
from core.storage.cache import sha256_of
from core.taxonomy.categories import SuperCategory
from core.zoo.registry import find_entry, load_recogniser
from train.attributes.prompts import correction
from train.attributes.runner import Answerer, Query
from train.attributes.validation import InvalidAnswerError

log = logging.getLogger(__name__)

MAX_REPLY_CHARACTERS = 20_000


@dataclass(frozen=True)
class RequestSettings:
    """Settings of requests to an endpoint; the command line has the defaults."""

    concurrency: int
    tries: int  # per query, until an answer can be used
    retries: int  # by the client, after 429, 5xx, time-outs and dropped connections
    timeout: float  # seconds
    max_tokens: int  # of an answer, including the model's reasoning
    price_in: float  # of a million tokens, for the estimate
    price_out: float
    dry_run: bool


class EndpointAnswerer:
    """Answers queries with a model of the endpoint that the environment names, in up to `tries` attempts each.

    Thread-safe. Raises `UserError` if the environment names no endpoint.
    """

    def __init__(self, model: str, request: RequestSettings) -> None:
        settings = EndpointSettings.from_environment(model)
        if settings is None:
            raise UserError(
                "This step needs a model behind an endpoint: set OPENAI_API_KEY, and OPENAI_BASE_URL to its "
                "address unless it is OpenAI's own."
            )
        limits = Limits(
            retries=request.retries,
            silence_seconds=request.timeout,
            tokens=request.max_tokens,
            characters=MAX_REPLY_CHARACTERS,
        )
        self.name = settings.name
        self._endpoint = Endpoint(settings, limits)
        self._tries = request.tries
        self._lock = Lock()
        self._tokens_in = self._tokens_out = 0

    def usage(self) -> str:
        """Return the number of tokens used, as the endpoint reports it."""
        return f"{self._tokens_in:,} tokens in, {self._tokens_out:,} out"

    def answer(self, query: Query) -> dict[str, Any]:
        """Return the answer to a query.

        Raises `InvalidAnswerError` when no reply can be used, `UserError` for a photo that cannot be read, and
        `EndpointError` when the endpoint does not answer. None of their messages contains the key.
        """
        question = user_message(query.prompt, read_photo(query.photo).image if query.photo else None)
        messages = [question]
        for _ in range(self._tries):
            reply = ""
            try:
                reply = self._complete(messages, query.response_format)
                return query.read(reply)
            except InvalidAnswerError as error:
                last = error
                messages = [question]
                if reply:  # send it back with the reason why it cannot be used
                    messages += [{"role": "assistant", "content": reply}, user_message(correction(str(error)))]
        raise InvalidAnswerError(f"after {self._tries} tries: {last}")

    def _complete(self, messages: list[dict[str, Any]], response_format: dict[str, Any] | None) -> str:
        try:
            reply = self._endpoint.complete(messages, response_format)
        except ReplyError as error:
            raise InvalidAnswerError(str(error)) from None
        with self._lock:
            self._tokens_in += reply.prompt_tokens
            self._tokens_out += reply.tokens
        return reply.text


@contextmanager
def endpoint_answerer(model: str, request: RequestSettings) -> Iterator[Answerer]:
    """Yield a function that answers queries with the endpoint; log the tokens used at the end."""
    answerer = EndpointAnswerer(model, request)
    try:
        yield answerer.answer
    finally:
        log.info("%s used %s", answerer.name, answerer.usage())


def zoo_version(name: str) -> str:
    """Return a zoo model's name with a hash of its checkpoint, which training may replace.

    Raises `UserError` if the model has no checkpoint.
    """
    card = find_entry(name).checkpoint / "checkpoint.json"
    if not card.is_file():
        raise UserError(f"The model {name} has no checkpoint here: `python -m core models` shows why.")
    return f"zoo:{name}@{sha256_of(card)[:12]}"


@contextmanager
def zoo_answerer(name: str, group: SuperCategory) -> Iterator[Answerer]:
    """Yield a function that answers queries with a model of the zoo in this process, one at a time.

    As in identification, the beginning of every clause is fixed ("Crown is") and the model writes the value. Raises
    `UserError` if the model cannot be loaded.
    """
    recogniser = load_recogniser(name)

    def answer(query: Query) -> dict[str, Any]:
        assert query.photo
        tokens = recogniser.encode(read_photo(query.photo).image).tokens
        values = recogniser.writer.attribute_values(query.prompt, group.attributes, tokens)
        return query.read(json.dumps(values))

    yield answer
