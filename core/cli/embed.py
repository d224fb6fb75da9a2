"""`python -m core embed`: photos, descriptions and names as embeddings."""

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.arguments import add_labelled_photos
from core.console import checking_arguments

if TYPE_CHECKING:
    from core.cli.arguments import Commands

log = logging.getLogger(__name__)


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m core`."""
    command = commands.add_parser("embed", help="photos, descriptions and names in a model's space: numbers, a file")
    command.add_argument("--out", metavar="FILE", help="where the embeddings go: .npz or .parquet")
    command.add_argument(
        "--ship", action="store_true", dest="bundle", help="put them into the checkpoint's folder, where the app looks"
    )
    add_labelled_photos(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Embed labelled photos, write the embeddings, and print how well photos and names are aligned."""
    from core.data.photo_sets import open_photo_set
    from core.embeddings.bundled import bundle, bundle_folder
    from core.embeddings.compute import compute_embeddings
    from core.embeddings.metrics import alignment_numbers
    from core.errors import UserError
    from core.progress import log_progress
    from core.progress import run as complete
    from core.storage.files import check_writable_file
    from core.zoo.registry import find_source, load

    out = Path(options.out) if options.out else None
    with checking_arguments():
        if out:
            if out.suffix not in (".npz", ".parquet"):
                raise UserError(f"{out} must end in .npz or .parquet.")
            check_writable_file(out)
        find_source(options.model)
        if options.bundle:
            bundle_folder(options.model)  # a model without one is refused
    with open_photo_set(Path(options.photos), options.csv, any_size=True) as items:
        name = Path(options.photos).resolve().name + (f", {options.csv}" if options.csv else "")
        embeddings = complete(compute_embeddings(options.model, items, name, load), log_progress(log))
    if out:
        (embeddings.save_parquet if out.suffix == ".parquet" else embeddings.save)(out)
    if options.bundle:
        bundle(embeddings)
    numbers = {
        name: value if value is None else round(value, 4) for name, value in alignment_numbers(embeddings).items()
    }
    print(json.dumps({"photos": len(embeddings.photos), "categories": len(embeddings.categories), **numbers}))
    return 0
