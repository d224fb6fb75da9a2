"""Texts made from the attributes of categories: descriptions in several wordings, and the words to align with.

A description is a sequence of clauses, one per attribute, in one of a few wordings. `parse_description` reads any
of the wordings back into a table, also from text that a model wrote.
"""

import re
from collections import Counter
from functools import cache
from itertools import chain

from core.taxonomy.categories import Category, SuperCategory, find_category, in_super_category
from core.taxonomy.names import normalise

WORDINGS = 4
_FUNCTION_WORD = re.compile(r"\b(?:an?|and|at|by|for|from|in|into|of|on|or|over|the|to|under|with|without)\b")


@cache
def _word_counts(group: SuperCategory) -> Counter[str]:
    """Return in how many categories of a super-category a word is part of the name or of the values."""
    return Counter(word for category in in_super_category(group.name) for word in set(chain(*_words(category))))


def _words(category: Category) -> tuple[list[str], list[str]]:
    return category.name.split(), " ".join(category.values.values()).split()


def words_of(label: str, name_alone: bool = False) -> str:
    """Return the words that image tokens are compared with: what tells a category from its look-alikes comes first.

    These are the two rarest words of the name (within its super-category), then the words of its values from the
    rarest on, then the rest of the name. Only the first few count, and in order of their writing those would be the
    same for three pick-ups of one make. With `name_alone`, and for a label that is not known, they are the label as it
    is written.
    """
    category = find_category(label)
    if category is None or name_alone:
        return label
    counts = _word_counts(category.super_category)
    name, values = (sorted(dict.fromkeys(words), key=counts.__getitem__) for words in _words(category))
    return " ".join([*name[:2], *values, *name[2:]])


def content_words(value: str) -> frozenset[str]:
    """Return the words of an attribute's value without articles, conjunctions and prepositions, in compared form."""
    return frozenset(_FUNCTION_WORD.sub(" ", normalise(value)).split())


def clause_start(attribute: str) -> str:
    """Return how wording 0 of a description begins the clause of an attribute: "Crown is", "Wings are"."""
    return f"{attribute.capitalize()} {'are' if attribute.endswith('s') else 'is'}"


def describe(category: Category, wording: int = 0) -> str:
    """Return the attribute description of a category, 35-65 words, in one of `WORDINGS` wordings; empty without values.

    Wording 0 is the one that the model is taught to write; the others keep training from memorising one
    sentence: they change the clause form and start at another attribute.
    """
    if not category.values:
        return ""
    group, wording = category.super_category, wording % WORDINGS
    start = wording * len(group.attributes) // WORDINGS
    pairs = [(a, category.values[a]) for a in group.attributes[start:] + group.attributes[:start]]
    if wording == 0:
        return " ".join(f"{clause_start(a)} {v}." for a, v in pairs)
    if wording == 1:
        return f"This {group.noun} shows these marks: " + "; ".join(f"{a} {v}" for a, v in pairs) + "."
    if wording == 2:
        return f"A photo of one {group.noun}. " + " ".join(f"{a.capitalize()}: {v}." for a, v in pairs)
    return f"What to look for in this {group.noun}: " + ", ".join(f"{a} {v}" for a, v in pairs) + "."


def parse_description(text: str, group: SuperCategory) -> dict[str, str]:
    """Return attribute -> value from a description in any wording, without attributes that it does not name."""
    names = "|".join(re.escape(a) for a in sorted(group.attributes, key=len, reverse=True))
    clause = re.compile(
        rf"(?:^|[.;:,]\s*)({names}):? (?:(?:is|are)\b ?)?(?!(?:is|are)\b)([^\s.;,:][^.;,:]*)", re.IGNORECASE
    )
    found: dict[str, str] = {}
    for attribute, value in clause.findall(text):
        found.setdefault(attribute.lower(), value.strip())
    return {attribute: found[attribute] for attribute in group.attributes if attribute in found}
