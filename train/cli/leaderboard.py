"""`python -m train leaderboard`: published results of the FOCI benchmark beside those measured here."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.cli.arguments import Commands


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m train`."""
    command = commands.add_parser("leaderboard", help="published FOCI results beside those of `evaluate --foci`")
    command.add_argument(
        "--results", type=Path, default=Path("results"), metavar="FOLDER", help="where `evaluate --foci` kept them"
    )
    command.add_argument("--format", choices=("text", "csv", "latex", "markdown"), default="text")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the table. Raises `UserError` for a file in the folder that holds no results."""
    from core.errors import UserError
    from core.evaluation.foci_results import read_results
    from core.evaluation.leaderboard import FORMATS, leaderboard

    if options.results.exists() and not options.results.is_dir():
        raise UserError(f"{options.results} is no folder: name the one that `evaluate --foci` kept its results in.")
    results = read_results(options.results)
    if not results:
        print(f"Nothing was measured in {options.results}: these are the published results.", file=sys.stderr)
    print(FORMATS[options.format](leaderboard(results)))
