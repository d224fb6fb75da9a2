"""Read which option a model chose in its reply to a question with options."""

import re
from collections.abc import Sequence

from core.taxonomy.categories import name_key
from core.taxonomy.names import normalise
from core.taxonomy.prompts import LETTERS

_THOUGHT_TAG = re.compile(r"[<\[◁](?P<end>/?)(?:think|thinking|thought|thoughts|reasoning)[>\]▷]", re.I)
_ANSWER_TAG = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL | re.I)
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?([^{}]*)")
_MARKUP = re.compile(r"[*`_$\"“”]+")  # emphasis, code, quotes; underscores are the spaces of a name
_ALONE_ON_LINE = re.compile(r"(?<!\S)([A-Za-z])[ \t]*\n")
_CONCLUSION = re.compile(r"\banswer\s*(?:(?:option|letter|choice)\s*)?(?:(?:is|would be|must be)\b|[:=])[\s:=]*", re.I)
_LEADING = re.compile(r"((?:option|choice|letter)\s+)?[(\[]?([A-Za-z])(?![\w'-])([)\].:,;!]*)\s*", re.I)
_ELSEWHERE = re.compile(  # "option B", "choose B", "(B)", "B)", and "B." or "B" at the end
    r"\b(?:option|choice|letter|choose|select|pick)\s+(?P<cued>[A-Z])(?![\w'-])"
    r"|(?:^|(?<=[\s(\[]))(?P<marked>[A-Z])(?:[)\]]|[.:](?=\s)|[.!]*$)",
)
_EITHER = re.compile(r"\b[A-Z]\)?\s*(?:[,/&]|\bor\b|\band\b)\s*\(?[A-Z](?![\w'-])")
_GOES_ON = re.compile(r"[-=(]|(?:is|because|since|as)\b")  # after a letter that is no word


def read_letter(reply: str, options: Sequence[str]) -> str | None:
    """Return the letter of the option that a reply chooses, as a person would read it; None where it chooses none.

    Read are a letter ("B", "(b)", "**B**", "B. Egyptian Mau", "Option B", "The answer is B."), what stands behind the
    thinking (`<think>...</think> B`) or in `<answer>B</answer>`, and the one option that is named. A reply that chooses
    two options, or a letter together with the name of another option, chooses none.
    """
    text = without_thoughts(reply)
    for frame in (_ANSWER_TAG, _BOXED):
        if framed := frame.findall(text):
            text = framed[-1]
    text = _ALONE_ON_LINE.sub(r"\1. ", _MARKUP.sub(" ", text).strip())
    text = re.sub(r" ([).:,;!])", r"\1", " ".join(text.split()))
    conclusions = list(_CONCLUSION.finditer(text))
    if conclusions:
        text = text[conclusions[-1].end() :]
        if text == "a" and conclusions[-1].group().rstrip()[-1].isalpha():  # "The answer is a": the name is cut off
            return None
    letters = LETTERS[: len(options)]
    named = {letters[i] for i in _named(text, options)}
    if name_key(text.strip(" .")) in {name_key(option) for option in options} and len(named) == 1:
        return named.pop()
    if _EITHER.search(text):
        return None
    chosen = _letters(text, options)
    if len(chosen) == 1 and named <= chosen <= set(letters):
        return chosen.pop()
    return named.pop() if len(named) == 1 and not chosen else None


def without_thoughts(reply: str) -> str:
    """Return a reply without the thoughts of models that think before they answer.

    They stand in `<think>...</think>`, or in other tags of that kind. A thought that only ends was opened by the prompt:
    everything before is part of it. One that does not end was cut off, or is still growing.
    """
    parts: list[str] = []
    thinking, end = False, 0
    for tag in _THOUGHT_TAG.finditer(reply):
        if tag["end"] and not thinking:
            parts.clear()
        elif not thinking:
            parts.append(reply[end : tag.start()])
        thinking, end = not tag["end"], tag.end()
    return "".join(parts if thinking else [*parts, reply[end:]])


def foci_letter(reply: str) -> str | None:
    """Return the letter by FOCI's own rule: the first character of the reply if it is A, B, C or D in either case.

    "American Crow" is A by this rule, whatever the options are.
    """
    first = reply.strip()[:1].upper()
    return first if first and first in LETTERS else None


def _letters(text: str, options: Sequence[str]) -> set[str]:
    """Return the letters that a text marks as an answer: the one that it begins with, and others further on."""
    chosen = set()
    leading = _LEADING.match(text)
    if leading:
        option, letter, delimiter = leading.groups()
        rest = text[leading.end() :]
        own = options[LETTERS.index(letter)] if letter in LETTERS[: len(options)] else ""
        own_name = bool(own) and f"{normalise(rest)} ".startswith(f"{normalise(own)} ")
        # else it is a word, such as the article of "A cat"
        if not rest or delimiter or (letter.isupper() and (option or own_name or _GOES_ON.match(rest))):
            chosen.add(letter.upper())
            text = rest
    return chosen | {match["cued"] or match["marked"] for match in _ELSEWHERE.finditer(text)}


def _named(text: str, options: Sequence[str]) -> set[int]:
    """Return the options that a text names. A name within a longer one counts only where it stands alone.

    A text that is nothing but the beginning of one option, of at least two words, was cut off and names it.
    """
    words, found = f" {normalise(text)} ", set()
    for i in sorted(range(len(options)), key=lambda i: -len(normalise(options[i]))):
        name = f" {normalise(options[i])} "
        if name in words:
            found.add(i)
            words = words.replace(name, " | ")
    key = normalise(text)
    found = found or {i for i, option in enumerate(options) if name_key(option) == name_key(text)}
    if not found and " " in key:
        begun = {i for i, option in enumerate(options) if normalise(option).startswith(key)}
        found = begun if len(begun) == 1 else set()
    return found
