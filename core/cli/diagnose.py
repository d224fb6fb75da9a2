"""`python -m core diagnose`: what a model can and cannot do, measured on labelled photos."""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.arguments import add_labelled_photos

if TYPE_CHECKING:
    from core.cli.arguments import Commands

log = logging.getLogger(__name__)


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m core`."""
    command = commands.add_parser("diagnose", help="measure a model's object information, knowledge and alignment")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument("--out", metavar="FILE", help="write the JSON there, too")
    add_labelled_photos(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure a model's three capabilities on labelled photos; print the table and its reading, or JSON."""
    from core.data.photo_sets import open_photo_set
    from core.evaluation.capabilities import diagnose as steps
    from core.evaluation.capability_report import Diagnosis
    from core.models.checkpoint import merge_adapter
    from core.storage.files import write_atomically
    from core.zoo.registry import load

    with open_photo_set(Path(options.photos), options.csv, any_size=True) as items:
        recogniser = load(options.model, log.info)
        merge_adapter(recogniser.mllm)  # takes half as long then
        for step in steps(items, recogniser):
            if isinstance(step, str):
                print(step, file=sys.stderr)
    assert isinstance(step, Diagnosis)
    text = json.dumps(step.as_dict(), indent=1, ensure_ascii=False)
    if options.out:
        write_atomically(Path(options.out), text.encode())
    print(text if options.json else step.as_text())
    return int(step.skipped > 0)
