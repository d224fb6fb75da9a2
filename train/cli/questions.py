"""`python -m train questions`: write questions about photos whose options are look-alikes, for `evaluate --foci`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from train.choices import NegativesBy
from train.cli.arguments import add_data

if TYPE_CHECKING:
    from train.cli.arguments import Commands


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m train`."""
    command = commands.add_parser("questions", help="write questions about look-alikes, for `evaluate --foci`")
    add_data(command, "test.csv")
    command.add_argument("--out", type=Path, default=Path("questions"), metavar="FOLDER", help="one file per data set")
    command.add_argument(
        "--by",
        choices=get_args(NegativesBy),
        default="photos",
        help="what look-alikes are nearest by: the mean vision features of --model (default), the attributes, or both",
    )
    command.add_argument("--model", default="finedefics-tiny", help="whose mean vision features are compared")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the questions about each data set. Raises `UserError` for photos that are not in a folder."""
    from core.errors import UserError
    from core.models.checkpoint import read_feature_means
    from core.storage.files import check_writable_folder
    from core.zoo.registry import find_entry
    from train.data.look_alikes import write_questions
    from train.data.source import labelled

    folder = Path(options.data)
    if not folder.is_dir():
        raise UserError(f"There is no folder {options.data}: questions name photos by their paths in one.")
    check_writable_folder(options.out)
    means, options_by = None, options.by
    if options.by != "descriptions":
        means = {name: mean.numpy() for name, mean in read_feature_means(find_entry(options.model).checkpoint).items()}
        options_by = f"{options.by}, {options.model}"
    records = labelled(options.data, options.csv, "test")
    written = write_questions(records, folder, options.out, options.by, means, options_by)
    for path, count in written.items():
        print(f"{path}: {count} questions")
    if left := len(records) - sum(written.values()):
        print(f"{left} photos are not asked about: {options.model} does not know their names.", file=sys.stderr)
