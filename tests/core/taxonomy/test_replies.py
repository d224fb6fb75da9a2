import pytest

from core.taxonomy.replies import foci_letter, read_letter, without_thoughts

OPTIONS = ["American Crow", "Groove_billed_Ani", "Fish Crow", "Common Raven"]

READ = {
    "B": "B",
    " b ": "B",
    "(B)": "B",
    "(b).": "B",
    "B.": "B",
    "B)": "B",
    "[B]": "B",
    "**B**": "B",
    "`B`": "B",
    "B. Groove billed Ani": "B",
    "B.Groove billed Ani": "B",
    "B: groove_billed_ani.": "B",
    "B Groove billed Ani": "B",
    "B - Groove billed Ani": "B",
    "B\nThe bill is grooved.": "B",
    "B, because of the bill": "B",
    "B is correct.": "B",
    "A. The bird is black.": "A",
    "A American Crow": "A",
    "Answer: B": "B",
    "Answer:B": "B",
    "answer: a": "A",
    "**Answer:** (B)": "B",
    "The answer is B. Groove billed Ani": "B",
    "The correct answer is: **B**.": "B",
    "The answer is option B because": "B",
    "The correct option is B.": "B",
    "Option B": "B",
    "option B: Groove billed Ani": "B",
    "I would choose B because": "B",
    "I think B.": "B",
    "Option A has no groove, option C neither. The answer is B": "B",
    "It might be a Fish Crow. The answer is American Crow.": "A",
    "<think>A or C? No: C is grey.</think> B": "B",
    "It may be A.</think>\n\nB": "B",
    "<think>Black.</think>\n<answer>B</answer>": "B",
    "<answer>B": "B",
    r"\boxed{B}": "B",
    r"$\boxed{\text{B}}$": "B",
    "American Crow": "A",
    "american crow.": "A",
    "Common Raven": "D",
    "This is a Groove-billed Ani.": "B",
    "A Fish Crow": "C",
    "The answer is a Fish Crow": "C",
    "Corvus brachyrhynchos, the American Crow": "A",
    "Groove bil": "B",
}
UNREAD = (
    "",
    "E",
    "7",
    "A bird",
    "a crow with a black bill",
    "The answer is a",
    "The bird shown is",
    "B or C",
    "Either (B) or (C).",
    "B, C",
    "A and B",
    "B. Fish Crow",
    "American Crow or Fish Crow",
    "A. American Crow B. Groove billed Ani C.",
    "Crow",
    "BC",
    "b e",
    "A-10 Thunderbolt",
    "Blue Jay",
    "None of these",
    "<think>It is black, so B",
    "Ä",
)


@pytest.mark.parametrize(("reply", "letter"), READ.items())
def test_a_letter_is_read_as_a_person_would(reply, letter):
    assert read_letter(reply, OPTIONS) == letter


@pytest.mark.parametrize("reply", UNREAD)
def test_nothing_is_read_where_no_option_is_chosen(reply):
    assert read_letter(reply, OPTIONS) is None


def test_a_name_within_a_longer_name_does_not_count():
    options = ["Crow", "Fish Crow", "737-200", "737-200 Combi"]
    assert read_letter("Fish Crow", options) == "B"
    assert read_letter("It is a 737-200 Combi.", options) == "D"
    assert read_letter("The 737-200", options) == "C"


def test_a_letter_without_an_option_is_not_read():
    assert read_letter("D", OPTIONS[:3]) is None
    assert read_letter("C", OPTIONS[:3]) == "C"


@pytest.mark.parametrize(
    ("reply", "letter"),
    [("B", "B"), (" b. Ani", "B"), ("American Crow", "A"), ("Boeing", "B"), ("(B)", None), ("The answer is B", None)],
)
def test_the_rule_of_foci_takes_the_first_letter(reply, letter):
    assert foci_letter(reply) == letter


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Fish Crow", "Fish Crow"),
        ("<think>A or C?</think>Fish Crow", "Fish Crow"),
        ("A or C?</think>Fish Crow", "Fish Crow"),
        ("[THINK]A or C?[/THINK]Fish Crow", "Fish Crow"),
        ("<reasoning>A <think>or</think> C?</reasoning>Fish Crow", "Fish Crow"),
        ("Fish <Thinking>sure?</Thinking>Crow", "Fish Crow"),
        ("Fish Crow<think>or", "Fish Crow"),
        ("<think>A or C?", ""),
        ("I think A < B", "I think A < B"),
    ],
)
def test_thoughts_are_no_part_of_an_answer(reply, answer):
    assert without_thoughts(reply) == answer
