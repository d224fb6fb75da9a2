"""`python -m core models`: list the models."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.cli.arguments import Commands


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m core`."""
    command = commands.add_parser("models", help="list the models, and whether they can run here")
    command.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Print every model of the zoo: name, size, and "ready" or why it is not available here and how to get it."""
    from core.taxonomy.categories import table_errors
    from core.zoo.hub import UNCALIBRATED
    from core.zoo.registry import availability, zoo

    table_errors()  # reads the tables, which warns of those that are left out
    for entry in zoo().values():
        state = availability(entry)
        print(f"{entry.name:18} {entry.size:28} {state}")
        if entry.hub:
            indent = " " * 18
            print(f"{indent} licence: {entry.hub.licence}; memory: {entry.hub.needs}")
            if entry.hub.command not in state:
                print(f"{indent} to download it: {entry.hub.command}")
            print(f"{indent} {UNCALIBRATED}")
    return 0
