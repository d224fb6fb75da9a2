"""`python -m train negatives`: print the hard negatives of every category."""

import argparse
from typing import TYPE_CHECKING, get_args

from core.console import at_least_one
from train.choices import NegativesBy
from train.cli.arguments import add_data, add_preset, check_base

if TYPE_CHECKING:
    from train.cli.arguments import Commands


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m train`."""
    command = commands.add_parser("negatives", help="print every category's hard negatives")
    add_data(command, "train.csv")
    add_preset(command)
    command.add_argument("--by", choices=get_args(NegativesBy), help="in place of the preset's")
    command.add_argument("--top", type=at_least_one, help="how many, if not as many as the preset trains with")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print every category's hard negatives with their similarities."""
    from core.models.base_models import open_base
    from train.data.feature_cache import mean_features
    from train.data.hard_negatives import report, similarity
    from train.data.source import labelled
    from train.data.training_set import categories_of
    from train.recipe import read_preset

    recipe = read_preset(options.preset, options.set)
    by, means = options.by or recipe.negatives_by, None
    if by != "descriptions":
        check_base(recipe.base)
    records = labelled(options.data, options.csv, "train")
    categories = categories_of(records)
    names, groups = [c.name for c in categories], [c.super_category.name for c in categories]
    if by != "descriptions":
        means = mean_features(open_base(recipe.base), records, None, names).cpu().numpy()
    print(report(names, similarity(names, by, means), groups, options.top or recipe.hard_negatives))
