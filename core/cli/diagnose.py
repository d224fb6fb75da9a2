"""`python -m core diagnose`: what a model can and cannot do, measured on labelled photos."""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.arguments import add_labelled_photos
from core.console import checking_arguments

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
    from core.errors import UserError
    from core.evaluation.capabilities import diagnose as measure
    from core.evaluation.capability_report import as_dict, as_text
    from core.models.checkpoint import merge_adapter
    from core.progress import run as complete
    from core.recognition.asked_model import AskedModel
    from core.storage.files import check_writable_file, write_atomically
    from core.zoo.registry import find_source, load

    out = Path(options.out) if options.out else None
    with checking_arguments():
        find_source(options.model)
        if out:
            check_writable_file(out)
            if out.resolve() == Path(options.photos).resolve():
                raise UserError(f"{out} would replace the photos: name another file with --out.")
    with open_photo_set(Path(options.photos), options.csv, any_size=True) as items:
        model = load(options.model, log.info)
        if not isinstance(model, AskedModel):
            merge_adapter(model.mllm)  # takes half as long then
        diagnosis = complete(measure(items, model), lambda progress: print(progress.message, file=sys.stderr))
    text = json.dumps(as_dict(diagnosis), indent=1, ensure_ascii=False)
    if out:
        write_atomically(out, text.encode())
    print(text if options.json else as_text(diagnosis))
    return int(diagnosis.skipped > 0)
