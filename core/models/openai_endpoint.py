"""Chat with a model behind an endpoint that speaks OpenAI's protocol (a cloud, vLLM, llama.cpp, ...).

The one client of the project: Compare and `train evaluate` stream replies about a photo, `train attributes` waits.
"""

import asyncio
import os
import string
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import openai
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.data.images import data_url, to_jpeg
from core.errors import UserError
from core.models.endpoint_clients import open_async_client, open_client
from core.models.endpoint_errors import REPLY_ERRORS, error_sentence, redact
from core.taxonomy.replies import without_thoughts

OPENAI = "https://api.openai.com/v1"
NO_KEY = "no-key-given"  # sent to an endpoint that needs none: the library demands a key
PHOTO_SIDE = 768  # pixels
CONNECT_SECONDS = 10.0
POLL_SECONDS = 0.1  # between two chances to stop
LENGTH_PARAMETER = "max_completion_tokens"
OLDER_LENGTH_PARAMETER = "max_tokens"  # the only one that many other servers know
REFUSALS = (openai.BadRequestError, openai.UnprocessableEntityError)
PRINTABLE = set(string.ascii_letters + string.digits + string.punctuation)


class EndpointError(UserError):
    """No reply after all retries; `final` if other questions will fail as well, `unreachable` without a connection."""

    def __init__(self, sentence: str, *, final: bool = False, unreachable: bool = False) -> None:
        super().__init__(sentence)
        self.final = final
        self.unreachable = unreachable


class ReplyError(UserError):
    """The endpoint sent a reply that cannot be used."""


class EndpointSettings(BaseModel):
    """Where a model is served, its name there, and the key, which no representation shows.

    Raises `UserError` for a value that cannot be right.
    """

    model_config = ConfigDict(frozen=True)
    model: str
    base_url: str = OPENAI
    key: str = Field(default="", repr=False)

    @classmethod
    def from_environment(cls, model: str = "") -> "EndpointSettings | None":
        """Return the endpoint of OPENAI_BASE_URL and OPENAI_API_KEY, with OPENAI_MODEL unless `model` is given.

        Return None if no model is named, or neither an address nor a key is set.
        """
        names = ("MODEL", "BASE_URL", "API_KEY")
        default, address, key = (os.environ.get(f"OPENAI_{name}", "").strip() for name in names)
        model = model or default
        return cls(model=model, base_url=address or OPENAI, key=key) if model and (address or key) else None

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: str) -> str:
        if not model or len(model) > 200:
            raise UserError("Give the name of the model that the endpoint serves.")
        return model

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, base_url: str) -> str:
        try:
            parts = urlsplit(base_url)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            valid = valid and not set(base_url) - PRINTABLE
        except ValueError:
            valid = False
        if not valid:
            raise UserError("The address of the endpoint must look like http://localhost:8000/v1.")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise UserError("The address of the endpoint must have no user name, password, '?' or '#'.")
        return base_url

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: str) -> str:
        if set(key) - PRINTABLE:
            raise UserError("The API key has spaces or letters that no key has: set it again.")
        return key

    @property
    def name(self) -> str:
        """The model with host and port, for messages."""
        return f"{self.model} at {urlsplit(self.base_url).netloc}"


@dataclass(frozen=True)
class Limits:
    """How long a reply may take and grow."""

    retries: int = 1  # after 429, 5xx, time-outs and dropped connections
    silence_seconds: float = 60.0  # without a token, the first one included
    reply_seconds: float = 120.0  # for a whole reply that is streamed
    tokens: int = 512  # of a reply, including what the model thinks before it answers
    characters: int = 4_000
    greedy: bool = False  # ask for the most probable tokens; else the endpoint samples as it is set up


@dataclass(frozen=True)
class Reply:
    """What a model has written so far."""

    text: str = ""  # without the thoughts of models that think first
    tokens: int = 0  # as the endpoint counts them, or else how many pieces it sent
    prompt_tokens: int = 0
    ended: bool = False


def user_message(text: str, photo: Image.Image | None = None) -> dict[str, Any]:
    """Return a message of the user: a text, after an RGB photo of at most `PHOTO_SIDE` pixels a side if given."""
    if photo is None:
        return {"role": "user", "content": text}
    image = {"type": "image_url", "image_url": {"url": data_url(to_jpeg(photo, PHOTO_SIDE, 85))}}
    return {"role": "user", "content": [image, {"type": "text", "text": text}]}


