"""Who answers: an endpoint that speaks OpenAI's chat completions (a cloud, vLLM, ...), or a model of the zoo."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import openai

from core.data.images import read_photo
from core.errors import UserError
from core.models.openai_endpoint import CONNECT_SECONDS, NO_KEY, check_key, photo_url, redact
from core.storage.cache import sha256_of
from core.taxonomy.categories import SuperCategory
from core.zoo.registry import find_entry, load
from train.attributes.prompts import correction
from train.attributes.runner import Ask, EndpointError, Item
from train.attributes.validation import MAX_REASON, InvalidAnswer, clean

log = logging.getLogger(__name__)

MAX_REPLY = 20_000  # characters


@dataclass(frozen=True)
class Asking:
    """How an endpoint is asked; the command line has the defaults."""

    concurrency: int
    tries: int  # for an answer that can be used
    retries: int  # by the client, after 429, 5xx, time-outs and dropped connections
    timeout: float  # seconds
    max_tokens: int  # of an answer, with what the model thinks before it
    price_in: float  # of a million tokens, for the estimate
    price_out: float
    dry_run: bool


class Endpoint:
    """The client of one model, with the address and the key of the environment; safe to share between threads.

    The library waits and asks again (0.5 s, doubling up to 8 s, or what the server's Retry-After says) after 429, 5xx,
    time-outs and dropped connections, `retries` times; an answer that cannot be used is asked for `tries` times.
    Raises `UserError` if the environment names no endpoint.
    """

    def __init__(self, model: str, asking: Asking) -> None:
        address = os.environ.get("OPENAI_BASE_URL", "").strip()
        self._key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not address and not self._key:
            raise UserError(
                "This step asks a model over the network: set OPENAI_API_KEY, and OPENAI_BASE_URL to the address of any "
                "endpoint of that protocol other than OpenAI's own."
            )
        if address and not address.startswith(("http://", "https://")):
            raise UserError("OPENAI_BASE_URL must begin with http:// or https://.")
        check_key(self._key)
        self._client = openai.OpenAI(
            base_url=address or None,
            api_key=self._key or NO_KEY,
            max_retries=asking.retries,
            timeout=openai.Timeout(asking.timeout, connect=min(asking.timeout, CONNECT_SECONDS)),
        )
        parts = urlsplit(str(self._client.base_url))
        self.address = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)  # no user, no password
        self.model = model
        self._asking = asking
        self._takes_schemas = True
        self._lock = Lock()
        self._tokens_in = self._tokens_out = 0

    def usage(self) -> str:
        """The tokens that the endpoint says it used."""
        return f"{self._tokens_in:,} tokens in, {self._tokens_out:,} out"

    def ask(self, item: Item) -> dict[str, Any]:
        """The answer to an item.

        Raises `InvalidAnswer` when no reply can be used, `UserError` for a photo that cannot be read, and
        `EndpointError` when the endpoint does not answer. None of their messages contains the key.
        """
        content: str | list[dict[str, Any]] = item.prompt
        if item.photo:
            image = {"type": "image_url", "image_url": {"url": photo_url(read_photo(item.photo).image)}}
            content = [image, {"type": "text", "text": item.prompt}]
        question: dict[str, Any] = {"role": "user", "content": content}
        messages = [question]
        for _ in range(self._asking.tries):
            reply = ""
            try:
                reply = self._complete(messages, item.response_format)
                return item.read(reply)
            except InvalidAnswer as error:
                last = error
                messages = [question]
                if reply:  # the model is shown it, and told what is wrong
                    told = {"role": "user", "content": correction(str(error))}
                    messages += [{"role": "assistant", "content": reply}, told]
        raise InvalidAnswer(f"after {self._asking.tries} tries: {last}")

    def _complete(self, messages: list[Any], response_format: dict[str, Any] | None) -> str:
        try:
            completion = self._create(messages, response_format)
        except openai.APIError as error:
            raise self._endpoint_error(error) from None
        except ValueError:
            raise InvalidAnswer("the endpoint's reply is not JSON") from None
        try:
            choice, usage = completion.choices[0], completion.usage
            text, refusal, finish = choice.message.content or "", choice.message.refusal, choice.finish_reason
            text = redact(text, self._key)
            if usage:
                with self._lock:
                    self._tokens_in += usage.prompt_tokens
                    self._tokens_out += usage.completion_tokens
        except (AttributeError, IndexError, TypeError):  # the library checks no types
            raise InvalidAnswer("the endpoint's reply is not a chat completion") from None
        if refusal or finish == "content_filter":
            raise InvalidAnswer(f"the model refuses ({redact(str(refusal or finish), self._key)})")
        if finish == "length":
            raise InvalidAnswer(f"it was cut off after {self._asking.max_tokens} tokens")
        return text[:MAX_REPLY]

    def _create(self, messages: list[Any], response_format: dict[str, Any] | None) -> Any:
        def create(**extra: Any) -> Any:
            return self._client.chat.completions.create(
                model=self.model, messages=messages, max_completion_tokens=self._asking.max_tokens, **extra
            )

        if response_format and self._takes_schemas:
            try:
                return create(response_format=response_format)
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                completion = create()  # if this fails too, it was not the schema
                self._takes_schemas = False
                return completion
        return create()

    def _endpoint_error(self, error: openai.APIError) -> EndpointError:
        if isinstance(error, openai.APITimeoutError):
            return EndpointError(f"{self.address} did not answer in time")
        if isinstance(error, openai.APIConnectionError):
            return EndpointError(f"{self.address} cannot be reached, or drops the connection", unreachable=True)
        if isinstance(error, openai.AuthenticationError):
            return EndpointError(f"{self.address} does not accept the key in OPENAI_API_KEY", final=True)
        said = error.message
        if isinstance(error, openai.APIStatusError):  # whose message leaves out what is not in OpenAI's own form
            said = f"{error.status_code}: {error.response.text}"
        said = clean(redact(said, self._key))[:MAX_REASON]
        final = isinstance(error, openai.NotFoundError)  # no such model, or nothing at that address
        return EndpointError(f"{self.address} answers with an error ({said})", final=final)


@contextmanager
def endpoint(model: str, asking: Asking) -> Iterator[Ask]:
    """What asks the endpoint of the environment; the tokens used are logged at the end."""
    client = Endpoint(model, asking)
    try:
        yield client.ask
    finally:
        log.info("%s used %s", client.address, client.usage())


def zoo_version(name: str) -> str:
    """A zoo model's name with what its checkpoint is, since training may replace it. Raises `UserError`."""
    card = find_entry(name).checkpoint / "checkpoint.json"
    if not card.is_file():
        raise UserError(f"The model {name} has no checkpoint here: `python -m core models` says why.")
    return f"zoo:{name}@{sha256_of(card)[:12]}"


@contextmanager
def zoo(name: str, group: SuperCategory) -> Iterator[Ask]:
    """What asks a model of the zoo, in this process and one item at a time. Raises `UserError` if it cannot be loaded.

    As in identification the beginning of every clause is given ("Crown is") and the model writes the value.
    """
    recogniser = load(name)

    def ask(item: Item) -> dict[str, Any]:
        assert item.photo
        tokens = recogniser.encode(read_photo(item.photo).image).tokens
        values = recogniser.writer.attribute_values(item.prompt, group.attributes, tokens)
        return item.read(json.dumps(values))

    yield ask
