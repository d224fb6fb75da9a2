"""`python -m core identify|compare|study|diagnose|embed|project|models|download|convert`: photos, models, commands.

Every module of this package adds one command: its arguments, and the function `run` that carries it out. At import they
load argparse alone, so that --help is quick; what a command needs is imported when it runs.
"""

import argparse
import logging

from core.cli import compare, convert, diagnose, download, embed, identify, models, project, study
from core.console import exits_quietly


@exits_quietly
def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    The exit status is 0, or 1 if a photo or a model could not be used; argparse exits with 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser(prog="python -m core", description="Name the species in photos, with attributes.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (identify, compare, study, diagnose, embed, project, models, download, convert):
        command.add_command(commands)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("core").setLevel(logging.INFO)  # the first start assembles the model and says so
    return options.run(options)
