"""Arguments that several commands share."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

MODELS = "a name that `models` lists, hf:OWNER/NAME[@revision], or a folder"


def add_model(command: argparse.ArgumentParser) -> None:
    """Add the option --model."""
    command.add_argument("--model", default="finedefics-tiny", help=MODELS)


def add_labelled_photos(command: argparse.ArgumentParser) -> None:
    """Add the labelled photos, the CSV that labels them, and the model that they are given to."""
    command.add_argument("photos", metavar="PHOTOS", help="a ZIP or a folder, labelled by a CSV or class folders")
    command.add_argument(
        "--csv", default="", metavar="NAME", help="the CSV file of each data set in a folder of data sets"
    )
    add_model(command)
