"""`python -m train export`: merge a checkpoint into its base."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.cli.arguments import Commands


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m train`."""
    command = commands.add_parser("export", help="merge a checkpoint into its base: a folder as the hub knows it")
    command.add_argument("--model", required=True, help="a name that `python -m core models` lists")
    command.add_argument("--base", default="", help="where the base is, if not where the checkpoint says")
    command.add_argument("--out", type=Path, required=True, help="the new folder")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Merge a checkpoint's adapter into its base and write the whole model."""
    from core.zoo.registry import find_entry
    from train.publish.export import export

    export(find_entry(options.model).checkpoint, options.base, options.out)
