"""`python -m core download`: the files of a model of the hub."""

import argparse
import logging
from typing import TYPE_CHECKING

from core.console import checking_arguments

if TYPE_CHECKING:
    from core.cli.arguments import Commands

log = logging.getLogger(__name__)


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m core`."""
    command = commands.add_parser("download", help="a model of the hub, checked; goes on where it was stopped")
    command.add_argument("model", metavar="NAME", help="a name that `models` lists, or its repository")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Download a model, and print its commit and whether it can run here."""
    from core.progress import log_progress
    from core.progress import run as complete
    from core.zoo.download import download, find_download
    from core.zoo.registry import availability

    with checking_arguments():
        entry = find_download(options.model)
    assert entry.hub is not None
    log.info("%s: %s, licence: %s", entry.name, entry.hub.download, entry.hub.terms)
    commit = complete(download(entry), log_progress(log))
    print(f"{entry.name} is here, at commit {commit}: {availability(entry)}")
    return 0
