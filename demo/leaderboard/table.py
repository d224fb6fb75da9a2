"""The table of the Leaderboard tab: which lines a visitor asks for, as rows of text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.evaluation.leaderboard import MEASURED, Cell, Line, columns_of

ALL, PUBLISHED_ALONE, MEASURED_ALONE = "published and measured", "published", "measured here"
SOURCES = (ALL, PUBLISHED_ALONE, MEASURED_ALONE)
HEAD = ["model", "size", "source"]
RUN_HEAD = [
    "model",
    "data set",
    "accuracy",
    "standard error",
    "questions",
    "of the official test set",
    "seen in training",
    "replies without an option",
    "seed",
    "date",
    "weights",
    "command",
]
PAD = len("100.00")


@dataclass(frozen=True)
class Selection:
    """What a visitor asks for: one column, never several; no models or data sets: all of them."""

    column: str
    source: str = ALL
    models: Sequence[str] = ()
    data_sets: Sequence[str] = ()

    def of(self, lines: Sequence[Line]) -> list[Line]:
        """Return the lines that are asked for, with the numbers that are."""
        found = []
        for line in lines:
            measured = line.source == MEASURED
            hidden = {PUBLISHED_ALONE: measured, MEASURED_ALONE: not measured}.get(self.source, False)
            if line.column != self.column or hidden or (self.models and line.model not in self.models):
                continue
            cells = {name: cell for name, cell in line.cells.items() if not self.data_sets or name in self.data_sets}
            if cells:
                found.append(replace(line, cells=cells))
        return found

    def columns(self, lines: Sequence[Line]) -> list[str]:
        """Return the columns of numbers to show."""
        return [name for name in columns_of(lines) if not self.data_sets or name in self.data_sets]


def table_rows(lines: Sequence[Line], columns: Sequence[str]) -> list[list[str]]:
    """Return a row of text per line. Numbers are padded: the page sorts them as text."""
    return [[line.model, line.size, line.origin, *(_padded(line.cells.get(name)) for name in columns)] for line in lines]


def _padded(cell: Cell | None) -> str:
    return " " * (PAD - len(f"{cell.accuracy:.2f}")) + cell.text if cell else ""


def run_rows(lines: Sequence[Line]) -> list[list[str]]:
    """Return a row of everything that is known of each measured number."""
    cells = [cell for line in lines for cell in line.cells.values() if cell.source == MEASURED]
    return [
        [
            cell.model,
            cell.data_set,
            f"{cell.accuracy:.2f}",
            f"{cell.standard_error or 0:.2f}",
            str(cell.n),
            f"{'part of' if cell.partial else 'all'} {cell.official}",
            *("" if value is None else str(value) for value in (cell.seen, cell.failures, cell.seed)),
            cell.date,
            cell.weights,
            cell.command,
        ]
        for cell in cells
    ]
