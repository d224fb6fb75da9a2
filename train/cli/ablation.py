"""`python -m train ablation`: train and measure the variants of the paper's figure."""

import argparse
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from core.console import natural
from train.choices import ARMS, Variant
from train.cli.arguments import add_data, add_preset, check_base

if TYPE_CHECKING:
    from train.cli.arguments import Commands


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m train`."""
    variants = get_args(Variant)
    command = commands.add_parser("ablation", help="train and measure the variants of the paper's figure (resumes)")
    add_data(command, "train.csv")
    command.add_argument("--test-csv", default="test.csv", help="name of the CSV files that list the test photos")
    add_preset(command)
    command.add_argument(
        "--variants", nargs="+", choices=variants, default=["finetune", "object-category", "full"], metavar="VARIANT"
    )
    command.add_argument(
        "--arms",
        nargs="+",
        choices=ARMS,
        default=["all"],
        metavar="ARM",
        help="the photos to train on: all, few-shot-4 or few-shot-8 of every category, or (unseen) none of a fifth of "
        "the categories",
    )
    command.add_argument("--seeds", nargs="+", type=natural, default=[0, 1])
    command.add_argument("--work", type=Path, default=Path("runs/ablation"))
    command.add_argument("--out", type=Path, help="folder for the tables (default: results in --work)")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train and measure the variants, write the tables after every run, and print them at the end.

    The warm-up draws image tokens to random words, unless --set says otherwise: so no variant learns names or attributes
    in it.
    """
    from core.storage.files import check_writable_folder
    from train.data.records import check_no_leakage
    from train.data.source import labelled, labelled_for_training, name_of
    from train.data.training_split import TrainingSplit
    from train.evaluation.ablation import ablate
    from train.evaluation.ablation_report import write_report
    from train.evaluation.arms import arm_of, check_nothing_known
    from train.recipe import read_preset

    plain = read_preset(options.preset, ["words=codes", *options.set])
    check_base(plain.base)
    check_nothing_known(options.arms, plain)
    out = options.out or options.work / "results"
    check_writable_folder(out)
    test = labelled(options.data, options.test_csv, "test")
    records = labelled_for_training(options.data, options.csv)
    split = TrainingSplit.of(name_of(options.data), records, share=plain.held_out_share)
    check_no_leakage(split.records, test)
    runs: list[dict] = []
    text = ""
    for name, seed in product(options.arms, options.seeds):
        arm = arm_of(name, split, test, seed)
        for variant in options.variants:
            runs += ablate(arm, plain.changed(variant=variant, seed=seed), options.work)
            text = write_report(runs, out)
    print(text)
