"""The results of the FOCI benchmark: what is counted of a model's answers, and the files that keep it."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import UserError
from core.storage.files import write_atomically
from core.taxonomy.prompts import LETTERS

GENERATED, FOCI_RULE, LOGPROB, RANKING = "generated_letter", "generated_letter_foci_rule", "letter_logprob", "ranking"
ROTATED, LIKELIHOOD = "letter_logprob_rotated", "names_likelihood"
COLUMNS = {  # how an option is chosen, by the key in the files of results
    GENERATED: "generated letter",
    FOCI_RULE: "generated letter, FOCI's rule",
    LOGPROB: "letter by log-probability",
    ROTATED: "letter by log-probability, averaged over the four rotations of the options",
    LIKELIHOOD: "likelihood of the names after the closed prompt",
    RANKING: "ranking",
}
SOURCES = {  # of a line
    GENERATED: "reply",
    FOCI_RULE: "reply",
    LOGPROB: "letter_scores",
    ROTATED: "rotated",
    LIKELIHOOD: "likelihood",
    RANKING: "ranking",
}
Control = Literal["grey", "other"]
GREY: Control = "grey"
OTHER: Control = "other"
CONTROLS: dict[Control, str] = {  # what the letter is asked about in place of the question's photo
    GREY: "with a grey photo",
    OTHER: "with another category's photo",
}
Row = Mapping[str, Any]
CHOSEN: dict[str, Callable[[Row], str | None]] = {  # the letter of the option that a line chooses, by column
    GENERATED: lambda row: row["letter"],
    FOCI_RULE: lambda row: row["foci_letter"],
    LOGPROB: lambda row: _best(row["letter_scores"]),
    ROTATED: lambda row: _best(row["rotated"]),
    LIKELIHOOD: lambda row: _best(row["likelihood"]),
    RANKING: lambda row: _best(row["ranking"]),
}


class Counted(BaseModel):
    """The number of right answers to n questions, by column; without the columns that there are no scores for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(gt=0)
    correct: dict[str, int]

    @model_validator(mode="after")
    def _can_be_counted(self) -> Self:
        if not set(self.correct) <= set(COLUMNS) or not all(0 <= right <= self.n for right in self.correct.values()):
            raise ValueError(f"correct: {self.correct}")
        return self

    def accuracy(self, column: str) -> float:
        """Return the share of right answers."""
        return self.correct[column] / self.n

    def standard_error(self, column: str) -> float:
        """Return the standard error of the accuracy, sqrt(p (1 - p) / n)."""
        share = self.accuracy(column)
        return sqrt(share * (1 - share) / self.n)

    def text(self, column: str) -> str:
        """Return the accuracy and its standard error, in per cent."""
        return f"{100 * self.accuracy(column):.2f} ± {100 * self.standard_error(column):.2f}"


class FociResult(Counted):
    """The results of one model on the questions about one data set; n are those whose photo was there."""

    model: str
    weights: str
    data_set: str
    questions_sha256: str
    seed: int
    reply_tokens: int
    official: int  # questions about the official test set, or in a file of other questions
    failures: int  # replies in which no letter is read; they count as wrong
    controls: dict[Control, Counted] = {}  # the letters, with other photos; those that were asked
    question: str = ""  # its words, without the options; "" in files of earlier versions
    seen: int | None  # of the questions, those about a photo that the model was trained on; None: not known
    seconds: float  # per question
    date: str
    command: str

    @model_validator(mode="after")
    def _can_be_shown(self) -> Self:
        texts = (self.model, self.weights, self.data_set, self.date, self.command, self.question)
        "".join(texts).encode()  # fails on half a character
        return self

    def control(self, name: Control, column: str) -> str:
        """Return the accuracy of a letter with photos that do not show the answer; "" if that was not asked."""
        counted = self.controls.get(name)
        return f"{counted.text(column)} ({counted.n})" if counted and column in counted.correct else ""


def count_correct(rows: Sequence[Row]) -> dict[str, int]:
    """Return the number of right answers by column; a column that some row has no scores for is left out."""
    missing = {column for column, source in SOURCES.items() if any(row.get(source) is None for row in rows)}
    return {
        column: sum(letter_of(row) == row["truth"] for row in rows)
        for column, letter_of in CHOSEN.items()
        if column not in missing
    }


def _best(scores: list[float] | None) -> str | None:
    return None if scores is None else LETTERS[max(range(len(scores)), key=scores.__getitem__)]


def result_file(folder: Path, model: str, data_set: str, seed: int, suffix: str) -> Path:
    """Return the file in a folder of results for one model, data set and seed."""
    return folder / re.sub(r"[^\w.-]+", "_", model) / f"{data_set}-seed{seed}{suffix}"


def save_result(path: Path, result: FociResult) -> None:
    """Write a file of results. Raises `UserError` if it cannot be written."""
    write_atomically(path, result.model_dump_json(indent=1).encode())


def result_files(folder: Path) -> dict[Path, FociResult]:
    """Return the files of results in a folder and its sub-folders, by model, data set and seed.

    Raises `UserError` for a file that holds no such results.
    """
    results = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            results[path] = FociResult(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError, ValidationError):
            raise UserError(f"{path} holds no results of `train evaluate --foci`: move it out of {folder}.") from None
    return dict(sorted(results.items(), key=lambda item: (item[1].model, item[1].data_set, item[1].seed)))


def answers_file(path: Path) -> Path:
    """Return the file with the answers that a file of results counts."""
    return path.with_suffix(".jsonl")


def read_results(folder: Path) -> list[FociResult]:
    """Return the results in a folder as `result_files` does, without the names of the files."""
    return list(result_files(folder).values())


def results_text(result: FociResult) -> str:
    """Return the table that the command prints: a line per column, named by how an option is chosen."""
    part = "" if result.n == result.official else f" of {result.official}"
    lines = [f"{result.model}, {result.data_set}: {result.n}{part} questions, seed {result.seed}"]
    width = max(map(len, (*(COLUMNS[column] for column in result.correct), *(f"  {c}" for c in CONTROLS.values()))))
    for column in result.correct:
        lines.append(f"{COLUMNS[column]:{width}}  {result.text(column)}")
        for name, meaning in CONTROLS.items():
            if text := result.control(name, column):
                lines.append(f"{f'  {meaning}':{width}}  {text}")
    if GENERATED in result.correct:
        replies = f"replies (at most {result.reply_tokens} tokens)"
        lines.append(f"{result.failures} of the {replies} choose no option: they are wrong.")
    if result.seen:
        lines.append(f"{result.seen} of the questions are about photos that it was trained on.")
    return "\n".join(lines)
