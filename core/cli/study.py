"""`python -m core study`: two models compared on many photos."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.console import checking_arguments

if TYPE_CHECKING:
    from core.cli.arguments import Commands


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m core`."""
    command = commands.add_parser("study", help="compare two models on many photos")
    command.add_argument(
        "photos", metavar="PHOTOS", help="a ZIP or a folder, with a CSV of labels or class folders if any"
    )
    command.add_argument("--models", nargs=2, metavar=("A", "B"), default=["idefics2-tiny", "finedefics-tiny"])
    command.add_argument("--out", required=True, metavar="FOLDER", help="where study.csv, .json and .html go")
    command.add_argument("--candidates", default="all", metavar="C", help="all, labels, or a super-category")
    command.add_argument("--ask", action="store_true", help="have the models answer freely, too")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compare two models on a set of photos; what was done before Ctrl-C is saved as well."""
    from core.data.photo_sets import REPORT_FILES, open_photo_set
    from core.evaluation.study import EVERYTHING, OWN_LABELS, Study, check_models, choose_candidates, examine
    from core.evaluation.study_report import save
    from core.storage.files import check_writable_file
    from core.taxonomy.categories import in_super_category
    from core.zoo.registry import find_source, load

    with checking_arguments():
        names = check_models(options.models)
        for name in names:
            find_source(name)
        if options.candidates not in (EVERYTHING, OWN_LABELS):
            in_super_category(options.candidates)  # an unknown one is refused
        for file in REPORT_FILES:
            check_writable_file(Path(options.out) / file)
    with open_photo_set(Path(options.photos), any_size=True) as items:
        labels, group = choose_candidates(items, options.candidates)
        pair = [(model, model.label_space(labels, group)) for model in map(load, names)]
        result = Study(names, options.candidates, len(items))
        try:
            for row in examine(items, pair, options.ask):
                result.rows.append(row)
                print(f"{row.name}: {row.error}" if row.error else result.progress(), file=sys.stderr)
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
    files = save(result, Path(options.out))
    for line in result.accuracy():
        shares = ", ".join(f"{name} {right / line.photos:.1%}" for name, right in zip(names, line.right, strict=True))
        print(f"{line.data_set}: {shares} of {line.photos} photos")
    if result.note():
        print(result.note())
    print("\n".join(map(str, files)))
    return int(any(row.error for row in result.rows))
