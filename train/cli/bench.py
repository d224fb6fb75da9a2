"""`python -m train bench`: speed, memory, and pictures of other things."""

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.cli.arguments import Commands


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m train`."""
    command = commands.add_parser("bench", help="speed, memory, and pictures of other things")
    command.add_argument(
        "--models", nargs="+", default=["finedefics-tiny", "idefics2-tiny"], help="the first is measured, all are loaded"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print speed, memory, and the share of pictures of other things that are refused as unknown, as JSON."""
    from core.zoo.registry import find_entry
    from train.evaluation.bench import bench

    for name in options.models:
        find_entry(name)  # before the first is loaded
    print(json.dumps(bench(options.models), indent=1))
