"""`python -m train run|evaluate|ablation|negatives|export|attributes|bench`: make checkpoints, measure models.

Every module of this package adds one command: its arguments, and the function `run` that carries it out. At import they
load argparse alone, so that --help is quick; what a command needs is imported when it runs. Options are checked before a
photo is read or a model loaded.
"""

import argparse
import logging
import sys

from core.console import exits_quietly
from train.cli import ablation, attributes, bench, evaluate, export, negatives, run


@exits_quietly
def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    The exit status is 0, or 1 after one sentence that says what is wrong; argparse exits with 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser(prog="python -m train", description="Make checkpoints, measure models.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (run, evaluate, ablation, negatives, export, attributes, bench):
        command.add_command(commands)
    options = parser.parse_args(arguments)
    carry_out = vars(options).pop("run")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request
    carry_out(options)
    return 0
