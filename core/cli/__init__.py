"""`python -m core identify|compare|study|diagnose|embed|project|models|download|convert`: photos, models, commands.

Every module of this package adds one command: its arguments, and the function `run` that carries it out. At import they
load argparse alone, so that --help is quick; what a command needs is imported when it runs.
"""

import argparse
import logging

from core import __version__
from core.cli import compare, convert, diagnose, download, embed, identify, models, project, study
from core.console import exits_quietly

EXIT_STATUS = (
    "Exit status: 0 done, an unknown photo too; 1 some photo or model could not be used; 2 wrong arguments; 3 with "
    "`identify --fail-unknown`, a photo is unknown; 130 after Ctrl-C; 141 after a closed pipe."
)


@exits_quietly
def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    The exit status is the one that the help states; argparse exits with 2, too.
    """
    parser = argparse.ArgumentParser(
        prog="python -m core", description="Name the species in photos, with attributes.", epilog=EXIT_STATUS
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (identify, compare, study, diagnose, embed, project, models, download, convert):
        command.add_command(commands)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("core").setLevel(logging.INFO)  # the first start assembles the model and says so
    return options.run(options)
