"""`python -m train ...`: make checkpoints, measure models."""

import argparse
import logging
import sys
from pathlib import Path

from core.zoo.registry import CHECKPOINTS
from train import attributes


def main(arguments: list[str] | None = None) -> int:
    """Run one command; exit status 0, or 1 after one sentence that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="train a checkpoint from labelled photos (resumes)")
    _add_data(run, "train.csv")
    run.add_argument("--preset", default="tiny-cpu", help="a recipe of train/presets, or a YAML file of that form")
    run.add_argument("--name", help="what the checkpoint, and its model in the app, is called")
    run.add_argument("--variant", help="in place of the preset's: full, finetune (no stage I) or object-category")
    run.add_argument("--base", help="in place of the preset's: a folder or a hub repository")
    run.add_argument("--descriptions", type=Path, help="descriptions of single photos, from `train attributes`")
    run.add_argument("--work", type=Path, help="folder for progress and logs (default: runs/PRESET-DATA-SEED)")
    run.add_argument("--out", type=Path, default=CHECKPOINTS, help="folder for the checkpoint (default: the app's)")
    run.add_argument("--seed", type=int, help="in place of the preset's")
    run.add_argument("--dry-run", action="store_true", help="show sample batches, lengths and memory; train nothing")

    measure = commands.add_parser("evaluate", help="accuracy of a model, per data set")
    measure.add_argument("--model", default="finedefics-tiny")
    _add_data(measure, "test.csv")
    measure.add_argument("--seed", type=int, default=0, help="of the shuffled options")
    measure.add_argument("--foci", type=Path, metavar="FILE", help="answer its questions about the photos in the folder")
    measure.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    measure.add_argument("--card", action="store_true", help="write the results into the checkpoint's model card")

    compare = commands.add_parser("ablation", help="train and measure the variants of the paper's figure (resumes)")
    _add_data(compare, "train.csv")
    compare.add_argument("--test-csv", default="test.csv")
    compare.add_argument("--preset", default="tiny-cpu")
    compare.add_argument("--variants", nargs="+", default=["finetune", "object-category", "full"])
    compare.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    compare.add_argument("--work", type=Path, default=Path("runs/ablation"))

    negatives = commands.add_parser("negatives", help="print every category's look-alikes")
    _add_data(negatives, "train.csv")
    negatives.add_argument("--preset", default="tiny-cpu")
    negatives.add_argument("--by", help="in place of the preset's: descriptions, photos or both")
    negatives.add_argument("--top", type=int, help="how many, if not as many as the preset trains with")

    merge = commands.add_parser("export", help="merge a checkpoint into its base: a folder as the hub knows it")
    merge.add_argument("--model", required=True, help="a name that `python -m core models` lists")
    merge.add_argument("--base", default="", help="where the base is, if not where the checkpoint says")
    merge.add_argument("--out", type=Path, required=True)

    attributes.add_arguments(commands.add_parser("attributes", help="make attribute descriptions of photos"))

    speed = commands.add_parser("bench", help="speed, memory, and pictures of other things")
    speed.add_argument(
        "--models", nargs="+", default=["finedefics-tiny", "idefics2-tiny"], help="the first is measured, all are loaded"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)

    from core.errors import UserError
    from train import commands as does

    try:
        {
            "run": does.run,
            "evaluate": does.evaluate,
            "ablation": does.ablation,
            "negatives": does.negatives,
            "export": does.export,
            "attributes": attributes.run,
            "bench": does.bench,
        }[options.command](options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _add_data(parser: argparse.ArgumentParser, csv: str) -> None:
    parser.add_argument(
        "--data",
        required=True,
        help="class folders, a folder with a CSV (or of such folders), an official data set, or hf:OWNER/NAME",
    )
    parser.add_argument("--csv", default=csv, help="name of the CSV files that list the photos")


if __name__ == "__main__":
    sys.exit(main())
