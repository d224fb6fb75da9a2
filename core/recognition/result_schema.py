"""The form of `core identify --json`: what a program may rely on in a line of it.

The classes describe the dictionaries that `core.recognition.results` makes; a test holds real ones against them.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from core.recognition.conclusion import Rank

Share = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1.001, le=1.001)]
Box = Annotated[
    list[Share], Field(min_length=4, max_length=4, description="left, top, width, height, as shares of the photo")
]


class Form(BaseModel):
    """An object without further fields."""

    model_config = ConfigDict(extra="forbid")


class SureConclusion(Form):
    """The most specific thing that has the wanted probability."""

    rank: Rank
    name: str = Field(description="of the category, the group or the super-category; empty at rank nothing")
    noun: str = Field(description="what one calls it")
    probability: Share
    members: list[str] = Field(description="its most probable names")
    sure: Share = Field(description="the probability that was wanted")


class NamedSpecies(Form):
    """One name of the ranking."""

    name: str
    probability: Share


class FoundObject(NamedSpecies):
    """A part of the photo in which an object was found, named from one look at it."""

    box: Box


class ComparedAttribute(Form):
    """An attribute of a name beside the photo."""

    attribute: str
    value: str
    image_similarity: Cosine = Field(description="of the photo with the value")
    name_similarity: Cosine = Field(description="of the value with the name")
    margin: float | None = Field(description="over the other names' values; null where they all have this one")
    verdict: str = Field(pattern="^(agrees|disagrees|undecided|shared)$")


class NameEvidence(Form):
    """How the attributes of one name agree with the photo."""

    name: str
    attributes: list[ComparedAttribute]


class AttributeDifference(Form):
    """An attribute in which the first name and its runner-up differ."""

    attribute: str
    first: str
    second: str
    lean: float = Field(description="above zero: the photo is nearer to the first name's value")


class NameExplanation(Form):
    """Which attributes speak for the first name, and what else ranks it before its runner-up (`--explain`)."""

    sentence: str
    ranking_shares: dict[str, Share]
    evidence: list[NameEvidence]
    differences: list[AttributeDifference]


class IdentifiedPhoto(Form):
    """What a model says of one photo."""

    photo: str = Field(description="the path or file name that was given")
    model: str
    known: bool = Field(description="false: the photo is near to nothing that the model was trained on")
    calibrated: bool = Field(description="false: the probabilities rank the names, and tell no more")
    box: Box = Field(default_factory=list, description="the part that was named; missing where it is the whole photo")
    objects: list[FoundObject] = Field(
        default_factory=list, description="all that `--crop auto` found, the named one first"
    )
    note: str = Field("", description="what the model does not give")
    conclusion: SureConclusion | None = Field(
        None, description="missing where the photo is unknown or the probabilities are not calibrated"
    )
    species: list[NamedSpecies] = Field(description="the most probable names, the first one first")
    answer: str = Field(description="the model's own answer")
    attributes: dict[str, str] = Field(description="as the model writes them")
    description: str
    explanation: NameExplanation | None = Field(None, description="missing unless it was asked for")
    seconds: float


class UnusablePhoto(Form):
    """A photo that cannot be used, and why."""

    photo: str
    error: str = Field(description="one sentence")


RESULT: TypeAdapter[IdentifiedPhoto | UnusablePhoto] = TypeAdapter(IdentifiedPhoto | UnusablePhoto)


def result_schema() -> dict[str, Any]:
    """Return the JSON schema of one line of `core identify --json`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "core identify --json",
        **RESULT.json_schema(),
    }
