"""The form of a row of `assets/models.yaml`: what is known of a model, and where each fact was read.

A fact that was not read is `NOT_VERIFIED`, in the table and wherever it is shown: nothing is guessed.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from core.storage.tables import Text
from core.taxonomy.prompts import REPLY_TOKENS

NOT_VERIFIED = "not verified"

Family = Literal["embedded", "vlm", "general", "contrastive", "endpoint"]
ROUTES: dict[Family, str] = {
    "embedded": "a checkpoint on a base, in every tab",
    "vlm": "the method's own architecture, in every tab",
    "general": "asked questions, in every tab",
    "contrastive": "by similarities of photo and names, in every tab; it writes nothing",
    "endpoint": "through a server of its own, in Compare and for evaluation",
}
METHOD_FAMILIES: tuple[Family, ...] = ("embedded", "vlm")  # of the method's architecture; others are only asked


def _pattern(pattern: str, sentence: str) -> AfterValidator:
    """Return a validator of texts that are `NOT_VERIFIED` or match the pattern."""

    def check(text: str) -> str:
        if text != NOT_VERIFIED and not re.fullmatch(pattern, text):
            raise ValueError(sentence)
        return text

    return AfterValidator(check)


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _check_size(value: object) -> object:
    if value != NOT_VERIFIED and not _is_size(value):
        raise ValueError(f"write a number of GB, or {NOT_VERIFIED}")
    return value


def _check_memory(value: object) -> object:
    if value == NOT_VERIFIED:
        return value
    if isinstance(value, dict) and {"bf16"} <= value.keys() <= {"bf16", "4-bit"} and all(map(_is_size, value.values())):
        return value
    raise ValueError(f"write the GB of each precision, as in {{bf16: 18.8, 4-bit: 8.4}}, or {NOT_VERIFIED}")


Commit = Annotated[Text, _pattern("[0-9a-f]{40}", f"write the 40 hex digits of a commit, or {NOT_VERIFIED}")]
Address = Annotated[Text, _pattern(r"https://\S+", f"write the https address where it was read, or {NOT_VERIFIED}")]
Repository = Annotated[Text, _pattern(r"[\w.-]+/[\w.-]+", "write OWNER/NAME, as on the hub")]
Gigabytes = Annotated[float | Literal["not verified"], BeforeValidator(_check_size)]
Memory = Annotated[dict[str, float] | Literal["not verified"], BeforeValidator(_check_memory)]


class Table(BaseModel):
    """A part of a row: unknown fields and values of another type are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Licence(Table):
    """A licence, and the page that states it."""

    name: Text
    url: Address = NOT_VERIFIED

    def __str__(self) -> str:
        """Return the name, marked if no page that states it was read."""
        return f"{self.name} ({NOT_VERIFIED})" if NOT_VERIFIED == self.url != self.name else self.name


class Hub(Table):
    """A repository of the hub. Sizes are in GB (10^9 bytes); the memory is that of each precision, best first."""

    repository: Repository
    revision: Commit  # not verified: the newest; that of the copy here is told by `core.zoo.hub.local_revision`
    licence: Licence
    download_gb: Gigabytes
    memory_gb: Memory
    source: Address = NOT_VERIFIED  # the page on which revision and sizes were read
    exclude: list[Text] = []  # files of the repository that are not needed, and not in the size
    weights: Text = "model.safetensors"  # the file of the weights, or of that name in parts with an index
    object_bos: bool = True  # whether the sequence that embeds a photo begins with BOS

    @property
    def config(self) -> str:
        """Return the name of the file that describes the model."""
        return "open_clip_config.json" if self.weights.startswith("open_clip") else "config.json"

    @property
    def command(self) -> str:
        """Return the command that downloads the model."""
        return f".venv/bin/python -m core download {self.repository}"

    @property
    def page(self) -> str:
        """Return the address of the repository."""
        return f"https://huggingface.co/{self.repository}"

    @property
    def terms_page(self) -> str:
        """Return the address of the page that states the licence, or of the repository where none was read."""
        return self.page if self.licence.url == NOT_VERIFIED else self.licence.url

    @property
    def terms(self) -> str:
        """Return the licence and the page on which to read it."""
        return f"{self.licence} ({self.terms_page})"

    @property
    def is_native(self) -> bool:
        """Whether the weights are read as they are, and not converted first."""
        return self.weights == "model.safetensors"

    @property
    def download(self) -> str:
        """Return the size of the download as text."""
        return f"a size {NOT_VERIFIED}" if isinstance(self.download_gb, str) else f"{self.download_gb:.1f} GB"

    @property
    def memory(self) -> dict[str, float]:
        """Return the memory of every precision for which it is known."""
        return {} if isinstance(self.memory_gb, str) else self.memory_gb

    @property
    def needs(self) -> str:
        """Return the memory of every precision as text."""
        return " or ".join(f"{size:.1f} GB ({precision})" for precision, size in self.memory.items()) or NOT_VERIFIED


class Server(Table):
    """The server that runs a model which has no class here: an engine, and the command that starts it."""

    engine: Text
    version: Text
    command: Text

    @property
    def start(self) -> str:
        """Return how it is started, as a part of a sentence."""
        return f"start {self.engine} {self.version} with `{self.command}`"

    @property
    def sentence(self) -> str:
        """Return how the model is used."""
        return f"It needs a server of its own: {self.start}, and use it as an endpoint."


class ModelRow(Table):
    """A row of the table: a checkpoint, or a model of the hub."""

    family: Family
    checkpoint: Text = ""  # the folder in `assets/checkpoints`
    size: Text = ""  # of a checkpoint, for people
    hub: Hub | None = None
    needs: list[Text] = []  # packages beside those of requirements.txt
    server: Server | None = None
    reply_tokens: Annotated[int, Field(ge=1)] = REPLY_TOKENS
    published: Text = ""  # its name in the paper's table of results
    note: Text = ""  # what to know about its route, where the family does not say it

    @model_validator(mode="after")
    def _check_family(self) -> Self:
        if (self.family == "embedded") != (self.hub is None):
            raise ValueError("a row has a table `hub`, or the family embedded")
        if (self.family == "endpoint") != (self.server is not None):
            raise ValueError("a row of the family endpoint, and no other, has a table `server`")
        return self

    @property
    def route(self) -> str:
        """Return by which way the model answers questions, and what is special about it."""
        return f"{ROUTES[self.family]}; {self.note}" if self.note else ROUTES[self.family]
