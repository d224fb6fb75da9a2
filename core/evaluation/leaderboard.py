"""The table of FOCI results: the published ones beside what was measured here."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from math import sqrt
from statistics import mean

from core.evaluation.foci_results import COLUMNS, CONTROLS, GENERATED, GREY, OTHER, FociResult
from core.storage.files import inert
from core.taxonomy.data_sets import ASSETS
from core.taxonomy.names import normalise

PUBLISHED = ASSETS / "published_results.csv"
SETS = ("dog-120", "bird-200", "aircraft-102", "flower-102", "pet-37", "car-196")
MEAN, MEASURED = "mean", "measured here"
ABOUT = (
    "Per cent of FOCI's questions with four options that are answered correctly, ± standard error. Published numbers "
    "are of the whole official test sets; numbers in [ ] refer to the runs below."
)

LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


@dataclass(frozen=True)
class Cell:
    """One number of the table and where it comes from; None and "" where a published one does not say."""

    model: str
    size: str
    source: str  # `MEASURED`, or where it is published
    column: str  # how an option is chosen
    data_set: str
    accuracy: float  # per cent
    standard_error: float | None = None
    n: int | None = None
    official: int | None = None
    failures: int | None = None  # generated letters alone
    reply_tokens: int | None = None  # generated letters alone
    seed: int | None = None
    date: str = ""
    command: str = ""
    weights: str = ""  # which weights answered
    seen: int | None = None  # questions about photos that the model was trained on; None: not known
    grey: str = ""  # the same letter with grey photos, its standard error and (number of questions); "": not asked
    other: str = ""  # the same with photos of another category

    @property
    def partial(self) -> bool:
        """Return True if fewer questions were asked than the official test set has."""
        return self.n is not None and self.official is not None and self.n < self.official

    @property
    def text(self) -> str:
        """Return the number with its standard error, and of how many questions where they are not all."""
        if self.standard_error is None:
            return f"{self.accuracy:.2f}"
        number = f"{self.accuracy:.2f} ± {self.standard_error:.2f}"
        return f"{number} ({self.n} of {self.official})" if self.partial else number


@dataclass
class Line:
    """The cells of one model, in one column, with one seed and the same weights."""

    model: str
    size: str
    column: str
    source: str
    seed: int | None
    weights: str
    cells: dict[str, Cell] = field(default_factory=dict)  # by data set, and `MEAN`

    @property
    def origin(self) -> str:
        """Return where the numbers come from, with the seed of measured ones."""
        return self.source if self.seed is None else f"{self.source}, seed {self.seed}"


def leaderboard(results: Sequence[FociResult]) -> list[Line]:
    """Return the published lines, each followed by the measured ones of the same model, and then all other models."""
    measured = _lines(cell for result in results for cell in _cells(result))
    for line in measured:
        if set(line.cells) >= set(SETS):
            line.cells[MEAN] = _mean([line.cells[name] for name in SETS])
    lines: list[Line] = []
    for line in _lines(_published()):
        names = {normalise(line.model), normalise(f"{line.model} {line.size}")}
        same = [other for other in measured if normalise(other.model) in names]
        measured = [other for other in measured if other not in same]
        lines += [line, *same]
    return lines + measured


def columns_of(lines: Sequence[Line]) -> list[str]:
    """Return the columns of numbers: the six data sets, any others that were asked about, and the mean."""
    known = {name for line in lines for name in line.cells} - {MEAN, *SETS}
    return [*SETS, *sorted(known), MEAN]


def _published() -> Iterator[Cell]:
    with PUBLISHED.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            for name in (*SETS, MEAN):
                if row[name]:
                    source, column = f"published, {row['source']}", COLUMNS[row["column"]]
                    yield Cell(row["model"], row["size"], source, column, name, float(row[name]))


def _cells(result: FociResult) -> Iterator[Cell]:
    for column in result.correct:
        written = column.startswith(GENERATED)
        yield Cell(
            result.model,
            "",
            MEASURED,
            COLUMNS[column],
            result.data_set,
            100 * result.accuracy(column),
            100 * result.standard_error(column),
            result.n,
            result.official,
            result.failures if column == GENERATED else None,
            result.reply_tokens if written else None,
            result.seed,
            result.date,
            result.command,
            result.weights,
            result.seen,
            result.control(GREY, column),
            result.control(OTHER, column),
        )


def _lines(cells: Iterator[Cell]) -> list[Line]:
    lines: dict[tuple, Line] = {}
    for cell in cells:
        key = (cell.model, cell.size, cell.column, cell.source, cell.seed, cell.weights)
        lines.setdefault(key, Line(*key)).cells[cell.data_set] = cell
    return list(lines.values())


def _mean(cells: list[Cell]) -> Cell:
    error = sqrt(sum((cell.standard_error or 0) ** 2 for cell in cells)) / len(cells)
    n, official = sum(cell.n or 0 for cell in cells), sum(cell.official or 0 for cell in cells)
    accuracy = mean(cell.accuracy for cell in cells)
    first = replace(cells[0], failures=None, seen=None, date="", command="", grey="", other="")
    return replace(first, data_set=MEAN, accuracy=accuracy, standard_error=error, n=n, official=official)


def as_csv(lines: Sequence[Line]) -> str:
    """Return one line per number, with everything that is known of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [one.name for one in fields(Cell)]
    writer.writerow(names)
    for line in lines:
        for cell in line.cells.values():
            values = [getattr(cell, name) for name in names]
            shown = [f"{value:.2f}" if isinstance(value, float) else value for value in values]
            writer.writerow([inert(value) if isinstance(value, str) else value for value in shown])
    return text.getvalue().rstrip("\n")


