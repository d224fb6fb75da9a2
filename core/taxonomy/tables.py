"""The form of the tables in `assets/attributes`, which people also write by hand."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from core.errors import UserError
from core.storage.tables import Text, read_table
from core.taxonomy.names import normalise


class CategoryEntry(BaseModel):
    """What a table says of one category."""

    model_config = ConfigDict(extra="forbid")

    # Family, breed group or make; a path of several, the widest first.
    group: Annotated[list[Text], BeforeValidator(lambda group: group if isinstance(group, list) else [group])] = []
    aliases: list[Text] = []
    indistinct_from: dict[Text, Text] = {}  # look-alike -> why fewer than two values tell it apart
    values: dict[Text, Text]  # attribute -> value


class AttributeTable(BaseModel):
    """One file: a super-category and its categories, each with a value for every attribute."""

    model_config = ConfigDict(extra="forbid")

    super_category: Text
    noun: Text
    rank: Text
    attributes: list[Text] = Field(min_length=1)
    groups: dict[Text, Text] = {}  # what one of a group is called, where that is not the group's name
    categories: dict[Text, CategoryEntry]


_FORM = TypeAdapter(AttributeTable)


def read_attribute_table(path: Path) -> AttributeTable:
    """Return the table of a file. Raises `UserError` that names the file, the place and the remedy."""
    table = read_table(path, _FORM)
    if len(set(table.attributes)) < len(table.attributes):
        raise UserError(f"{path.name}, attributes: one is there twice: remove it.")
    _check_groups(path, table)
    for name, entry in table.categories.items():
        if missing := [attribute for attribute in table.attributes if attribute not in entry.values]:
            raise UserError(f"{path.name}, {name}: there is no value for {', '.join(missing)}: add it.")
        if unknown := [attribute for attribute in entry.values if attribute not in table.attributes]:
            raise UserError(
                f"{path.name}, {name}: {', '.join(unknown)} is not among the attributes: add it there or remove it."
            )
    return table


def _check_groups(path: Path, table: AttributeTable) -> None:
    """Raise `UserError` if the groups are no tree, or if one is spelled in two ways or unused."""
    spellings: dict[str, str] = {}
    wider: dict[str, str | None] = {}
    for name, entry in table.categories.items():
        for above, group in pairwise([None, *entry.group]):
            assert group is not None
            where = f"{path.name}, {name}: the group {group!r}"
            if (other := spellings.setdefault(normalise(group), group)) != group:
                raise UserError(f"{where} is spelled {other!r} before: take one of them.")
            if wider.setdefault(group, above) != above:
                place = f"below {above!r}" if above else "the widest"
                raise UserError(f"{where} is elsewhere not {place}: correct its path.")
    if unused := table.groups.keys() - wider.keys():
        raise UserError(f"{path.name}, groups: no category is in {min(unused)!r}: correct it or remove it.")
