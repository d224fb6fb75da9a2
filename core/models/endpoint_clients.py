"""The clients of the openai library, with the proxies of the environment where these can help."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import openai

from core.errors import UserError
from core.loopback import is_loopback


def open_client(base_url: str, **settings: Any) -> openai.OpenAI:
    """Return the client of an endpoint that waits for replies. Raises `UserError` for proxies that cannot be used."""
    with _usable_proxies():
        http_client = openai.DefaultHttpxClient(trust_env=_needs_proxies(base_url))
    return openai.OpenAI(base_url=base_url, http_client=http_client, **settings)


def open_async_client(base_url: str, **settings: Any) -> openai.AsyncOpenAI:
    """Return the client of an endpoint that can be cancelled. Raises `UserError` for proxies that cannot be used."""
    with _usable_proxies():
        http_client = openai.DefaultAsyncHttpxClient(trust_env=_needs_proxies(base_url))
    return openai.AsyncOpenAI(base_url=base_url, http_client=http_client, **settings)


def _needs_proxies(base_url: str) -> bool:
    return not is_loopback(urlsplit(base_url).hostname or "")  # no proxy reaches this machine by this address


@contextmanager
def _usable_proxies() -> Iterator[None]:
    try:
        yield
    except (ImportError, ValueError) as error:
        raise UserError(
            "The proxy that the environment names (all_proxy, http_proxy, https_proxy) cannot be used: name one of the "
            "form http://host:port, or unset it."
        ) from error
