"""The questions a model is trained on and asked."""

from core.taxonomy.categories import SuperCategory

LETTERS = "ABCD"
OPEN_ANY = "What is the name of the animal, plant or vehicle shown in the image?"


def open_question(group: SuperCategory | None) -> str:
    """The open-set question; a general one where the super-category is not known."""
    return f"What is the {group.rank} of the {group.noun} shown in the image?" if group else OPEN_ANY


def closed_question(group: SuperCategory | None, options: list[str]) -> str:
    """The closed-set question over options that are answered by letter."""
    noun = group.noun if group else "object"
    listed = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return f"Which of these is the {noun} shown in the image?{listed}"


def description_question(group: SuperCategory) -> str:
    """The question that the attribute description answers."""
    return f"Describe the {group.noun} in the image."
