"""`python -m train find-object`: accuracy where the object is a small part of the photo."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from core.console import at_least_one, natural
from train.cli.arguments import add_data

if TYPE_CHECKING:
    from train.cli.arguments import Commands


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m train`."""
    command = commands.add_parser("find-object", help="accuracy where the object is a small part of the photo")
    command.add_argument("--model", default="finedefics-tiny", help="a checkpoint that `python -m core models` lists")
    add_data(command, "test.csv", required=False)
    command.add_argument(
        "--boxes", type=Path, metavar="CSV", help="whole photos and boxes: columns image_path, label and box"
    )
    command.add_argument(
        "--photos", type=at_least_one, default=120, metavar="N", help="photos of --data, and of --boxes"
    )
    command.add_argument("--seed", type=natural, default=0, help="of the photos and the scenes they are pasted into")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the accuracy by kind of picture and by crop. Raises `UserError` without photos."""
    import logging

    from core import progress
    from core.errors import UserError
    from core.models.checkpoint import read_manifest
    from core.recognition.regions import check_searchable
    from core.zoo.registry import find_entry
    from train.cli.evaluate import load_merged
    from train.data.records import split_known
    from train.data.source import labelled
    from train.evaluation.find_object import measure, read_boxes, summary

    if not (options.data or options.boxes):
        raise UserError("There are no photos to measure on: give --data, --boxes, or both.")
    manifest = read_manifest(find_entry(options.model).checkpoint)
    boxes = read_boxes(options.boxes) if options.boxes else {}
    records, _ = split_known(labelled(options.data, options.csv, "test") if options.data else [], manifest.categories)
    boxed, _ = split_known(list(boxes), manifest.categories)
    if not (records or boxed):
        raise UserError(f"{options.model} was trained on none of these names: measure it on photos that it can name.")
    recogniser = load_merged(options.model)
    check_searchable(recogniser)
    steps = measure(recogniser, records, {one: boxes[one] for one in boxed}, options.photos, options.seed)
    result = summary(progress.run(steps, progress.log_progress(logging.getLogger(__name__), "")))
    if options.json:
        print(json.dumps({"model": options.model, "seed": options.seed, "kinds": result}))
    else:
        print("\n".join(_text(kind, row) for kind, row in result.items()))


def _text(kind: str, row: dict[str, float]) -> str:
    """Return the lines of one kind of picture: shares in percent with their standard errors, and seconds."""

    def percent(name: str) -> str:
        return f"{100 * row[name]:5.1f} ± {100 * row[f'{name}_error']:.1f}"

    ways = [way for way in ("none", "auto", "box") if f"top1_{way}" in row]
    lines = [f"{kind}: {row['n']} pictures, in {row['cropped']:.0%} a part was chosen"]
    lines += [f"  top-1 {way:5} {percent(f'top1_{way}')} %" for way in ways]
    lines += [f"  auto less {way:5} {percent(f'auto_less_{way}')} points" for way in ways if way != "auto"]
    return "\n".join([*lines, f"  seconds: none {row['seconds_none']:.2f}, auto {row['seconds_auto']:.2f}"])
