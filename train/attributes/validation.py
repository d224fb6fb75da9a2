"""Clean and check the answers of models, whose text is untrusted."""

import json
import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from core.taxonomy.categories import SuperCategory, find_category
from core.taxonomy.names import normalise
from train.attributes.prompts import FEWEST_ATTRIBUTES, MOST_ATTRIBUTES, NOT_VISIBLE

MAX_REASON = 200  # characters
MAX_ATTRIBUTE = 30
MAX_VALUE = 80
MAX_DESCRIPTION = 1500
FEWEST_SENTENCES, MOST_SENTENCES = 3, 8  # "about five"

_LIST_OR_TITLE = re.compile(r"^\s*(?:[-*#•]|\d+[.)])\s", re.MULTILINE)
_REFUSAL = re.compile(r"(?:i'?m |i am )?(?:sorry|unable to|not able to)\b|i can(?:'?t|not)\b|as an ai\b", re.IGNORECASE)
_NOT_VISIBLE = re.compile(r"(?:not (?:\w+ )?visible|unknown|n/a)\b")


class InvalidAnswerError(Exception):
    """An answer cannot be used; the message gives the reason, on one line of limited length."""

    def __init__(self, reason: str) -> None:
        super().__init__(clean(reason)[:MAX_REASON])


def clean(text: str) -> str:
    """Return one line without control, formatting and unassigned characters, with plain apostrophes."""
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).split())


def spellings(label: str) -> tuple[str, ...]:
    """Return a category's name and aliases, which must not appear in its own description."""
    category = find_category(label)
    return (category.name, *category.aliases) if category else (label,)


def named(text: str, names: tuple[str, ...]) -> str | None:
    """Return the first of `names` that a text contains, in any case, punctuation, or in the plural; None if none."""
    words = f" {normalise(text)} "
    for name in names:
        plain = normalise(name)
        joined = not plain.isascii() and plain in words  # many scripts have no spaces between words
        if joined or f" {plain} " in words or f" {plain}s " in words:
            return name
    return None


def _attribute_names(names: list[str]) -> list[str]:
    names = list(dict.fromkeys(clean(name).lower() for name in names))
    if not FEWEST_ATTRIBUTES <= len(names) <= MOST_ATTRIBUTES:
        raise ValueError(f"{len(names)} different attributes instead of {FEWEST_ATTRIBUTES} to {MOST_ATTRIBUTES}")
    for name in names:
        if len(name) > MAX_ATTRIBUTE or not re.fullmatch(r"[a-z]+(?:[ -][a-z]+){0,2}", name):
            raise ValueError(f"{name[:MAX_ATTRIBUTE]!r} is not an attribute's name of one to three words")
    return names


def _value(text: str) -> str:
    phrase = clean(re.sub(r"[^\w\s'()/%&+-]+", " ", clean(text))).lower()  # drop punctuation that would end a clause
    phrase = re.sub(r"^(?:(?:is|are)\b ?)+", "", phrase)
    if not phrase:
        raise ValueError("the value is empty")
    if len(phrase) > MAX_VALUE:
        raise ValueError(f"the value is longer than {MAX_VALUE} characters")
    return NOT_VISIBLE if _NOT_VISIBLE.match(phrase) else phrase


class Discovery(BaseModel):
    """The answer of step 1: the attributes of a super-category."""

    model_config = ConfigDict(extra="forbid")
    attributes: Annotated[list[str], AfterValidator(_attribute_names)]


def values_model(group: SuperCategory) -> type[BaseModel]:
    """Return the schema of the answer of step 2: a value for each attribute, and no other field."""
    fields: dict[str, Any] = {  # aliases: an attribute's name may not be a Python name
        f"attribute_{i}": (Annotated[str, AfterValidator(_value)], Field(alias=attribute))
        for i, attribute in enumerate(group.attributes)
    }
    return create_model("Values", __config__=ConfigDict(extra="forbid"), **fields)


def response_format(model: type[BaseModel]) -> dict[str, Any]:
    """Return the `response_format` of chat completions for JSON that follows a model's schema."""
    schema = {"name": model.__name__, "strict": True, "schema": model.model_json_schema()}
    return {"type": "json_schema", "json_schema": schema}


def read_json(text: str, model: type[BaseModel]) -> dict[str, Any]:
    """Return the first JSON object in an answer that fits, whatever stands around it. Raises `InvalidAnswerError`."""
    first, last = text.find("{"), text.rfind("}")
    if first < 0 or last < first:
        raise InvalidAnswerError(f"it contains no JSON object ({clean(text)[:60]!r})")
    reasons = []
    for candidate in _json_objects(text) or [text[first : last + 1]]:
        try:
            return model.model_validate_json(candidate).model_dump(by_alias=True)
        except ValidationError as error:
            parts = [f"{'.'.join(map(str, e['loc'])) or 'JSON'}: {e['msg']}" for e in error.errors(include_url=False)]
            reasons.append("; ".join(parts[:3]))
    raise InvalidAnswerError(reasons[0])


def _json_objects(text: str) -> list[str]:
    """Return the outermost JSON objects in a text, in order."""
    found, start = [], text.find("{")
    while start >= 0:
        try:
            _, end = json.JSONDecoder().raw_decode(text, start)
            found.append(text[start:end])
        except (ValueError, RecursionError):  # a brace of the prose, or nested too deeply
            end = start + 1
        start = text.find("{", end)
    return found


def read_values(text: str, model: type[BaseModel], names: tuple[str, ...]) -> dict[str, str]:
    """Return the attribute values in an answer of step 2. Raises `InvalidAnswerError`, also if nothing was visible."""
    values = read_json(text, model)
    for value in values.values():
        if name := named(value, names):
            raise InvalidAnswerError(f"a value names the {name}")
    if set(values.values()) == {NOT_VISIBLE}:
        raise InvalidAnswerError("none of the attributes is visible")
    return values


def read_description(text: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the description in an answer of step 3. Raises `InvalidAnswerError`."""
    text = text.strip().strip('"')
    description = clean(text)
    if not description:
        raise InvalidAnswerError("it is empty")
    if _REFUSAL.match(description):
        raise InvalidAnswerError(f"it refuses ({description[:60]!r})")
    if _LIST_OR_TITLE.search(text):
        raise InvalidAnswerError("it contains a list or a title instead of sentences alone")
    check_description(description, names)
    sentences = len(re.findall(r"[.!?](?=\s|$)", description))
    if not FEWEST_SENTENCES <= sentences <= MOST_SENTENCES:
        raise InvalidAnswerError(f"it has {sentences} complete sentences instead of about five")
    return {"description": description}


def check_description(description: str, names: tuple[str, ...]) -> None:
    """Raise `InvalidAnswerError` for a description that is too long or names the category."""
    if len(description) > MAX_DESCRIPTION:
        raise InvalidAnswerError(f"it is longer than {MAX_DESCRIPTION} characters")
    if name := named(description, names):
        raise InvalidAnswerError(f"it names the {name}")
