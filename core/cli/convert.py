"""`python -m core convert`: a model folder with pickled weights, or of open_clip, as one that can be opened here."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.cli.arguments import Commands

log = logging.getLogger(__name__)


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m core`."""
    command = commands.add_parser(
        "convert", help="pickled weights (*.bin, *.pth) to safetensors, and open_clip to CLIP; nothing in them is run"
    )
    command.add_argument(
        "source", metavar="SOURCE", help="a model folder, or a hub repository that is downloaded already"
    )
    command.add_argument("out", metavar="OUT", type=Path, help="the new folder")
    command.add_argument(
        "--vision-tower", type=Path, metavar="FOLDER", help="CLIP-L/14-336, for a MobileVLM v2 whose weights lack it"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert a model folder."""
    from core.models.conversion import convert
    from core.models.pickled_weights import find_source
    from core.progress import log_progress
    from core.progress import run as complete

    complete(convert(find_source(options.source), options.out, options.vision_tower), log_progress(log))
    print(options.out)
    return 0
