"""A model behind an endpoint that speaks OpenAI's chat completions (a cloud, vLLM, ...), asked about a photo."""

import asyncio
import os
import re
import string
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import openai
from PIL import Image

from core.data.images import data_url, to_jpeg
from core.errors import UserError
from core.taxonomy.categories import canonical_name
from core.taxonomy.prompts import LETTERS

OPENAI = "https://api.openai.com/v1"
NO_KEY = "no-key-given"  # for an endpoint of one's own that asks for none
SHORTEST_SECRET = 8  # characters; a shorter key is a placeholder, and may be part of words
PHOTO_SIDE = 768  # pixels
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0  # without a token, the first one included
REPLY_SECONDS = 120.0  # for a whole reply
BEAT = 0.1  # seconds between two chances to stop
REPLY_TOKENS = 512  # with what the model thinks before it answers
MAX_REPLY = 4_000  # characters
MAX_REASON = 200  # characters of what the endpoint says about an error
NAME_ONLY = "Answer with the name only."
LETTER_ONLY = "Answer with the letter only."
PRINTABLE = set(string.ascii_letters + string.digits + string.punctuation)


@dataclass(frozen=True)
class Settings:
    """Where a model is served, its name there, and the key, which no representation shows.

    Raises `UserError` if one of them cannot be right.
    """

    model: str
    base_url: str = OPENAI
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.model or len(self.model) > 200:
            raise UserError("Give the name of the model that the endpoint serves.")
        check_key(self.key)
        try:
            parts = urlsplit(self.base_url)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            valid = valid and not set(self.base_url) - PRINTABLE
        except ValueError:
            valid = False
        if not valid:
            raise UserError("The address of the endpoint must look like http://localhost:8000/v1.")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise UserError("The address of the endpoint must have no user name, password, '?' or '#'.")

    @property
    def address(self) -> str:
        """Host and port, for people."""
        return urlsplit(self.base_url).netloc


@dataclass(frozen=True)
class Reply:
    """What a model has written so far."""

    text: str = ""
    tokens: int = 0  # as the endpoint counts them, or else how many pieces it sent
    ended: bool = False


def environment_settings() -> Settings | None:
    """The endpoint of OPENAI_MODEL, OPENAI_BASE_URL and OPENAI_API_KEY; none unless the first is set."""
    model, address, key = (os.environ.get(f"OPENAI_{name}", "").strip() for name in ("MODEL", "BASE_URL", "API_KEY"))
    return Settings(model, address or OPENAI, key) if model else None


def check_key(key: str) -> None:
    """Raises `UserError` for a key that cannot be sent."""
    if set(key) - PRINTABLE:
        raise UserError("The API key has spaces or letters that no key has: set it anew.")


def is_loopback(host: str) -> bool:
    """Whether what listens on a host can be reached from this machine alone."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def photo_url(photo: Image.Image) -> str:
    """An RGB photo as a JPEG data URL, at most `PHOTO_SIDE` pixels a side."""
    return data_url(to_jpeg(photo, PHOTO_SIDE, 85))


def redact(text: str, key: str) -> str:
    """Text without the key."""
    return text.replace(key, "[key]") if len(key) >= SHORTEST_SECRET else text


def chosen_letter(reply: str, options: list[str]) -> str | None:
    """The letter that a reply gives: alone ("B", "(b)", "B."), or with its own option behind it. None for all else."""
    match = re.fullmatch(r"\(?([A-Za-z])(?:[).:]+|$)\s*(.*)", reply.strip(), re.DOTALL)
    if not match or match[1].upper() not in LETTERS[: len(options)]:
        return None
    letter, behind = match[1].upper(), match[2].strip(" .")
    own = options[LETTERS.index(letter)]
    return letter if not behind or canonical_name(behind).casefold() == canonical_name(own).casefold() else None


class Endpoint:
    """The client of one model. Its errors are one sentence each and never contain the key."""

    def __init__(self, settings: Settings) -> None:
        self.name = f"{settings.model} at {settings.address}"
        self._settings = settings

    def ask(self, question: str, photo: Image.Image) -> Iterator[Reply]:
        """The reply to a question about an RGB photo as it grows.

        While nothing arrives, the last one is repeated `BEAT` by `BEAT`: closing the iterator drops the connection
        at once, however slow the endpoint is. Raises `UserError` if it cannot be reached, answers with an error, is
        silent for `SILENCE_SECONDS`, or is not done after `REPLY_SECONDS`.
        """
        image = {"type": "image_url", "image_url": {"url": photo_url(photo)}}
        messages = [{"role": "user", "content": [image, {"type": "text", "text": question}]}]
        reply, deadline = Reply(), time.monotonic() + REPLY_SECONDS
        with asyncio.Runner() as runner:  # which cancels, at its end, what is still waiting for the network
            replies = self._replies(messages)
            try:
                while not reply.ended:
                    step = runner.get_loop().create_task(_next(replies))
                    while not step.done():
                        if time.monotonic() > deadline:
                            raise UserError(f"{self.name} was not done after {REPLY_SECONDS:.0f} seconds.")
                        yield reply
                        runner.run(_wait(step))
                    reply = step.result()
            except (openai.APIError, ValueError, AttributeError, TypeError) as error:  # the library checks no types
                raise UserError(self._sentence(error)) from None
        if not reply.text.strip():
            raise UserError(f"{self.name} gave no answer.")
        yield reply

    async def _replies(self, messages: list[Any]) -> AsyncIterator[Reply]:
        timeout = openai.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        key, address = self._settings.key or NO_KEY, self._settings.base_url
        reply, said = Reply(), ""
        async with openai.AsyncOpenAI(base_url=address, api_key=key, max_retries=1, timeout=timeout) as client:
            stream = await client.chat.completions.create(
                model=self._settings.model, messages=messages, max_completion_tokens=REPLY_TOKENS, stream=True
            )
            finish = counted = None
            async with stream:
                async for chunk in stream:
                    counted = chunk.usage.completion_tokens if chunk.usage else counted
                    for choice in (chunk.choices or [])[:1]:
                        finish = choice.finish_reason or finish
                        if piece := choice.delta.content:
                            said += piece
                            reply = Reply(redact(said, key), reply.tokens + 1)
                            yield reply
                    if len(said) > MAX_REPLY:
                        raise UserError(f"{self.name} writes without end.")
        if finish is None:
            raise UserError(f"{self.name} broke off in the middle of its answer.")
        if finish == "content_filter":
            raise UserError(f"{self.name} refuses to answer.")
        yield replace(reply, tokens=counted or reply.tokens, ended=True)

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, openai.APITimeoutError):
            return f"{self.name} did not answer in time."
        if isinstance(error, openai.APIConnectionError):
            return f"{self.name} cannot be reached, or drops the connection."
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return f"{self.name} does not accept the API key."
        if isinstance(error, openai.APIError):
            said = error.message  # which leaves out what is not in OpenAI's own form
            if isinstance(error, openai.APIStatusError):
                said = f"{error.status_code}: {error.response.text}"
            said = " ".join(redact(said, self._settings.key).split())[:MAX_REASON]
            return f"{self.name} answers with an error ({said})."
        return f"What {self.name} sends is not a chat completion."


async def _next(replies: AsyncIterator[Reply]) -> Reply:
    return await anext(replies)


async def _wait(step: asyncio.Task) -> None:
    await asyncio.wait({step}, timeout=BEAT)
