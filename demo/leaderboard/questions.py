"""The questions on which two measured models differ, as rows of a table and as HTML. Templates escape all text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.data.images import data_url, open_photo, to_jpeg
from core.errors import UserError
from core.evaluation.foci_answers import Disagreement, disagreements, read_answers, same_questions
from core.evaluation.foci_results import COLUMNS, FociResult, answers_file
from core.taxonomy.data_sets import data_sets
from core.taxonomy.prompts import data_set_question, with_options
from demo.components.photo_folder import Folder
from demo.components.templates import render

HEAD = ["question", "right answer", "first", "first chose", "second", "second chose"]
MAX_ROWS = 500  # of the list of questions
PHOTO_SIDE = 480  # pixels of the longer side
JPEG_QUALITY = 85
NO_FOLDER = "To see the photo, start the page with --photos and the folder that holds it."
NO_PHOTO = "The photo is not shown: it is not in the folder of --photos, or cannot be read."
GONE = "These results are no longer there: open the tab again."
Runs = Mapping[str, tuple[Path, FociResult]]  # by the name of the file in the folder of results


def runs_of(folder: Path, files: Mapping[Path, FociResult]) -> Runs:
    """Return the files of results by their names in the folder, those without a file of answers left out."""
    return {
        path.relative_to(folder).as_posix(): (path, result)
        for path, result in files.items()
        if answers_file(path).is_file()
    }


def run_choices(runs: Runs, beside: str | None = None) -> list[tuple[str, str]]:
    """Return labels and names of the runs, or of those that answered the same questions as another one."""
    if beside is None:
        return [(_label(result), name) for name, (_, result) in runs.items()]
    other = runs[beside][1] if beside in runs else None
    return [
        (_label(result), name)
        for name, (_, result) in runs.items()
        if other and name != beside and same_questions(result, other)
    ]


def _label(result: FociResult) -> str:
    return f"{result.model}, {result.data_set}, {result.n} questions, seed {result.seed} ({result.weights})"


@dataclass(frozen=True)
class Comparison:
    """Where the answers of two runs differ, in one column."""

    results: tuple[FociResult, FociResult]
    column: str
    found: list[Disagreement]
    common: int  # questions that both answered

    def summary(self) -> str:
        """Return how often which of the two is right, as plain text."""
        first, second = (sum(one.right[place] for one in self.found) for place in (0, 1))
        names = [result.model for result in self.results]
        return (
            f"{COLUMNS[self.column]}: of {self.common} questions that both answered, they differ on {len(self.found)}: "
            f"{names[0]} alone is right on {first}, {names[1]} alone on {second}, and both are wrong on "
            f"{len(self.found) - first - second}."
        )


def compare(runs: Runs, first: str | None, second: str | None, column: str) -> Comparison:
    """Compare the answers of two runs. Raises `UserError` for runs that cannot be compared in this column."""
    if not first or not second:
        raise UserError("Choose two models that answered the same questions.")
    if first not in runs or second not in runs:
        raise UserError(GONE)
    (first_path, one), (second_path, other) = runs[first], runs[second]
    if first == second or not same_questions(one, other):
        raise UserError("These two did not answer the same questions: choose another model.")
    for result in (one, other):
        if column not in result.correct:
            raise UserError(f"{result.model} has no {COLUMNS[column]}: choose another column above.")
    found, common = disagreements(
        read_answers(answers_file(first_path)), read_answers(answers_file(second_path)), column
    )
    return Comparison((one, other), column, found, common)


def question_rows(found: list[Disagreement]) -> list[list[str]]:
    """Return the first `MAX_ROWS` questions as rows of text; `HEAD` names their columns."""
    rows = []
    for one in found[:MAX_ROWS]:
        answer = one.answers[0]
        marks = ["✓ right" if right else "✗ wrong" for right in one.right]
        chosen = [answer.named(letter) for letter in one.letters]
        rows.append([answer.question, answer.named(answer.truth), marks[0], chosen[0], marks[1], chosen[1]])
    return rows


def question_card(comparison: Comparison, question: str, folder: Folder | None) -> str:
    """Return a question, its photo where the owner's folder holds it, and both answers as HTML."""
    one = next((one for one in comparison.found if one.answers[0].question == question), None)
    if one is None:
        raise UserError(GONE)
    answer = one.answers[0]
    results = zip(comparison.results, one.answers, one.letters, one.right, strict=True)
    return render(
        "foci_question.html",
        picture=_picture(one, folder),
        no_picture=NO_PHOTO if folder else NO_FOLDER,
        question=_question(comparison.results[0], answer.options),
        truth=answer.named(answer.truth),
        column=COLUMNS[comparison.column],
        rows=[
            {"model": result.model, "answer": told, "chose": told.named(letter), "right": right}
            for result, told, letter, right in results
        ],
    )


def _question(result: FociResult, options: list[str]) -> str:
    """Return a question as it was asked."""
    if result.question:
        return with_options(result.question, options)
    return data_set_question(data_sets().get(result.data_set), options)


def _picture(one: Disagreement, folder: Folder | None) -> str:
    """Return the photo as a data URL; "" if it is not in the folder or cannot be read."""
    if folder is None:
        return ""
    for answer in one.answers:
        try:
            with folder.reader() as read:
                photo = open_photo(read(str(Path(answer.photo).absolute()))).image
        except (UserError, ValueError):  # of a path with a null character
            continue
        return data_url(to_jpeg(photo, PHOTO_SIDE, JPEG_QUALITY))
    return ""
