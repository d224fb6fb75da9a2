import unicodedata
from pathlib import Path

import pytest

from core.taxonomy.categories import (
    canonical_name,
    categories,
    distinct_names,
    dropped_sentence,
    find_category,
    first_spellings,
    same_category,
)
from core.taxonomy.names import normalise, strip_class_number

CLASS_LISTS = sorted((Path(__file__).parents[3] / "assets" / "classes").glob("*.txt"))
EPAGNEUL = "\u00c9pagneul breton"


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("014.Indigo Bunting", "Indigo Bunting"),
        ("014. Indigo Bunting", "Indigo Bunting"),
        ("7.Pug", "Pug"),
        ("n02113186-Cardigan", "Cardigan"),
        ("707-320", "707-320"),
        ("2.0 Turbo", "2.0 Turbo"),
        ("1. Robin", "Robin"),
        ("n02113186", "n02113186"),
        ("014.", "014."),
    ],
)
def test_the_class_number_is_stripped_and_nothing_else(name, bare):
    assert strip_class_number(name) == bare


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Fly Agaric", "fly_agaric"),
        (EPAGNEUL, unicodedata.normalize("NFD", EPAGNEUL).upper()),
        ("014.Indigo_Bunting", "indigo  bunting"),
        ("n02113186-Cardigan", "Cardigan Welsh Corgi"),
        ("Indigo\u2010Bunting", "Indigo Bunting."),
        ("Cedar Waxwing\u200b", "\ufeffCedar\u00a0Waxwing"),
        ("\u9e1f_\u2640\ufe0f", "\u9e1f \u2640"),
        ("STRASSE", "stra\u00dfe"),
    ],
)
def test_spellings_of_one_name(one, other):
    assert same_category(one, other)
    assert distinct_names([one, other])[0] == [" ".join(one.replace("_", " ").split())]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Indigo Bunting \u2642", "Indigo Bunting \u2640"),
        ("Indigo Bunting \u2642", "Indigo Bunting"),
        ("C++", "C#"),
        ("C++", "C"),
        ("Mentha \u00d7 piperita", "Mentha piperita"),
        ("\u6a59\u8179\u62df\u9e42", "\u96ea\u677e\u592a\u5e73\u9e1f"),
        ("\u0915\u093f", "\u0915\u0940"),  # vowel signs are combining marks
        ("\U0001f99c", "\U0001f426"),
        ("???", "!!!"),
        ("Epagneul breton", EPAGNEUL),
    ],
)
def test_different_names(one, other):
    assert not same_category(one, other)
    assert distinct_names([one, other]) == ([one, other], {})


def test_an_unknown_name_is_shown_composed_and_without_its_number():
    assert canonical_name("001.Green_footed_Booby") == "Green footed Booby"
    assert canonical_name(unicodedata.normalize("NFD", EPAGNEUL)) == EPAGNEUL


def test_dropped_spellings_are_told_but_literal_repetitions_are_not():
    kept, dropped = distinct_names(["Fly_Agaric", "Cep", "", "Cep", "fly agaric"])
    assert kept == ["Fly Agaric", "Cep"]
    assert dropped == {"fly agaric": "Fly Agaric"}
    assert dropped_sentence(dropped) == "Left out: 'fly agaric' (the same name as 'Fly Agaric')."


def test_every_spelling_becomes_the_first_one():
    assert first_spellings(["Cep", "fly agaric", "Fly Agaric", "cep"]) == ["Cep", "fly agaric", "fly agaric", "Cep"]


@pytest.mark.parametrize("file", CLASS_LISTS, ids=lambda path: path.stem)
def test_no_two_classes_of_a_data_set_become_one(file):
    names = file.read_text(encoding="utf-8").splitlines()
    kept, dropped = distinct_names(names)
    assert (len(kept), dropped) == (len(names), {})
    assert len({normalise(name) for name in names}) == len(names)


def test_known_categories_keep_the_spellings_without_punctuation():
    for category in categories().values():
        for spelling in (category.name, *category.aliases):
            assert find_category("".join(c if c.isalnum() else "_" for c in spelling)) is category
