"""Open any model for questions about photos, by the name that `python -m core models` lists or `endpoint:NAME`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import UserError
from core.zoo.registry import find_entry, load

if TYPE_CHECKING:
    from core.models.openai_endpoint import EndpointSettings
    from core.models.question_model import QuestionModel

ENDPOINT = "endpoint:"


@dataclass(frozen=True)
class Asked:
    """What is known of a model before it is loaded."""

    weights: str  # which weights answer: a hash, a revision on the hub, or where they are served
    reply_tokens: int  # that its reply may have
    remote: bool = False  # served elsewhere: several questions at once
    seen: frozenset[str] | None = None  # first 12 digits of the hashes of its training photos; None: not known


def describe(name: str) -> Asked:
    """Return what is known of a model, without loading it. Raises `UserError` for a model that there is not."""
    from core.storage.cache import sha256_of
    from core.taxonomy.prompts import REPLY_TOKENS

    if name.startswith(ENDPOINT):
        return Asked(_endpoint_settings(name).name, REPLY_TOKENS, remote=True)
    entry = find_entry(name)
    if entry.hub:
        return Asked(f"{entry.hub.repository}@{entry.hub.revision}", entry.reply_tokens)
    from core.models.checkpoint import read_manifest

    seen = frozenset(read_manifest(entry.checkpoint).data.seen)
    return Asked(sha256_of(entry.checkpoint / "checkpoint.json")[:16], entry.reply_tokens, seen=seen)


def open_model(name: str) -> "QuestionModel":
    """Load a model of any family, or connect to one behind an endpoint. Raises `UserError` if that cannot be done."""
    if name.startswith(ENDPOINT):
        from core.models.endpoint_questions import EndpointQuestions

        return EndpointQuestions(name, _endpoint_settings(name))
    from core.models.checkpoint import merge_adapter
    from core.recognition.questions import RecogniserQuestions

    recogniser = load(name)
    merge_adapter(recogniser.mllm)  # half as long to answer
    return RecogniserQuestions(recogniser)


def _endpoint_settings(name: str) -> "EndpointSettings":
    from core.models.openai_endpoint import EndpointSettings

    settings = EndpointSettings.from_environment(name.removeprefix(ENDPOINT))
    if settings is None:
        raise UserError(
            f"{name} has no address: set OPENAI_BASE_URL (or OPENAI_API_KEY), and name the model as {ENDPOINT}NAME."
        )
    return settings
