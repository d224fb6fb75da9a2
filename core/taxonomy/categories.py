"""Categories and super-categories: the tables of `assets/attributes`, and how names are looked up in them."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from core.errors import UserError

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


def normalise(name: str) -> str:
    """The form in which names are compared: lower case, punctuation and underscores as single spaces."""
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))


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
    """The category that a label (a folder name, an alias, any capitals or punctuation) stands for, if known."""
    return _by_spelling().get(normalise(label))


def canonical_name(label: str) -> str:
    """The display name of a known label; an unknown one is kept, with underscores as spaces."""
    category = find_category(label)
    return category.name if category else " ".join(label.replace("_", " ").split())


def shared_super_category(names: list[str]) -> SuperCategory | None:
    """The super-category that all names share, if they do."""
    groups = {category.super_category if category else None for category in map(find_category, names)}
    return groups.pop() if len(groups) == 1 else None


def in_super_category(name: str) -> list[Category]:
    """The categories of one super-category. Raises `UserError` for an unknown one."""
    if name not in super_categories():
        raise UserError(f"Unknown super-category {name!r}: choose one of {', '.join(super_categories())}.")
    return [category for category in categories().values() if category.super_category.name == name]
