"""`python -m train evaluate`: the accuracy of a model, per data set."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.console import at_least_one, natural
from train.cli.arguments import add_data

if TYPE_CHECKING:
    from core.recognition.recogniser import Recogniser
    from train.cli.arguments import Commands
    from train.data.records import Record


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m train`."""
    command = commands.add_parser("evaluate", help="accuracy of a model, per data set")
    command.add_argument(
        "--model",
        default="finedefics-tiny",
        help="a name that `python -m core models` lists; with --foci also endpoint:NAME, served at OPENAI_BASE_URL",
    )
    add_data(command, "test.csv")
    command.set_defaults(csv=None)  # None: not given
    command.add_argument("--seed", type=natural, default=0, help="of the shuffled options")
    command.add_argument(
        "--descriptions",
        type=natural,
        default=0,
        metavar="N",
        help="compare what the model writes of so many photos per data set with the tables of attributes (default: 0)",
    )
    command.add_argument("--foci", type=Path, metavar="FILE", help="ask its questions about the photos of --data")
    command.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="FOLDER",
        help="where --foci keeps every answer and the numbers; a run that was stopped continues there",
    )
    command.add_argument(
        "--reply-tokens", type=at_least_one, metavar="N", help="of a reply to --foci: 10, or what the model's row says"
    )
    command.add_argument(
        "--concurrency", type=at_least_one, default=8, metavar="N", help="questions of --foci at once, for an endpoint"
    )
    command.add_argument(
        "--controls",
        action="store_true",
        help="ask --foci's questions again with a grey photo and with another category's: letters should be at chance",
    )
    command.add_argument(
        "--rotations",
        action="store_true",
        help="with --foci, also average the letter's log-probabilities over the four rotations of the options",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    command.add_argument("--card", action="store_true", help="write the results into the checkpoint's model card")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print a model's accuracy, and with --card write it into its model card.

    Raises `UserError` for options that exclude each other, and for a card from photos that the model was trained on.
    """
    from core.errors import UserError
    from core.models.checkpoint import read_manifest
    from core.zoo.registry import find_entry

    if options.foci and (options.card or options.csv):
        raise UserError("--foci asks about photos, which no CSV lists and no card reports: leave out --csv and --card.")
    if options.foci and options.descriptions:
        raise UserError("--foci asks for letters, not for descriptions: leave out one of them.")
    if options.foci:
        _answer_foci(options)
        return
    if options.controls or options.rotations:
        raise UserError("--controls and --rotations are of the letters: name the questions with --foci.")
    folder = find_entry(options.model).checkpoint
    read_manifest(folder)  # fails before a photo is read if the checkpoint is damaged
    _measure(options, folder, options.csv or "test.csv")


def _answer_foci(options: argparse.Namespace) -> None:
    """Ask a model the questions of a FOCI file; print and keep the results."""
    from core.evaluation.foci_results import results_text
    from core.storage.files import check_writable_folder
    from core.zoo.question_models import describe
    from train.data.foci import find_photos, read_foci
    from train.evaluation.foci import Asking, measure_foci

    about = describe(options.model)
    check_writable_folder(options.results)
    foci = read_foci(options.foci)
    photos = find_photos(Path(options.data), foci)
    if missing := len(foci.questions) - len(photos):
        print(f"{missing} of {len(foci.questions)} questions are about photos that are not there.", file=sys.stderr)
    tokens = options.reply_tokens or about.reply_tokens
    asking = Asking(options.model, about.weights, options.seed, tokens, about.seen)
    concurrency = options.concurrency if about.remote else 1
    result = measure_foci(
        foci,
        photos,
        asking,
        options.results,
        concurrency,
        _command(options),
        controls=options.controls,
        rotations=options.rotations,
    )
    print(result.model_dump_json() if options.json else results_text(result))


def _command(options: argparse.Namespace) -> str:
    """Return the command that asks the same questions, to be kept with the results."""
    parts = ["--foci", str(options.foci), "--data", options.data, "--model", options.model, "--seed", str(options.seed)]
    if options.reply_tokens:
        parts += ["--reply-tokens", str(options.reply_tokens)]
    parts += [f"--{name}" for name in ("controls", "rotations") if getattr(options, name)]
    return f"python -m train evaluate {shlex.join(parts)}"


def _measure(options: argparse.Namespace, folder: Path, csv: str) -> None:
    from core.errors import UserError
    from core.models.checkpoint import read_manifest
    from train.data.source import labelled
    from train.evaluation.accuracy import evaluate
    from train.evaluation.conclusions import conclusions_text
    from train.publish.model_card import seen_photos, write_card

    given = labelled(options.data, csv, "test")
    records, unknown = measurable(options.model, given, read_manifest(folder).categories)
    if seen := seen_photos(folder, records):
        warning = seen_warning(options.model, seen, len(records))
        if options.card:
            raise UserError(f"{warning} A model card reports unseen ones.")
        print(warning, file=sys.stderr)
    among_all = len(unknown) < len(given)
    measured = evaluate(load_merged(options.model), records, csv, options.seed, among_all, options.descriptions)
    results = {**measured, "seen": len(seen), "unknown_names": len(unknown)}
    if options.card:
        write_card(folder, results)
    if options.json:
        print(json.dumps(results))
        return
    clauses = [column for column in results["mean"] if column.startswith("clauses")]
    _print_table(results, [column for column in results["mean"] if column not in clauses])
    if clauses:
        print()
        _print_table(results, [column for column in clauses if not column.endswith("_error")])
    if "conclusions" in results:
        sure = f"{results['conclusions']['sure']:.0%}"
        print(f"\nWhere a name must be {sure} sure, among everything that the model knows, in per cent:")
        print(conclusions_text(results["conclusions"]))
    if options.descriptions and not clauses:
        print("No description is written: the tables describe none of these categories.", file=sys.stderr)


def _print_table(results: dict, columns: list[str]) -> None:
    """Print a row per data set that has these columns, and their mean, with standard errors where they are measured."""
    widths = [max(22, len(column)) for column in columns]
    print(f"{'':12}" + "".join(f" {column:>{width}}" for column, width in zip(columns, widths, strict=True)))
    for name, row in {**results["sets"], "mean": results["mean"]}.items():
        if columns[0] not in row:
            continue
        errors = [f" ± {row[f'{column}_error']}" if f"{column}_error" in row else "" for column in columns]
        cells = [f"{row[column]}{error}" for column, error in zip(columns, errors, strict=True)]
        print(f"{name:12}" + "".join(f" {cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))


def seen_warning(model: str, seen: "list[Record]", photos: int) -> str:
    """Return a sentence about the photos, of so many, that a model was trained on."""
    return (
        f"{model} has seen {len(seen)} of these {photos} photos in training (for example {seen[0].image}): accuracy on "
        "them says nothing about others."
    )


def measurable(model: str, given: "list[Record]", categories: list[str]) -> "tuple[list[Record], list[Record]]":
    """Return the photos to evaluate, and those of categories that the model was not trained on; print these.

    If it was trained on none of the categories, all photos are evaluated zero-shot. Raises `UserError` if it was trained
    on only one category of a data set.
    """
    from core.errors import UserError
    from train.data.records import split_known

    known, unknown = split_known(given, categories)
    if not unknown:
        return given, []
    names = sorted({record.category for record in unknown})
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    if not known:
        print(f"{model} was trained on none of these names: it chooses among them zero-shot.", file=sys.stderr)
        return given, unknown
    print(
        f"{len(unknown)} of {len(given)} photos are not counted: {model} was not trained on their names ({listed}).",
        file=sys.stderr,
    )
    for data_set in sorted({record.data_set for record in known}):
        left = {record.category for record in known if record.data_set == data_set}
        if len(left) < 2:
            raise UserError(f"{model} knows {left.pop()} alone of the names in {data_set}: at least two are needed.")
    return known, unknown


def load_merged(model: str) -> "Recogniser":
    """Load a model with its adapter merged, which takes half as long to answer."""
    from core.models.checkpoint import merge_adapter
    from core.zoo.registry import load_recogniser

    recogniser = load_recogniser(model)
    merge_adapter(recogniser.mllm)
    return recogniser