class Endpoint:
    """The client of one model; safe to share between threads. Its errors are one sentence each, without the key.

    The library waits and asks again (0.5 s, doubling up to 8 s, or what the server's Retry-After says) after 429, 5xx,
    time-outs and dropped connections.
    """

    def __init__(self, settings: EndpointSettings, limits: Limits | None = None) -> None:
        self.name = settings.name
        self._settings = settings
        self._limits = limits or Limits()
        self._takes_schemas = True
        self._length_parameter = LENGTH_PARAMETER

    def stream_reply(self, question: str, photo: Image.Image) -> Iterator[Reply]:
        """Yield the reply to a question about an RGB photo as it grows.

        While the endpoint is silent, the latest reply is yielded again every `POLL_SECONDS`, so that the caller can
        close the iterator, and with it the connection, at any time. Raises `UserError` if the endpoint cannot be
        reached, answers with an error, or exceeds the limits.
        """
        reply, deadline = Reply(), time.monotonic() + self._limits.reply_seconds
        with asyncio.Runner() as runner:  # cancels, at its end, what is still waiting for the network
            replies = self._replies([user_message(question, photo)])
            try:
                while not reply.ended:
                    step = runner.get_loop().create_task(_next(replies))
                    while not step.done():
                        if time.monotonic() > deadline:
                            raise ReplyError(f"{self.name} was not done after {self._limits.reply_seconds:.0f} seconds.")
                        yield reply
                        runner.run(_wait(step))
                    reply = step.result()
            except REPLY_ERRORS as error:
                raise self._user_error(error) from None
        if not reply.text.strip():
            raise ReplyError(f"{self.name} gave no answer.")
        yield reply

    def complete(self, messages: list[dict[str, Any]], response_format: dict[str, Any] | None = None) -> Reply:
        """Return the reply to a conversation.

        An endpoint that refuses `response_format` is asked without one from then on. Raises `EndpointError` if there
        is no reply, and `ReplyError` for one that is no chat completion, refuses, or exceeds the limits.
        """
        try:
            completion = self._create(messages, response_format)
            choice, usage = completion.choices[0], completion.usage
            text, refusal, finish = choice.message.content, choice.message.refusal, choice.finish_reason
            text = redact(without_thoughts(_joined(text)), self._settings.key)
            tokens = (usage.completion_tokens or 0, usage.prompt_tokens or 0) if usage else (0, 0)
        except REPLY_ERRORS as error:
            raise self._user_error(error) from None
        if refusal or finish == "content_filter":
            raise ReplyError(f"{self.name} refuses to answer ({redact(str(refusal or finish), self._settings.key)}).")
        if finish == "length":
            raise ReplyError(f"{self.name} was cut off after {self._limits.tokens} tokens.")
        self._check_length(text)
        return Reply(text, *tokens, ended=True)

    def _create(self, messages: list[Any], response_format: dict[str, Any] | None) -> Any:
        extra = {"response_format": response_format} if response_format and self._takes_schemas else {}
        request: dict[str, Any] | None = self._request(messages) | extra
        while request:
            try:
                completion = self._client.chat.completions.create(**request)
            except REFUSALS as error:
                request = self._simpler(request, error)
                if not request:
                    raise
            else:
                self._takes_schemas &= request.keys() >= extra.keys()
                return completion

    def _request(self, messages: list[Any]) -> dict[str, Any]:
        return {"model": self._settings.model, "messages": messages, self._length_parameter: self._limits.tokens}

    def _simpler(self, request: dict[str, Any], error: openai.APIStatusError) -> dict[str, Any] | None:
        """Return a refused request in a form that older servers know, None if there is no other form."""
        request = dict(request)
        if LENGTH_PARAMETER in request and LENGTH_PARAMETER in error.response.text:
            self._length_parameter = OLDER_LENGTH_PARAMETER
            return request | {OLDER_LENGTH_PARAMETER: request.pop(LENGTH_PARAMETER)}
        return request if request.pop("response_format", None) else None

    @cached_property
    def _client(self) -> openai.OpenAI:
        return open_client(**self._connection())

    def _connection(self) -> dict[str, Any]:
        seconds = self._limits.silence_seconds
        return {
            "base_url": self._settings.base_url,
            "api_key": self._settings.key or NO_KEY,
            "max_retries": self._limits.retries,
            "timeout": openai.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
        }

    async def _replies(self, messages: list[Any]) -> AsyncIterator[Reply]:
        reply, text = Reply(), ""
        async with open_async_client(**self._connection()) as client:
            request = self._request(messages) | {"stream": True}
            if self._limits.greedy:
                request["temperature"] = 0
            try:
                stream = await client.chat.completions.create(**request)
            except REFUSALS as error:
                simpler = self._simpler(request, error)
                if not simpler:
                    raise
                stream = await client.chat.completions.create(**simpler)
            finish = counted = None
            async with stream:
                async for chunk in stream:
                    counted = chunk.usage.completion_tokens if chunk.usage else counted
                    for choice in (chunk.choices or [])[:1]:
                        finish = choice.finish_reason or finish
                        if piece := _joined(choice.delta.content):
                            text += piece
                            answer = redact(without_thoughts(text), self._settings.key)
                            reply = Reply(answer, reply.tokens + 1)
                            yield reply
                    self._check_length(text)
        if finish is None:
            raise EndpointError(f"{self.name} broke off in the middle of its answer.")
        if finish == "content_filter":
            raise ReplyError(f"{self.name} refuses to answer.")
        yield replace(reply, tokens=counted or reply.tokens, ended=True)

    def _check_length(self, text: str) -> None:
        if len(text) > self._limits.characters:
            raise ReplyError(f"{self.name} wrote more than {self._limits.characters} characters.")

    def _user_error(self, error: Exception) -> UserError:
        sentence = error_sentence(error, self.name, self._settings.key)
        if not isinstance(error, openai.APIError):
            return ReplyError(sentence)
        final = isinstance(error, openai.AuthenticationError | openai.NotFoundError)  # no such key, model or address
        timeout = isinstance(error, openai.APITimeoutError)  # a connection error to the library
        unreachable = isinstance(error, openai.APIConnectionError) and not timeout
        return EndpointError(sentence, final=final, unreachable=unreachable)


def _joined(content: Any) -> str:
    """Return the text of a message: a string, nothing, or a list of parts, of which those that are no text are left out.

    Raises `TypeError` or `AttributeError` for anything else.
    """
    if isinstance(content, list):
        return "".join(part if isinstance(part, str) else part.get("text") or "" for part in content)
    return "" + (content or "")


async def _next(replies: AsyncIterator[Reply]) -> Reply:
    return await anext(replies)


async def _wait(step: asyncio.Task) -> None:
    await asyncio.wait({step}, timeout=POLL_SECONDS)
