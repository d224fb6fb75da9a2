"""The errors of an endpoint as one sentence each, without the key."""

import openai

MIN_SECRET_LENGTH = 8  # characters; a shorter key is a placeholder, and may be part of words
MAX_ERROR_CHARACTERS = 200  # of what the endpoint says about an error

# the last four by malformed replies, whose types the library does not check
REPLY_ERRORS = (openai.APIError, ValueError, AttributeError, IndexError, TypeError)


def redact(text: str, key: str) -> str:
    """Return the text without the key."""
    return text.replace(key, "[key]") if len(key) >= MIN_SECRET_LENGTH else text


def error_sentence(error: Exception, name: str, key: str) -> str:
    """Return one sentence for an error of the openai library, or of a malformed reply, of the endpoint of that name."""
    if isinstance(error, openai.APITimeoutError):
        return f"{name} did not answer in time."
    if isinstance(error, openai.APIConnectionError):
        return f"{name} cannot be reached, or drops the connection."
    if isinstance(error, openai.AuthenticationError):
        return f"{name} does not accept the API key."
    if isinstance(error, openai.APIError):
        reason = error.message  # which leaves out what is not in OpenAI's own form
        if isinstance(error, openai.APIStatusError):
            reason = f"{error.status_code}: {error.response.text}"
        reason = " ".join(redact(reason, key).split())[:MAX_ERROR_CHARACTERS]
        denied = isinstance(error, openai.PermissionDeniedError)
        return (
            f"{name} {'does not accept the API key or the request' if denied else 'answers with an error'} ({reason})."
        )
    return f"What {name} sends is not a chat completion."