def as_text(lines: Sequence[Line]) -> str:
    """Return the table in columns of equal width, with the runs below."""
    table, runs = _table(lines)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([ABOUT, "", *rows, *([""] if runs else []), *runs])


def as_markdown(lines: Sequence[Line]) -> str:
    """Return the table in Markdown, with the runs below."""
    (header, *rows), runs = _table(lines)
    table = [header, ["---"] * 4 + ["---:"] * (len(header) - 4), *[[c.replace("|", "\\|") for c in row] for row in rows]]
    listed = [f"- {run}" for run in runs]
    return "\n".join([ABOUT, "", *[f"| {' | '.join(row)} |" for row in table], *([""] if runs else []), *listed])


def as_latex(lines: Sequence[Line]) -> str:
    """Return the table as LaTeX (package booktabs), with the runs below."""
    (header, *rows), runs = _table(lines)
    body = [" & ".join(map(_escaped, row)) + r" \\" for row in (header, *rows)]
    begin = rf"\begin{{tabular}}{{llll{'r' * (len(header) - 4)}}}"
    table = [begin, r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule", r"\end{tabular}"]
    return "\n".join([f"% {ABOUT}", *table, *[rf"\par\noindent {_escaped(run)}" for run in runs]])


FORMATS: dict[str, Callable[[Sequence[Line]], str]] = {
    "text": as_text,
    "csv": as_csv,
    "latex": as_latex,
    "markdown": as_markdown,
}


def _table(lines: Sequence[Line]) -> tuple[list[list[str]], list[str]]:
    """Return header and rows of the table, and one sentence for each run that its cells refer to."""
    columns = columns_of(lines)
    runs: dict[tuple, list[Cell]] = {}
    rows = [["model", "size", "option chosen by", "source", *columns]]
    for line in lines:
        rows.append([line.model, line.size, line.column, line.origin])
        rows[-1] += [_shown(line.cells.get(name), runs) for name in columns]
    return rows, [f"[{number}] {_run(cells)}" for number, cells in enumerate(runs.values(), start=1)]


def _shown(cell: Cell | None, runs: dict[tuple, list[Cell]]) -> str:
    if cell is None:
        return ""
    if not cell.command:
        return cell.text
    key = (cell.model, cell.data_set, cell.seed, cell.weights)
    runs.setdefault(key, []).append(cell)
    return f"{cell.text} [{list(runs).index(key) + 1}]"


def _run(cells: list[Cell]) -> str:
    """Return the sentence of one run, whose columns the cells are."""
    cell = cells[0]
    number = f"{cell.n} questions"
    if cell.partial:
        number = f"{cell.n} of the {cell.official} questions"
        if cell.data_set in SETS:
            number += " about the official test set"
    written = ""
    if cell.reply_tokens is not None:
        written = f", replies of at most {cell.reply_tokens} tokens, {cell.failures} of which choose no option (wrong)"
    if cell.seen:
        number += f" ({cell.seen} about photos of its training)"
    run = f"{cell.model}, {cell.data_set}: {number}, seed {cell.seed}, {cell.date}{written}: {cell.command}"
    return "; ".join([run, *(f"{one.column} {controls}" for one in cells if (controls := _controls(one)))])


def _controls(cell: Cell) -> str:
    texts = {GREY: cell.grey, OTHER: cell.other}
    return ", ".join(f"{meaning} {texts[name]}" for name, meaning in CONTROLS.items() if texts[name])


def _escaped(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)
