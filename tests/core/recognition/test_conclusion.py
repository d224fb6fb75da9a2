"""The most specific thing that is sure: a name, its group, or the kind of thing."""

import pytest

from core.errors import UserError
from core.recognition.conclusion import Species, check_sure, conclude
from core.recognition.results import Identification


def ranking(**probabilities):
    named = {name.replace("_", " "): probability for name, probability in probabilities.items()}
    return [Species(name, p) for name, p in sorted(named.items(), key=lambda item: -item[1])]


def test_a_name_that_is_sure_enough_is_said():
    conclusion = conclude(ranking(House_Wren=0.93, Carolina_Wren=0.05, Mallard=0.02))
    assert (conclusion.rank, conclusion.name, conclusion.probability) == ("name", "House Wren", 0.93)
    assert conclusion.phrase == "House Wren"


def test_else_the_deepest_group_that_is():
    gulls = ranking(California_Gull=0.5, Western_Gull=0.43, Arctic_Tern=0.05, Mallard=0.02)
    conclusion = conclude(gulls)
    assert (conclusion.rank, conclusion.name, conclusion.noun) == ("group", "Gull", "gull")
    assert conclusion.probability == pytest.approx(0.93)
    assert conclusion.phrase == "a gull: California Gull or Western Gull"
    wider = conclude(gulls, sure=0.95)
    assert (wider.name, wider.thing) == ("Laridae", "a gull or tern")
    assert wider.members == ("California Gull", "Western Gull", "Arctic Tern")
    assert conclude(gulls, sure=0.99).rank == "kind"
    assert conclude(gulls, sure=0.99).thing == "a bird"


def test_else_the_kind_of_thing_or_nothing():
    conclusion = conclude(ranking(House_Wren=0.4, Mallard=0.3, Beagle=0.3))
    assert (conclusion.rank, conclusion.thing) == ("nothing", "not sure")
    assert conclusion.phrase == "nothing, perhaps House Wren, Mallard or Beagle"
    kind = conclude(ranking(House_Wren=0.5, Mallard=0.45, Beagle=0.05))
    assert (kind.rank, kind.name, kind.phrase) == ("kind", "bird", "a bird: House Wren or Mallard")


def test_names_of_no_table_are_in_no_group():
    conclusion = conclude([Species("Apple", 0.6), Species("Pear", 0.4)])
    assert (conclusion.rank, conclusion.members) == ("nothing", ("Apple", "Pear"))


def test_groups_of_one_name_in_two_kinds_are_two():
    cats_and_dogs = ranking(Bengal=0.5, Beagle=0.5)
    assert conclude(cats_and_dogs).rank == "nothing"


@pytest.mark.parametrize("sure", [0.5, 1, 0, -1, float("nan"), None])
def test_a_level_that_several_groups_can_have_is_refused(sure):
    with pytest.raises(UserError, match=r"above 0\.5 and below 1"):
        check_sure(sure)


def test_the_json_tells_the_conclusion_of_a_calibrated_model_that_knows_the_photo():
    gulls = ranking(California_Gull=0.5, Western_Gull=0.45, Mallard=0.05)
    result = Identification("m", True, gulls[:1], ranking=gulls)
    assert result.as_dict("a.jpg")["conclusion"] == {
        "rank": "group",
        "name": "Gull",
        "noun": "gull",
        "probability": 0.95,
        "members": ["California Gull", "Western Gull"],
        "sure": 0.9,
    }
    assert result.backed_off() == result.conclusion()
    sure_of_it = Identification("m", True, gulls[:1], ranking=[Species("California Gull", 0.95), *gulls[1:]])
    assert (sure_of_it.backed_off(), sure_of_it.conclusion().rank) == (None, "name")
    assert result.as_dict("a.jpg", sure=0.98)["conclusion"]["rank"] == "kind"
    for other in (Identification("m", False, gulls[:1], ranking=gulls), Identification("m", True, gulls[:1])):
        assert "conclusion" not in other.as_dict("a.jpg")
