"""The questions a model is trained on and asked. Those about the six data sets are in `assets/datasets.yaml`."""

from collections.abc import Sequence
from functools import cache

from core.taxonomy.categories import SuperCategory, find_category, super_categories
from core.taxonomy.data_sets import DataSet, data_sets
from core.taxonomy.names import normalise

LETTERS = "ABCD"
REPLY_TOKENS = 10  # that FOCI lets a model write in reply to a question with options
NAME_ONLY = "Answer with the name only."
FOCI_END = "Answer with the letter from the given choices directly."
OPEN_ANY = "What is the name of the animal, plant or vehicle shown in the image?"
CHOICES = "choices"  # FOCI's plural for options of no common kind
PET_KINDS = {"cat", "dog"}
PETS = SuperCategory("pet", "pet", "breed", ())  # cats and dogs together, as in Oxford-IIIT Pet


def question_subject(names: Sequence[str]) -> SuperCategory | None:
    """Return the kind that questions about these names are worded with, or None if they are of no common kind.

    It is the super-category of all names; cats and dogs together are pets. Names in no table of attributes, such as most
    of FGVC-Aircraft, have the kind of the data set whose classes they are.
    """
    found = [(name, find_category(name)) for name in names]
    kinds = {
        category.super_category.name if category else _class_kinds().get(normalise(name), "") for name, category in found
    }
    if kinds == PET_KINDS:
        return PETS
    return super_categories().get(kinds.pop()) if len(kinds) == 1 else None


@cache
def _class_kinds() -> dict[str, str]:
    """Return normalised class name -> noun, of the classes of all data sets."""
    rows = data_sets().values()
    return {normalise(name): data_set.noun for data_set in rows for name in data_set.class_names()}


def open_question(subject: SuperCategory | None) -> str:
    """Return the open-set question about an object of a kind; a general one where the kind is not known."""
    if subject is None:
        return OPEN_ANY
    texts = [data_set.open_question for data_set in data_sets().values() if data_set.noun == subject.noun]
    return texts[0] if texts else f"What is the {subject.rank} of the {subject.noun} shown in the image?"


def closed_question(subject: SuperCategory | None, options: Sequence[str]) -> str:
    """Return the closed-set question over at most four options, worded as in the FOCI benchmark.

    Raises `ValueError` for more options: there is no letter for a fifth.
    """
    return with_options(closed_words(subject), options)


def closed_words(subject: SuperCategory | None) -> str:
    """Return the words of a closed-set question about an object of a kind, without its options."""
    noun = subject.noun if subject else ""
    texts = [data_set.closed_question for data_set in data_sets().values() if data_set.noun == noun]
    plural = f"{noun}s" if noun else CHOICES
    return texts[0] if texts else f"Which of these {plural} is shown in the image?"


def data_set_question(data_set: DataSet | None, options: Sequence[str]) -> str:
    """Return FOCI's question about a photo of a data set; None: one that is not in `assets/datasets.yaml`."""
    return with_options(data_set.closed_question, options) if data_set else closed_question(None, options)


def with_options(question: str, options: Sequence[str]) -> str:
    """Return a question followed by its options and FOCI's instruction. Raises `ValueError` for more than four."""
    if len(options) > len(LETTERS):
        raise ValueError(f"{len(options)} options: there are letters for {len(LETTERS)}")
    listed = "".join(f"{letter}. {option}\n" for letter, option in zip(LETTERS, options, strict=False))
    return f"{question}\nChoices:\n{listed}{FOCI_END}"


def description_question(group: SuperCategory) -> str:
    """Return the question that the attribute description answers."""
    return f"Describe the {group.noun} in the image."
