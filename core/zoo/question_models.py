"""Open any model for questions about photos: one of the zoo, `hf:OWNER/NAME`, a folder, or `endpoint:NAME`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.taxonomy.prompts import REPLY_TOKENS
from core.zoo.asked_models import open_asked
from core.zoo.hub import cached_commit
from core.zoo.registry import find_source, load_recogniser, zoo

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

    if name.startswith(ENDPOINT):
        return Asked(endpoint_settings(name).name, REPLY_TOKENS, remote=True)
    found = find_source(name)
    tokens = found.row.reply_tokens if found.row else REPLY_TOKENS
    folder = Path(found.source)
    if (folder / "checkpoint.json").is_file():
        from core.models.checkpoint import read_manifest

        seen = frozenset(read_manifest(folder).data.seen)
        return Asked(sha256_of(folder / "checkpoint.json")[:16], tokens, seen=seen)
    if folder.is_dir():
        return Asked(_fingerprint(folder), tokens)
    return Asked(f"{found.source}@{found.revision or cached_commit(found.source) or 'newest'}", tokens)


def _fingerprint(folder: Path) -> str:
    """Return a hash of all files of a model's folder: of its template and settings as well, on which answers depend."""
    from core.storage.cache import fingerprint, sha256_of

    return fingerprint({path.name: sha256_of(path) for path in folder.iterdir() if path.is_file()})[:16]


def open_model(name: str) -> "QuestionModel":
    """Load a model of any family, or connect to one behind an endpoint. Raises `UserError` if that cannot be done."""
    if name.startswith(ENDPOINT):
        from core.models.endpoint_questions import EndpointQuestions

        return EndpointQuestions(name, endpoint_settings(name))
    found = find_source(name)
    entry = zoo().get(name)
    if entry and entry.has_recogniser:
        from core.models.checkpoint import merge_adapter
        from core.recognition.questions import RecogniserQuestions

        recogniser = load_recogniser(name)
        merge_adapter(recogniser.mllm)  # half as long to answer
        return RecogniserQuestions(recogniser, answers_with_names=_answers_with_names(Path(found.source)))
    return open_asked(found)


def _answers_with_names(folder: Path) -> bool:
    """Return whether a checkpoint was trained to answer closed questions with letter and name."""
    from core.models.checkpoint import MANIFEST, read_manifest

    return (folder / MANIFEST).is_file() and read_manifest(folder).training.get("closed_answer") == "letter and name"


def endpoint_settings(name: str) -> "EndpointSettings":
    """Return where `endpoint:NAME` is served. Raises `UserError` if the environment does not say."""
    from core.models.openai_endpoint import EndpointSettings

    settings = EndpointSettings.from_environment(name.removeprefix(ENDPOINT))
    if settings is None:
        raise UserError(
            f"{name} has no address: set OPENAI_BASE_URL (or OPENAI_API_KEY), and name the model as {ENDPOINT}NAME."
        )
    return settings
