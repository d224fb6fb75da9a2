"""`python -m train COMMAND`: make and measure models.

Every module of this package defines one command: its arguments, and the function `run`. At import the modules load
only argparse, so that --help is quick; other imports are inside the functions. Options are checked before a photo is
read or a model loaded.
"""

import argparse
import logging
import sys

from core.console import exits_quietly
from train.cli import (
    ablation,
    attributes,
    bench,
    errors,
    evaluate,
    export,
    find_object,
    leaderboard,
    negatives,
    questions,
    run,
)


@exits_quietly
def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    The exit status is 0, 1 after an error message of one sentence, or 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser(prog="python -m train", description="Make checkpoints, measure models.")
    commands = parser.add_subparsers(dest="command", required=True)
    listed = (run, evaluate, questions, errors, find_object, leaderboard, ablation, negatives, export, attributes, bench)
    for command in listed:
        command.add_command(commands)
    options = parser.parse_args(arguments)
    run_command = vars(options).pop("run")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request
    run_command(options)
    return 0
