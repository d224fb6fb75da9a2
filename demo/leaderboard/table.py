"""The table of the Leaderboard tab: which lines a visitor asks for, as rows of text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.evaluation.foci_results import CONTROLS
from core.evaluation.leaderboard import MEASURED, Line, columns_of

ALL, PUBLISHED_ALONE, MEASURED_ALONE = "published and measured", "published", "measured here"
SOURCES = (ALL, PUBLISHED_ALONE, MEASURED_ALONE)
HEAD = ["model", "size", "source"]
RUN_HEAD = [
    "model",
    "data set",
    "accuracy",
    "standard error",
    "questions",
    "of all questions",
    "seen in training",
    "replies without an option",
    *CONTROLS.values(),
    "seed",
    "date",
    "weights",
    "command",
]


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


def table(lines: Sequence[Line], columns: Sequence[str]) -> dict[str, Any]:
    """Return a value for Gradio's table: numbers to sort by, and the texts that are shown in their place."""
    names = [[line.model, line.size, line.origin] for line in lines]
    cells = [[line.cells.get(name) for name in columns] for line in lines]
    numbers = [[cell.accuracy if cell else None for cell in row] for row in cells]
    texts = [[cell.text if cell else "" for cell in row] for row in cells]
    return {
        "headers": [*HEAD, *columns],
        "data": [[*name, *row] for name, row in zip(names, numbers, strict=True)],
        "metadata": {"display_value": [[*name, *row] for name, row in zip(names, texts, strict=True)]},
    }


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
            *("" if value is None else str(value) for value in (cell.seen, cell.failures)),
            cell.grey,
            cell.other,
            str(cell.seed),
            cell.date,
            cell.weights,
            cell.command,
        ]
        for cell in cells
    ]
