"""The answers that `train evaluate --foci` keeps, and where those of two models differ."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import UserError
from core.evaluation.foci_results import CHOSEN, FociResult
from core.storage.journal import Journal
from core.taxonomy.prompts import LETTERS

Letter = Literal["A", "B", "C", "D"]
Options = Annotated[list[str], Field(min_length=2, max_length=len(LETTERS))]


class FociAnswer(BaseModel):
    """One line of a file of answers; fields that nobody reads here are left out."""

    model_config = ConfigDict(frozen=True)

    question: str
    photo: str  # a path on the machine that asked
    options: Options
    truth: Letter
    reply: str | None  # None: a model that does not write
    letter: Letter | None
    foci_letter: Letter | None
    letter_scores: list[float] | None
    ranking: list[float] | None
    rotated: list[float] | None = None
    likelihood: list[float] | None = None
    error: str = ""

    @model_validator(mode="after")
    def _can_be_shown(self) -> Self:
        letters = LETTERS[: len(self.options)]
        scores = (self.letter_scores, self.rotated, self.likelihood, self.ranking)
        if self.truth not in letters or any(len(one) != len(letters) for one in scores if one is not None):
            raise ValueError("a letter, or the scores, are of other options")
        "".join((self.question, self.photo, *self.options, self.reply or "", self.error)).encode()  # half a character
        return self

    def chosen(self, column: str) -> str | None:
        """Return the letter of the option chosen in a column of the results; None: none."""
        return CHOSEN[column](vars(self))

    def named(self, letter: str | None) -> str:
        """Return a letter with its option, as in the question."""
        if letter is None:
            return "none"
        return f"{letter}. {dict(zip(LETTERS, self.options, strict=False)).get(letter, '')}"


@dataclass(frozen=True)
class Disagreement:
    """A question to which two models chose different options."""

    answers: tuple[FociAnswer, FociAnswer]
    letters: tuple[str | None, str | None]

    @property
    def right(self) -> tuple[bool, bool]:
        """Return which of the two are right; both cannot be."""
        first, second = (letter == self.answers[0].truth for letter in self.letters)
        return first, second


FILTERS: dict[str, Callable[[Disagreement], bool]] = {
    "all": lambda _: True,
    "only the first is right": lambda one: one.right[0],
    "only the second is right": lambda one: one.right[1],
    "both are wrong": lambda one: not any(one.right),
}


def read_answers(path: Path) -> dict[str, FociAnswer]:
    """Return the answers in a file of `train evaluate --foci` by question; those of the controls are left out.

    Raises `UserError` if it cannot be read or a line holds no answer.
    """
    try:
        entries = Journal(path, "reply").entries
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    answers = {}
    for number, entry in enumerate(entries, start=1):
        if entry.get("control"):
            continue
        try:
            answer = FociAnswer(**entry)
        except (TypeError, ValidationError):
            raise UserError(f"{path}, line {number} holds no answer of `train evaluate --foci`.") from None
        answers[answer.question] = answer
    return answers


def same_questions(first: FociResult, second: FociResult) -> bool:
    """Return True if two models were asked the same questions, with the options in the same order."""
    facts = ("data_set", "questions_sha256", "seed")
    return all(getattr(first, fact) == getattr(second, fact) for fact in facts)


def disagreements(
    first: dict[str, FociAnswer], second: dict[str, FociAnswer], column: str
) -> tuple[list[Disagreement], int]:
    """Return the questions to which two models chose different options in a column, and how many both answered."""
    found, common = [], 0
    for question, answer in first.items():
        other = second.get(question)
        if other and (other.options, other.truth) == (answer.options, answer.truth):
            common += 1
            letters = (answer.chosen(column), other.chosen(column))
            if letters[0] != letters[1]:
                found.append(Disagreement((answer, other), letters))
    return found, common
