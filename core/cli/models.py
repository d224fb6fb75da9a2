"""`python -m core models`: list the models."""

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.cli.arguments import Commands
    from core.zoo.registry import ModelEntry


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m core`."""
    command = commands.add_parser("models", help="list the models, and whether they can run here")
    command.add_argument("--json", action="store_true", help="one JSON object per model and line")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every model of the zoo: name, size, and "ready" or why it is not available here and how to get it."""
    from core.taxonomy.categories import table_errors
    from core.zoo.registry import availability, zoo

    table_errors()  # reads the tables, which warns of those that are left out
    for entry in zoo().values():
        state = availability(entry)
        if options.json:
            print(json.dumps(entry.as_dict(state)))
            continue
        print(f"{entry.name:22} {entry.size:26} {state}")
        for line in _details(entry, state):
            print(f"{'':22} {line}")
    return 0


def _details(entry: "ModelEntry", state: str) -> Iterator[str]:
    """Yield the lines below a model of the hub."""
    from core.zoo.hub import UNCALIBRATED

    if entry.hub is None:
        return
    packages = f"; packages: {', '.join(entry.row.needs)}" if entry.row.needs else ""
    yield f"licence: {entry.hub.licence}; memory: {entry.hub.needs}{packages}"
    yield f"revision: {entry.hub.revision}; {entry.row.route}"
    if entry.hub.command not in state and not entry.row.server:
        yield f"to download it: {entry.hub.command}"
    if entry.has_recogniser:
        yield UNCALIBRATED
