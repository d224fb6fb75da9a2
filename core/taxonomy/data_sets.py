"""The six research data sets of the FOCI protocol: the table `assets/datasets.yaml`, with the questions they ask."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from core.storage.tables import Text, check_table, read_table

ASSETS = Path(__file__).parents[2] / "assets"


@dataclass(frozen=True, eq=False)
class DataSet:
    """One row of `assets/datasets.yaml`. `train` and `test` are the official numbers of photos."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: str
    title: str
    noun: str
    open_question: str
    closed_question: str
    classes: int
    train: int
    test: int
    licence: str
    url: str
    names: str  # the file in `assets` with the class names
    foci_names: dict[str, str] = field(default_factory=dict)  # FOCI's name of a class -> the official one
    note: str = ""

    def class_names(self) -> list[str]:
        """Return the class names in the order and spelling of the data set's own files."""
        return (ASSETS / self.names).read_text(encoding="utf-8").splitlines()


@cache
def data_sets() -> dict[str, DataSet]:
    """Return the data sets of `assets/datasets.yaml` by id. Raises `UserError` for a mistake in the file."""
    file = ASSETS / "datasets.yaml"
    rows = read_table(file, TypeAdapter(dict[Text, dict[str, Any]]))
    return check_table(file, {name: {"id": name, **row} for name, row in rows.items()}, TypeAdapter(dict[str, DataSet]))
