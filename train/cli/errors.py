"""`python -m train errors`: what a model confuses, and photos whose label looks wrong, as tables and one HTML page."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.console import natural
from train.cli.arguments import add_data

if TYPE_CHECKING:
    from train.cli.arguments import Commands
    from train.data.records import Record


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m train`."""
    command = commands.add_parser("errors", help="what a model confuses, and photos whose label looks wrong")
    command.add_argument("--model", default="finedefics-tiny", help="a checkpoint that `python -m core models` lists")
    add_data(command, "test.csv")
    command.add_argument("--seed", type=natural, default=0, help="of the folds that judge the labels")
    command.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="for CSV tables and one HTML page with small photos"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the tables and the page, and print a summary.

    Raises `UserError` for a folder of results among the photos: its CSV files would be taken for lists of photos.
    """
    from core.errors import UserError
    from core.models.checkpoint import read_manifest
    from core.storage.files import check_writable_folder
    from core.zoo.registry import find_entry
    from train.cli.evaluate import load_merged, measurable
    from train.data.source import labelled
    from train.evaluation.error_analysis import analyse
    from train.evaluation.error_report import left_out, save

    folder = find_entry(options.model).checkpoint
    manifest = read_manifest(folder)
    if options.out.resolve().is_relative_to(Path(options.data).resolve()):
        raise UserError(f"{options.out} lies in the folder of the photos: name a folder outside it.")
    check_writable_folder(options.out)
    records, _ = measurable(options.model, labelled(options.data, options.csv, "test"), manifest.categories)
    note = _note(options.model, folder, records, bool(manifest.encoder))
    if note:
        print(note, file=sys.stderr)
    errors = analyse(load_merged(options.model), records, options.seed)
    files = save(errors, options.model, note, options.out)
    for one in errors:
        wrong = sum(not photo.right for photo in one.photos)
        print(
            f"{one.data_set}: {wrong} of {len(one.photos)} photos are named wrongly; "
            f"{len(one.issues.found)} of {one.issues.judged} labels look wrong. {left_out(one)}".rstrip()
        )
    print("\n".join(map(str, files)))


def _note(model: str, folder: Path, records: "list[Record]", trained_encoder: bool) -> str:
    """Return a sentence or two about photos that the model was trained on, or nothing."""
    from train.cli.evaluate import seen_warning
    from train.publish.model_card import seen_photos

    seen = seen_photos(folder, records)
    if not seen:
        return ""
    note = seen_warning(model, seen, len(records))
    learned = " Its vision encoder was trained on them, too: wrong labels that it has learned may not look wrong."
    return note + learned if trained_encoder else note
