"""Categories and super-categories: the tables of `assets/attributes`, and how names are looked up in them."""

import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.errors import UserError
from core.taxonomy.names import normalise, strip_class_number
from core.taxonomy.tables import read_attribute_table

log = logging.getLogger(__name__)

ATTRIBUTES_FOLDER = Path(__file__).parents[2] / "assets" / "attributes"


@dataclass(frozen=True)
class SuperCategory:
    """A kind of object whose categories share a list of attributes (bird: bill, crown, ...)."""

    name: str
    noun: str
    rank: str  # what one asks for: the species of a bird, the breed of a dog, the model of a car
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Categories of one kind that belong together for people: a family of birds, a make of cars."""

    kind: str  # the name of the super-category
    name: str
    noun: str  # what one of them is called: "wood warbler" of Parulidae, "Audi sedan" of Audi sedan


@dataclass(frozen=True, eq=False)
class Category:
    """One category: its display name, other spellings, and the value of every attribute of its kind, or none."""

    name: str
    super_category: SuperCategory
    aliases: tuple[str, ...]
    values: dict[str, str]
    groups: tuple[Group, ...] = ()  # that it is in, the widest first


@dataclass(frozen=True)
class _Tables:
    categories: dict[str, Category]
    by_spelling: dict[str, Category]
    errors: list[str]


@cache
def _tables() -> _Tables:
    """Read every table; one with a mistake is left out, with one sentence in the log."""
    tables = _Tables({}, {}, [])
    groups: dict[str, SuperCategory] = {}
    for path in sorted(ATTRIBUTES_FOLDER.glob("*.yaml")):
        try:
            group, found = _read(path)
            if groups.get(group.name, group) != group:
                raise UserError(f"{path.name}: another file describes the super-category {group.name!r} otherwise.")
            spellings = _spellings(path, found, tables.by_spelling)
        except UserError as error:
            tables.errors.append(f"The table of attributes {error} Until then the table is not used.")
            log.warning("%s", tables.errors[-1])
            continue
        groups[group.name] = group
        tables.categories.update((category.name, category) for category in found)
        tables.by_spelling.update(spellings)
    return tables


def _read(path: Path) -> tuple[SuperCategory, list[Category]]:
    table = read_attribute_table(path)
    group = SuperCategory(table.super_category, table.noun, table.rank, tuple(table.attributes))
    names = {name for entry in table.categories.values() for name in entry.group}
    groups = {name: Group(group.name, name, table.groups.get(name, name)) for name in names}
    return group, [
        Category(name, group, tuple(entry.aliases), entry.values, tuple(groups[one] for one in entry.group))
        for name, entry in table.categories.items()
    ]


def _spellings(path: Path, found: list[Category], taken: Mapping[str, Category]) -> dict[str, Category]:
    """Return normalised spelling -> category. Raises `UserError` if a spelling is already another category's."""
    spellings: dict[str, Category] = {}
    for category in found:
        for spelling in (category.name, *category.aliases):
            key = normalise(spelling)
            other = taken.get(key) or spellings.setdefault(key, category)
            if other is not category:
                raise UserError(
                    f"{path.name}: {spelling!r} is a name of {category.name!r} and of {other.name!r}: keep one of them."
                )
    return spellings


def categories() -> dict[str, Category]:
    """Return every known category by display name, in the order of the files."""
    return _tables().categories


def table_errors() -> list[str]:
    """Return one sentence for each table of attributes that is left out because of a mistake in it."""
    return _tables().errors


@cache
def super_categories() -> dict[str, SuperCategory]:
    """Return every super-category by name."""
    return {category.super_category.name: category.super_category for category in categories().values()}


def find_category(label: str) -> Category | None:
    """Return the category that a label (a folder name, an alias, any letter case or punctuation) names, if known."""
    return _tables().by_spelling.get(normalise(label))


def canonical_name(label: str) -> str:
    """Return the display name of a known label; an unknown one is kept, without class number and underscores."""
    category = find_category(label)
    if category:
        return category.name
    return " ".join(unicodedata.normalize("NFC", strip_class_number(label.strip())).replace("_", " ").split())


def name_key(label: str) -> str:
    """Return what two labels have in common if, and only if, they name the same category; "" for an empty label."""
    category = find_category(label)
    return normalise(category.name if category else label)


def same_category(one: str, other: str) -> bool:
    """Return whether two labels name the same category."""
    return name_key(one) == name_key(other)


def first_spellings(names: Sequence[str]) -> list[str]:
    """Return the names in the same order, each in the spelling in which its category occurs first."""
    first: dict[str, str] = {}
    return [first.setdefault(name_key(name), name) for name in names]


def distinct_names(labels: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return (kept, dropped): the first spelling of every name, and dropped spelling -> kept spelling.

    Underscores become spaces, empty labels and literal repetitions are left out without being counted as dropped.
    """
    kept: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for label in labels:
        spelling = " ".join(label.replace("_", " ").split())
        if not spelling:
            continue
        first = kept.setdefault(name_key(label), spelling)
        if spelling != first:
            dropped[spelling] = first
    return list(kept.values()), dropped


def dropped_sentence(dropped: Mapping[str, str]) -> str:
    """Return the sentence that tells which spellings `distinct_names` has dropped."""
    listed = [f"{spelling!r} (the same name as {first!r})" for spelling, first in dropped.items()]
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return f"Left out: {', '.join(listed[:5])}{more}."


def in_super_category(name: str) -> list[Category]:
    """Return the categories of one super-category. Raises `UserError` for an unknown one."""
    if name not in super_categories():
        raise UserError(f"Unknown super-category {name!r}: choose one of {', '.join(super_categories())}.")
    return [category for category in categories().values() if category.super_category.name == name]
