"""Read and write photos' attribute values and descriptions; make them without a model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from core.errors import UserError
from core.storage.files import write_atomically
from core.taxonomy.categories import Category, SuperCategory, find_category
from core.taxonomy.descriptions import describe
from train.attributes.prompts import NOT_VISIBLE
from train.attributes.validation import InvalidAnswerError, check_description, spellings
from train.data.records import Record

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class PhotoValues(BaseModel):
    """One line of `values.jsonl`: the attribute values that extraction found in a photo."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    category: Text
    attributes: Annotated[dict[Text, Text], Field(min_length=1)]


class PhotoDescription(PhotoValues):
    """One line of `descriptions.jsonl`: a photo's attribute values and its description."""

    description: Text


Line = TypeVar("Line", bound=PhotoValues)


def write_lines(path: Path, lines: Sequence[PhotoValues]) -> None:
    """Write one JSON object per photo, atomically."""
    write_atomically(path, "".join(line.model_dump_json() + "\n" for line in lines).encode())


def read_lines(path: Path, line_type: type[Line]) -> list[Line]:
    """Return the photos of `values.jsonl` or `descriptions.jsonl`. Raises `UserError` naming the first bad line."""
    lines: dict[str, Line] = {}
    try:
        texts = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text ({error}).") from error
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            line = line_type.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "JSON"
            raise UserError(f"{path}, line {number}: {field}: {first['msg']}.") from None
        if line.sha256 in lines:
            raise UserError(f"{path}, line {number}: the photo {line.sha256[:12]} is listed twice.")
        lines[line.sha256] = line
    if not lines:
        raise UserError(f"{path} lists no photos.")
    return list(lines.values())


def load_descriptions(path: Path) -> dict[str, str]:
    """Return photo SHA-256 -> attribute description from the `descriptions.jsonl` that `summarise` writes.

    Raises `UserError` with the line if the file is missing, malformed, lists a photo twice, or if a description is
    too long or names its category.
    """
    photos = read_lines(path, PhotoDescription)
    for photo in photos:
        try:
            check_description(photo.description, spellings(photo.category))
        except InvalidAnswerError as error:
            raise UserError(
                f"{path}: the description of the photo {photo.sha256[:12]} cannot be used: {error}."
            ) from None
    return {photo.sha256: photo.description for photo in photos}


def known_values(record: Record, group: SuperCategory) -> PhotoValues:
    """Return the knowledge tables' values for a photo's category. Raises `UserError` if one is missing."""
    category = find_category(record.category)
    if category is None or not set(group.attributes) <= set(category.values):
        names = ", ".join(group.attributes)
        raise UserError(
            f"The tables of assets/attributes have no values of {record.category} for these attributes: {names}."
        )
    values = {attribute: category.values[attribute] for attribute in group.attributes}
    return PhotoValues(sha256=record.sha256, category=record.category, attributes=values)


def in_template(photo: PhotoValues, group: SuperCategory) -> PhotoDescription:
    """Return a photo with a description of its visible values, in the first wording of `describe`."""
    visible = {attribute: value for attribute, value in photo.attributes.items() if value != NOT_VISIBLE}
    category = Category(photo.category, replace(group, attributes=tuple(visible)), (), visible)
    return PhotoDescription(**photo.model_dump(), description=describe(category))
