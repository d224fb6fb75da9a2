"""Define and run the commands `python -m train attributes discover|extract|summarise|table`."""

import argparse
import json
import logging
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from core.console import at_least_one, natural

if TYPE_CHECKING:
    from train.data.records import Record

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the four commands to the parser of `python -m train attributes`."""
    steps = parser.add_subparsers(dest="step", required=True)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--super-category", required=True, help="the kind of object, such as bird, or one of your own")
    common.add_argument(
        "--work",
        type=Path,
        default=Path("runs/attributes"),
        help="folder for the answers, in one folder per super-category",
    )

    requests = argparse.ArgumentParser(add_help=False)
    requests.add_argument("--concurrency", type=at_least_one, default=4, help="requests sent at the same time")
    requests.add_argument(
        "--tries", type=at_least_one, default=3, help="attempts per question until an answer can be used"
    )
    requests.add_argument("--retries", type=natural, default=5, help="after 429, 5xx, time-outs and dropped connections")
    requests.add_argument("--timeout", type=float, default=120.0, help="seconds for one answer")
    requests.add_argument("--max-tokens", type=at_least_one, default=1000, help="of one answer")
    requests.add_argument("--price-in", type=float, default=0.0, help="of a million tokens sent, for the estimate")
    requests.add_argument("--price-out", type=float, default=0.0, help="of a million tokens received")
    requests.add_argument("--dry-run", action="store_true", help="print the estimate and one prompt; send nothing")

    discover = steps.add_parser(
        "discover", parents=[common, requests], help="find the attributes that distinguish the categories"
    )
    discover.add_argument("--llm-model", required=True, help="a model of the endpoint")
    discover.add_argument("--noun", help="the word for such an object (default: the super-category)")
    discover.add_argument("--rank", help="the word for its category: species, breed, model, ... (default: kind)")
    discover.add_argument("--force", action="store_true", help="replace super_category.yaml")

    extract = steps.add_parser("extract", parents=[common, requests], help="read the attribute values off every photo")
    extract.add_argument("--vlm-model", required=True, help="a model of the endpoint, zoo:NAME, knowledge, or probes")
    extract.add_argument(
        "--encoder-file", type=Path, help="for probes: a fine-tuned vision encoder (default: the embedded model's own)"
    )
    extract.add_argument("--data", required=True, help="labelled photos, as for `python -m train run`")
    extract.add_argument("--csv", default="train.csv", help="name of the CSV files that list the photos")
    extract.add_argument("--limit", type=at_least_one, help="largest number of photos per category")

    summarise = steps.add_parser("summarise", parents=[common, requests], help="write a description of every photo")
    summarise.add_argument("--llm-model", required=True, help="a model of the endpoint, or template")

    table = steps.add_parser("table", parents=[common], help="make a knowledge table from the values of all photos")
    table.add_argument("--out", type=Path, required=True, help="YAML file, in assets/attributes for the app to read it")
    table.add_argument("--force", action="store_true", help="replace the file")


def run(options: argparse.Namespace) -> None:
    """Run one of the commands. Raises `UserError` if it has no result, or if another command is using the folder."""
    from filelock import FileLock, Timeout

    from core.errors import UserError

    if not re.fullmatch(r"\w[\w -]*", options.super_category):  # it names a folder
        raise UserError("The super-category's name may contain only letters, digits, spaces, - and _.")
    folder = options.work / options.super_category
    for name in ("httpx", "httpx2"):  # a line for every request
        logging.getLogger(name).setLevel(logging.WARNING)
    if options.step != "table" and options.dry_run:  # writes nothing, not even the lock
        _run_step(folder, options)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise UserError(f"Another command is using {folder}: wait for it.") from None
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}).") from error
    with lock:
        _run_step(folder, options)


def _run_step(folder: Path, options: argparse.Namespace) -> None:
    from core.storage.files import write_atomically
    from core.taxonomy.categories import super_categories
    from train.attributes.answerers import RequestSettings
    from train.attributes.steps import discover, extract, find_group, summarise, write_table

    settings = {
        name: value if isinstance(value, int | float) else str(value)
        for name, value in vars(options).items()
        if value is not None
    }
    log.info("settings: %s", settings)
    if options.step == "table":
        write_table(folder, find_group(folder, options.super_category), options.out, options.force)
        return
    if not options.dry_run:
        write_atomically(folder / f"{options.step}.settings.json", json.dumps(settings, indent=1).encode())
    request = RequestSettings(**{field.name: getattr(options, field.name) for field in fields(RequestSettings)})
    if options.step == "discover":
        known = super_categories().get(options.super_category)
        noun = options.noun or (known.noun if known else options.super_category)
        rank = options.rank or (known.rank if known else "kind")
        discover(folder, options.super_category, noun, rank, options.llm_model, request, options.force)
        return
    group = find_group(folder, options.super_category)
    if options.step == "extract":
        extract(folder, group, _photos(options), options.vlm_model, request, options.encoder_file)
    else:
        summarise(folder, group, options.llm_model, request)


def _photos(options: argparse.Namespace) -> "list[Record]":
    """Return the photos whose category belongs to the super-category or to no knowledge table."""
    from core.errors import UserError
    from core.taxonomy.categories import find_category
    from train.data.source import labelled

    chosen: list[Record] = []
    counts: Counter[str] = Counter()
    others = 0
    for record in labelled(options.data, options.csv, "train"):
        known = find_category(record.category)
        if known and known.super_category.name != options.super_category:
            others += 1
            continue
        counts[record.category] += 1
        if not options.limit or counts[record.category] <= options.limit:
            chosen.append(record)
    log.info("%d photos; %d of other super-categories are left out", len(chosen), others)
    if not chosen:
        raise UserError(f"{options.data} has no photos of the super-category {options.super_category!r}.")
    return chosen
