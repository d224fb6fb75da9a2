import itertools
from collections import Counter

import pytest

from core.taxonomy.categories import (
    ATTRIBUTES_FOLDER,
    canonical_name,
    categories,
    find_category,
    super_categories,
)
from core.taxonomy.descriptions import WORDINGS, describe, parse_description, words_of
from core.taxonomy.names import normalise
from core.taxonomy.similarity import most_similar
from core.taxonomy.tables import read_attribute_table

ALL = list(categories().values())


def test_the_six_super_categories_are_complete():
    assert set(super_categories()) == {"aircraft", "bird", "car", "cat", "dog", "flower"}
    assert all(8 <= len(group.attributes) <= 12 for group in super_categories().values())
    sizes = Counter(category.super_category.name for category in ALL)
    assert sizes == {"aircraft": 47, "bird": 200, "car": 196, "cat": 12, "dog": 124, "flower": 102}


@pytest.mark.parametrize("category", ALL, ids=lambda c: c.name)
def test_a_category_has_every_value_and_is_never_named(category):
    assert list(category.values) == list(category.super_category.attributes)
    spellings = {normalise(spelling) for spelling in (category.name, *category.aliases)}
    for value in category.values.values():
        assert value.strip()
        assert not any(f" {spelling} " in f" {normalise(value)} " for spelling in spellings)


@pytest.mark.parametrize("wording", range(WORDINGS))
def test_descriptions_have_35_to_65_words_and_can_be_read_back(wording):
    for category in ALL:
        text = describe(category, wording)
        assert 35 <= len(text.split()) <= 65, text
        assert parse_description(text, category.super_category) == category.values


def test_categories_of_a_kind_differ_in_two_attributes():
    tables = [read_attribute_table(path) for path in ATTRIBUTES_FOLDER.glob("*.yaml")]
    alike = {name: entry.indistinct_from for table in tables for name, entry in table.categories.items()}
    for one, other in itertools.combinations(ALL, 2):
        if one.super_category == other.super_category and sum(one.values[a] != other.values[a] for a in one.values) < 2:
            assert other.name in alike[one.name] or one.name in alike[other.name], (one.name, other.name)


def test_no_spelling_stands_for_two_categories():
    spellings = [normalise(s) for c in ALL for s in {normalise(x) for x in (c.name, *c.aliases)}]
    assert len(spellings) == len(set(spellings))


def test_pets_and_dogs_share_their_breeds():
    assert find_category("Yorkshire_terrier") is find_category("yorkshire_terrier")
    assert find_category("Staffordshire_bullterrier") is find_category("staffordshire_bull_terrier")
    assert canonical_name("Some_new bird") == "Some new bird"


def test_look_alikes_are_of_the_same_kind_and_alike():
    names = [category.name for category in ALL]
    nearest = {name: [names[i] for i in row] for name, row in zip(names, most_similar(names, 3), strict=True)}
    assert "Bohemian Waxwing" in nearest["Cedar Waxwing"]
    assert "Alaskan Malamute" in nearest["Siberian Husky"] or "Eskimo Dog" in nearest["Siberian Husky"]
    assert "Audi A5 Coupe 2012" in nearest["Audi S5 Coupe 2012"]
    for name, row in nearest.items():
        assert name not in row
        assert {categories()[other].super_category for other in row} == {categories()[name].super_category}


def test_the_first_words_tell_every_category_from_every_other():
    assert len({tuple(words_of(category.name).split()[:7]) for category in ALL}) == len(ALL)


def test_rare_words_come_first():
    assert words_of("Chevrolet_Silverado_1500_Regular_Cab_2012").startswith("1500 Regular ")
    assert words_of("Cedar Waxwing").startswith("Cedar Waxwing ")
    assert words_of("purple martian") == "purple martian"


def test_the_words_are_the_name_alone_if_they_are_to_be():
    for name in ("Chevrolet Silverado 1500 Regular Cab 2012", "purple martian"):
        assert words_of(name, name_alone=True) == name


@pytest.mark.parametrize("text", ["Bill is", "Bill is.", "Bill is ", "Crown is. Bill: "])
def test_a_clause_without_a_value_is_no_attribute(text):
    assert parse_description(text, super_categories()["bird"]) == {}
