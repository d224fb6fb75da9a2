"""Categories and super-categories: the tables of `assets/attributes`, and how names are looked up in them."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from core.errors import UserError
from core.taxonomy.names import normalise, strip_class_number

ATTRIBUTES_FOLDER = Path(__file__).parents[2] / "assets" / "attributes"


@dataclass(frozen=True)
class SuperCategory:
    """A kind of object whose categories share a list of attributes (bird: bill, crown, ...)."""

    name: str
    noun: str
    rank: str  # what one asks for: the species of a bird, the breed of a dog, the model of a car
    attributes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Category:
    """One category: its display name, other spellings, and the value of every attribute of its kind, or none."""

    name: str
    super_category: SuperCategory
    aliases: tuple[str, ...]
    values: dict[str, str]


@cache
def categories() -> dict[str, Category]:
    """Every known category by display name, in the order of the files."""
    known: dict[str, Category] = {}
    for path in sorted(ATTRIBUTES_FOLDER.glob("*.yaml")):
        table = yaml.safe_load(path.read_text())
        group = SuperCategory(table["super_category"], table["noun"], table["rank"], tuple(table["attributes"]))
        for name, entry in table["categories"].items():
            known[name] = Category(name, group, tuple(entry.get("aliases", [])), entry["values"])
    return known


@cache
def super_categories() -> dict[str, SuperCategory]:
    """Every super-category by name."""
    return {category.super_category.name: category.super_category for category in categories().values()}


@cache
def _by_spelling() -> dict[str, Category]:
    return {
        normalise(spelling): category
        for category in categories().values()
        for spelling in (category.name, *category.aliases)
    }


def find_category(label: str) -> Category | None:
    """Return the category that a label (a folder name, an alias, any letter case or punctuation) names, if known."""
    return _by_spelling().get(normalise(label))


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


def shared_super_category(names: list[str]) -> SuperCategory | None:
    """The super-category that all names share, if they do."""
    groups = {category.super_category if category else None for category in map(find_category, names)}
    return groups.pop() if len(groups) == 1 else None


def in_super_category(name: str) -> list[Category]:
    """The categories of one super-category. Raises `UserError` for an unknown one."""
    if name not in super_categories():
        raise UserError(f"Unknown super-category {name!r}: choose one of {', '.join(super_categories())}.")
    return [category for category in categories().values() if category.super_category.name == name]
