"""`python -m train attributes`: make attribute descriptions of photos."""

from typing import TYPE_CHECKING

from train import attributes

if TYPE_CHECKING:
    from train.cli.arguments import Commands


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m train`."""
    command = commands.add_parser("attributes", help="make attribute descriptions of photos")
    attributes.add_arguments(command)
    command.set_defaults(run=attributes.run)
