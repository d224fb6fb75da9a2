"""The questions a model is trained on and asked."""

import re

from core.taxonomy.categories import SuperCategory, same_category

LETTERS = "ABCD"
NAME_ONLY = "Answer with the name only."
LETTER_ONLY = "Answer with the letter only."
FOCI_END = "Answer with the letter from the given choices directly."
OPEN_ANY = "What is the name of the animal, plant or vehicle shown in the image?"


def open_question(group: SuperCategory | None) -> str:
    """Return the open-set question; a general one where the super-category is not known."""
    return f"What is the {group.rank} of the {group.noun} shown in the image?" if group else OPEN_ANY


def closed_question(group: SuperCategory | None, options: list[str], plural: str | None = None) -> str:
    """Return the closed-set question over at most four options, which are answered by letter.

    With the `plural` noun of a data set ("birds", "pets") it is worded as in the FOCI benchmark. Raises `ValueError` for
    more options: there is no letter for a fifth.
    """
    if len(options) > len(LETTERS):
        raise ValueError(f"{len(options)} options: there are letters for {len(LETTERS)}")
    listed = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS[: len(options)], options, strict=True))
    if plural:
        return f"Which of these {plural} is shown in the image?\nChoices:{listed}\n{FOCI_END}"
    return f"Which of these is the {group.noun if group else 'object'} shown in the image?{listed}"


def description_question(group: SuperCategory) -> str:
    """Return the question that the attribute description answers."""
    return f"Describe the {group.noun} in the image."


def chosen_letter(reply: str, options: list[str]) -> str | None:
    """Return the letter of a reply: alone ("B", "(b)", "B."), or followed by its own option. None for all else."""
    match = re.fullmatch(r"\(?([A-Za-z])(?:[).:]+|$)\s*(.*)", reply.strip(), re.DOTALL)
    if not match or match[1].upper() not in LETTERS[: len(options)]:
        return None
    letter, rest = match[1].upper(), match[2].strip(" .")
    option = options[LETTERS.index(letter)]
    return letter if not rest or same_category(rest, option) else None
