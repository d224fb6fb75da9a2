"""The rule for when two names are one, as far as it needs no table of categories."""

import re
import unicodedata

_CLASS_NUMBER = re.compile(r"^(?:\d+\.\s*|n\d{8}-)(?=[^\s\d])")  # of CUB-200-2011 and Stanford Dogs
_SIGNS = "#%"  # punctuation for Unicode, but part of a name: C#
_TRADEMARKS = "™®©"  # symbols for Unicode, but no part of a name


def strip_class_number(name: str) -> str:
    """Return a class name without the number in front: "014.Indigo Bunting", "n02113186-Cardigan"."""
    return _CLASS_NUMBER.sub("", name)


def normalise(name: str) -> str:
    """Return the form in which names are compared: names with the same form are one name.

    Class numbers, letter case, Unicode composition, punctuation, underscores and runs of white space make no
    difference. Letters of all scripts, accents, digits and signs (♂, ♀, ×, +, #) do.
    """
    folded = unicodedata.normalize("NFD", strip_class_number(name.strip())).casefold()
    composed = unicodedata.normalize("NFC", folded)
    return " ".join("".join(map(_compared, composed)).split()) or "".join(composed.split())


def _compared(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Cf" or "\ufe00" <= character <= "\ufe0f":  # invisible: zero-width spaces, variation selectors
        return ""
    if kind[0] in "LMN":
        return character
    if character in _SIGNS or (kind[0] == "S" and kind != "Sk" and character not in _TRADEMARKS):
        return f" {character} "
    return " "
