"""The form of the tables in `assets/attributes`, which people also write by hand."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from core.errors import UserError
from core.storage.tables import Text, read_table


class CategoryEntry(BaseModel):
    """What a table says of one category."""

    model_config = ConfigDict(extra="forbid")

    group: Text | list[Text] = []  # family, breed group or make; a path of several, the widest first
    aliases: list[Text] = []
    indistinct_from: dict[Text, Text] = {}  # look-alike -> why fewer than two values tell it apart
    values: dict[Text, Text]  # attribute -> value

    @property
    def path(self) -> list[str]:
        """Return the groups that the category is in, the widest first."""
        return [self.group] if isinstance(self.group, str) else self.group


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
    if unused := table.groups.keys() - {group for entry in table.categories.values() for group in entry.path}:
        raise UserError(f"{path.name}, groups: no category is in {min(unused)!r}: correct it or remove it.")
    for name, entry in table.categories.items():
        if missing := [attribute for attribute in table.attributes if attribute not in entry.values]:
            raise UserError(f"{path.name}, {name}: there is no value for {', '.join(missing)}: add it.")
        if unknown := [attribute for attribute in entry.values if attribute not in table.attributes]:
            raise UserError(
                f"{path.name}, {name}: {', '.join(unknown)} is not among the attributes: add it there or remove it."
            )
    return table
