import pytest

from core.taxonomy.categories import SuperCategory, canonical_name, super_categories
from core.taxonomy.data_sets import data_sets
from core.taxonomy.prompts import OPEN_ANY, closed_question, open_question, question_subject


@pytest.mark.parametrize("data_set", data_sets().values(), ids=lambda data_set: data_set.id)
def test_the_questions_of_the_table_are_those_that_are_asked(data_set):
    subject = question_subject([canonical_name(name) for name in data_set.class_names()])
    assert open_question(subject) == data_set.open_question
    assert closed_question(subject, ["x", "y"]) == (
        f"{data_set.closed_question}\nChoices:\nA. x\nB. y\nAnswer with the letter from the given choices directly."
    )


def test_kinds_of_no_data_set_are_asked_for_in_the_same_words():
    mushroom = SuperCategory("mushroom", "mushroom", "species", ())
    assert open_question(mushroom) == "What is the species of the mushroom shown in the image?"
    assert closed_question(mushroom, ["x", "y"]).startswith("Which of these mushrooms is shown in the image?\nChoices:")
    assert closed_question(super_categories()["cat"], ["x"]).startswith("Which of these cats is shown in the image?")


def test_names_of_no_common_kind_are_choices():
    assert question_subject(["Bengal", "Beagle"]).noun == "pet"
    assert question_subject(["Bengal", "Cedar Waxwing"]) is None
    assert question_subject(["Bengal", "Xyz"]) is None
    assert open_question(None) == OPEN_ANY
    assert closed_question(None, ["x"]).startswith("Which of these choices is shown in the image?\nChoices:\nA. x\n")
