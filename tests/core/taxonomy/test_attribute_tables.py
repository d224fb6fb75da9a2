"""The attribute tables that ship: what a value looks like, official names, and look-alikes that can be told apart."""

import pytest

from core.taxonomy import categories as knowledge
from core.taxonomy.categories import categories, find_category
from core.taxonomy.similarity import most_similar
from core.taxonomy.tables import read_attribute_table

TABLES = [read_attribute_table(path) for path in sorted(knowledge.ATTRIBUTES_FOLDER.glob("*.yaml"))]
ENTRIES = {name: entry for table in TABLES for name, entry in table.categories.items()}
CLASSES = knowledge.ATTRIBUTES_FOLDER.parent / "classes"
VARIANTS = {  # of FGVC-Aircraft, that the table has; of other aircraft it has the families, as people name them
    "A318": "Airbus A318",
    "A319": "Airbus A319",
    "A320": "Airbus A320",
    "A321": "Airbus A321",
    "A380": "Airbus A380",
    "ATR-42": "ATR 42",
    "ATR-72": "ATR 72",
    "C-47": "Douglas C-47 Skytrain",
    "Spitfire": "Supermarine Spitfire",
}


def differing(one, other):
    """The number of attributes in which two categories differ."""
    return sum(value != ENTRIES[other].values[attribute] for attribute, value in ENTRIES[one].values.items())


def official_names(data_set):
    return (CLASSES / f"{data_set}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.super_category)
def test_every_category_has_a_group_and_values_of_a_few_words(table):
    for name, entry in table.categories.items():
        assert entry.group, name
        for attribute, value in entry.values.items():
            assert 2 <= len(value.split()) <= 6, (name, attribute, value)
            assert not set(value) & set(".,;:"), (name, attribute, value)
            assert value == " ".join(value.split()), (name, attribute, value)


def test_every_table_is_used_in_full():
    assert list(ENTRIES) == list(categories())
    assert not knowledge.table_errors()


@pytest.mark.parametrize("data_set", ["bird-200", "car-196", "dog-120", "flower-102", "pet-37"])
def test_official_class_names_find_a_category_each(data_set):
    found = [find_category(name) for name in official_names(data_set)]
    assert None not in found
    assert len(set(found)) == len(found)
    groups = {category.super_category.name for category in found}
    assert groups == ({"cat", "dog"} if data_set == "pet-37" else {data_set.rpartition("-")[0]})


def test_few_variants_of_aircraft_are_categories():
    found = {name: category.name for name in official_names("aircraft-102") if (category := find_category(name))}
    assert found == VARIANTS


def test_indistinct_categories_are_named_with_a_reason():
    listed = [(name, other, why) for name, entry in ENTRIES.items() for other, why in entry.indistinct_from.items()]
    assert listed
    for name, other, why in listed:
        assert other in ENTRIES and other != name, (name, other)  # noqa: PT018
        assert find_category(other).super_category == find_category(name).super_category
        assert len(why.split()) >= 3, (name, why)


def test_a_category_and_the_most_similar_one_differ_in_two_values():
    names = list(ENTRIES)
    for name, (nearest,) in zip(names, most_similar(names, 1), strict=True):
        other = names[nearest]
        assert differing(name, other) >= 2 or other in ENTRIES[name].indistinct_from, (name, other)
