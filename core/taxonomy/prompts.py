"""The questions a model is trained on and asked."""

import re

from core.taxonomy.categories import SuperCategory, same_category

LETTERS = "ABCD"
NAME_ONLY = "Answer with the name only."
LETTER_ONLY = "Answer with the letter only."
OPEN_ANY = "What is the name of the animal, plant or vehicle shown in the image?"


def open_question(group: SuperCategory | None) -> str:
    """Return the open-set question; a general one where the super-category is not known."""
    return f"What is the {group.rank} of the {group.noun} shown in the image?" if group else OPEN_ANY


def closed_question(group: SuperCategory | None, options: list[str]) -> str:
    """Return the closed-set question over at most four options, which are answered by letter.

    Raises `ValueError` for more: there is no letter for a fifth.
    """
    if len(options) > len(LETTERS):
        raise ValueError(f"{len(options)} options: there are letters for {len(LETTERS)}")
    noun = group.noun if group else "object"
    listed = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS[: len(options)], options, strict=True))
    return f"Which of these is the {noun} shown in the image?{listed}"


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
