"""`python -m train run`: train a checkpoint from labelled photos."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from core.console import natural
from train.choices import STAGE_NAMES, Variant
from train.cli.arguments import add_data, add_preset, check_base

if TYPE_CHECKING:
    from train.cli.arguments import Commands

RUNS = Path("runs")  # where training keeps what it needs to continue, unless another folder is given


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m train`."""
    command = commands.add_parser("run", help="train a checkpoint from labelled photos (resumes)")
    add_data(command, "train.csv")
    add_preset(command)
    command.add_argument("--name", help="what the checkpoint, and its model in the app, is called")
    command.add_argument(
        "--variant", choices=get_args(Variant), help="in place of the preset's (finetune: without stage I)"
    )
    command.add_argument("--base", help="in place of the preset's: a folder or a hub repository")
    command.add_argument("--descriptions", type=Path, help="descriptions of single photos, from `train attributes`")
    command.add_argument("--work", type=Path, help="folder for progress and logs (default: runs/PRESET-DATA-SEED)")
    command.add_argument("--out", type=Path, help="folder for the checkpoint (default: the app's)")
    command.add_argument("--seed", type=natural, help="in place of the preset's")
    command.add_argument(
        "--until", choices=STAGE_NAMES, help="train no further than this stage, and write no checkpoint yet"
    )
    command.add_argument("--dry-run", action="store_true", help="show sample batches, lengths and memory; train nothing")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train a checkpoint, or with --dry-run print sample batches.

    Raises `UserError` for a name, a recipe, a base or a folder that cannot be used, before any photo is read.
    """
    from core.errors import UserError
    from core.storage.files import check_writable_folder
    from core.zoo.registry import CHECKPOINTS, zoo
    from train.attributes.photo_files import load_descriptions
    from train.data.records import manifest_hash
    from train.data.source import labelled_for_training, name_of
    from train.data.training_split import TrainingSplit
    from train.loop.pipeline import check_name, train
    from train.recipe import read_preset

    changes = {"variant": options.variant, "seed": options.seed, "base": options.base}
    recipe = read_preset(
        options.preset, options.set, **{key: value for key, value in changes.items() if value is not None}
    )
    if options.until:
        recipe.check_stage(options.until)
    out = options.out or CHECKPOINTS
    if options.name is not None:
        check_name(options.name)
        if (entry := zoo().get(options.name)) and entry.hub:
            raise UserError(f"{options.name} is a model of the hub: give the checkpoint another name.")
    elif not options.dry_run:
        raise UserError("The checkpoint needs a name: give one with --name.")
    if not options.dry_run:
        for folder in (out, options.work or RUNS):
            check_writable_folder(folder)
    check_base(recipe.base)
    descriptions = load_descriptions(options.descriptions) if options.descriptions else None
    records = labelled_for_training(options.data, options.csv)
    split = TrainingSplit.of(name_of(options.data), records, descriptions, recipe.held_out_share)
    if options.dry_run:
        from train.loop.preview import preview

        print(preview(split, recipe))
        return
    data = manifest_hash(split.records)[:8]
    work = options.work or RUNS / f"{Path(options.preset).stem}-{data}-{recipe.seed}"
    train(options.name, split, recipe, work, out, options.until)
