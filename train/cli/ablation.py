"""`python -m train ablation`: train and measure the variants of the paper's figure."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from core.console import natural
from train.choices import Variant
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
    command.add_argument("--seeds", nargs="+", type=natural, default=[0, 1])
    command.add_argument("--work", type=Path, default=Path("runs/ablation"))
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train and measure the variants, and print the table."""
    from train.data.records import check_no_leakage
    from train.data.source import labelled, labelled_for_training, name_of
    from train.data.training_split import TrainingSplit
    from train.evaluation.ablation import ablate, table
    from train.recipe import read_preset

    recipes = [
        read_preset(options.preset, options.set, variant=variant, seed=seed)
        for seed in options.seeds
        for variant in options.variants
    ]
    check_base(recipes[0].base)
    test = labelled(options.data, options.test_csv, "test")
    records = labelled_for_training(options.data, options.csv)
    split = TrainingSplit.of(name_of(options.data), records, share=recipes[0].held_out_share)
    check_no_leakage(split.records, test)
    print(table([ablate(split, test, options.test_csv, recipe, options.work) for recipe in recipes]))
