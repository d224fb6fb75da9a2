"""`python -m train run|evaluate|bench`: make checkpoints, measure models."""

import argparse
import json
import logging
import sys
from pathlib import Path

from core.models import CHECKPOINTS


def main(arguments: list[str] | None = None) -> int:
    """Run one command; exit status 0, or 1 after one sentence that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train the embedded checkpoints from labelled photos (resumes)")
    run.add_argument("--data", type=Path, required=True, help="folder of data sets, of class folders, or with a CSV")
    run.add_argument("--csv", default="train.csv", help="name of the CSV files that list the training photos")
    run.add_argument("--work", type=Path, default=Path("runs/tiny"), help="folder for progress and logs")
    run.add_argument("--out", type=Path, default=CHECKPOINTS, help="folder for the checkpoints (default: the app's)")
    run.add_argument("--seed", type=int, default=0)
    measure = commands.add_parser("evaluate", help="accuracy of a model, per data set")
    measure.add_argument("--model", default="finedefics-tiny")
    measure.add_argument("--data", type=Path, required=True)
    measure.add_argument("--csv", default="test.csv")
    measure.add_argument("--seed", type=int, default=0, help="of the shuffled options")
    measure.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    measure.add_argument("--card", action="store_true", help="write the results into the checkpoint's model card")
    speed = commands.add_parser("bench", help="speed, memory, and pictures of other things")
    speed.add_argument(
        "--models", nargs="+", default=["finedefics-tiny", "idefics2-tiny"], help="the first is measured, all are loaded"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)

    from core.errors import UserError

    try:
        {"run": _run, "evaluate": _evaluate, "bench": _bench}[options.command](options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    from train.data import check_no_leakage, csv_files, read_data
    from train.recipe import Recipe
    from train.run import train

    records = read_data(options.data, options.csv)
    if csv_files(options.data, "test.csv") and options.csv != "test.csv":
        check_no_leakage(records, read_data(options.data, "test.csv"))
    train(records, Recipe(seed=options.seed), options.work, options.out, options.data.resolve().name)


def _evaluate(options: argparse.Namespace) -> None:
    from core.errors import UserError
    from core.models import find_entry, load
    from train.card import seen_photos, write_card
    from train.data import read_data
    from train.evaluate import evaluate

    folder = find_entry(options.model).checkpoint
    records = read_data(options.data, options.csv)
    if seen := seen_photos(folder, records):
        warning = (
            f"{options.model} has seen {len(seen)} of these {len(records)} photos in training (for example "
            f"{seen[0].image}): accuracy on them says nothing about others."
        )
        if options.card:
            raise UserError(f"{warning} A model card reports unseen ones.")
        print(warning, file=sys.stderr)
    results = {**evaluate(load(options.model), records, options.csv, options.seed), "seen": len(seen)}
    if options.card:
        write_card(folder, results)
    if options.json:
        print(json.dumps(results))
        return
    columns = list(results["mean"])
    print(f"{'':12}" + "".join(f"{column:>22}" for column in columns))
    for name, row in {**results["sets"], "mean": results["mean"]}.items():
        print(f"{name:12}" + "".join(f"{row[column]:>22}" for column in columns))


def _bench(options: argparse.Namespace) -> None:
    from train.bench import bench

    print(json.dumps(bench(options.models), indent=1))


if __name__ == "__main__":
    sys.exit(main())
