"""Define the arguments that several commands share."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_data(command: argparse.ArgumentParser, csv: str, required: bool = True) -> None:
    """Add the labelled photos, and the CSV files that list them (by default those named `csv`)."""
    command.add_argument(
        "--data",
        required=required,
        help="class folders, a folder with a CSV (or of such folders), an official data set, or hf:OWNER/NAME",
    )
    command.add_argument("--csv", default=csv, help="name of the CSV files that list the photos")


def add_preset(command: argparse.ArgumentParser) -> None:
    """Add the preset, and single values that replace its own."""
    command.add_argument("--preset", default="tiny-cpu", help="a recipe of train/presets, or a YAML file of that form")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one value in place of the preset's, such as align.steps=100 (repeatable)",
    )


def check_base(base: str) -> None:
    """Raise `UserError` if a base is neither on disk nor on the hub."""
    from core.models.base_models import locate
    from core.models.embedded import EMBEDDED

    if base != EMBEDDED:
        locate(base)
