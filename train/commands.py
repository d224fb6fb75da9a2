"""What `python -m train` does once its arguments are understood."""

import argparse
import json
import sys
from pathlib import Path

from core.errors import UserError
from core.models import find_entry, load
from train.data import Record, check_no_leakage, csv_files, read_data
from train.data_sets import detect, read_hub, read_official
from train.recipe import Recipe, read_preset
from train.run import Photos, train

HUB = "hf:"


def labelled(data: str, csv: str, split: str) -> list[Record]:
    """The labelled photos of whatever `--data` names. Raises `UserError` if there is nothing to be read."""
    if data.startswith(HUB):
        return read_hub(data.removeprefix(HUB), split)
    folder = Path(data)
    if folder.is_dir() and not csv_files(folder, csv) and detect(folder):
        return read_official(folder, split)
    return read_data(folder, csv)


def photos_to_train_on(options: argparse.Namespace, descriptions: Path | None = None) -> Photos:
    """The photos to train on, none of which may be in the test part beside them."""
    from train.attributes.sources import load_descriptions

    records = labelled(options.data, options.csv, "train")
    folder = Path(options.data)
    if folder.is_dir() and options.csv != "test.csv" and csv_files(folder, "test.csv"):
        check_no_leakage(records, read_data(folder, "test.csv"))
    told = load_descriptions(descriptions) if descriptions else None
    return Photos.of(folder.resolve().name if folder.is_dir() else options.data, records, told)


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The preset with what the command line changes."""
    changes = {"variant": options.variant, "seed": options.seed}
    return read_preset(options.preset, **changes, **({"base": options.base} if options.base else {}))


def run(options: argparse.Namespace) -> None:
    """Train a checkpoint, or with `--dry-run` show what would be trained on."""
    photos, recipe = photos_to_train_on(options, options.descriptions), recipe_of(options)
    if options.dry_run:
        from train.preview import preview

        print(preview(photos, recipe))
        return
    work = options.work or Path("runs") / f"{Path(options.preset).stem}-{options.seed}"
    train(options.name, photos, recipe, work, options.out)


def evaluate(options: argparse.Namespace) -> None:
    """Print a model's accuracy, and write it into its card if asked to."""
    from train.card import seen_photos, write_card
    from train.evaluate import evaluate as measure

    folder = find_entry(options.model).checkpoint
    records = labelled(options.data, options.csv, "test")
    if seen := seen_photos(folder, records):
        warning = (
            f"{options.model} has seen {len(seen)} of these {len(records)} photos in training (for example "
            f"{seen[0].image}): accuracy on them says nothing about others."
        )
        if options.card:
            raise UserError(f"{warning} A model card reports unseen ones.")
        print(warning, file=sys.stderr)
    results = {**measure(load(options.model), records, options.csv, options.seed), "seen": len(seen)}
    if options.card:
        write_card(folder, results)
    if options.json:
        print(json.dumps(results))
        return
    columns = list(results["mean"])
    print(f"{'':12}" + "".join(f"{column:>22}" for column in columns))
    for name, row in {**results["sets"], "mean": results["mean"]}.items():
        print(f"{name:12}" + "".join(f"{row[column]:>22}" for column in columns))


def ablation(options: argparse.Namespace) -> None:
    """Train and measure the variants, and print the table."""
    from train.ablation import ablate, table

    test = labelled(options.data, options.test_csv, "test")
    photos = photos_to_train_on(options)
    check_no_leakage(photos.records, test)
    recipes = [
        read_preset(options.preset, variant=variant, seed=seed) for seed in options.seeds for variant in options.variants
    ]
    print(table([ablate(photos, test, recipe, options.work) for recipe in recipes]))


def negatives(options: argparse.Namespace) -> None:
    """Print every category's look-alikes."""
    from core.bases import EMBEDDED, open_base
    from train.features import mean_features
    from train.negatives import report, similarity

    records = labelled(options.data, options.csv, "train")
    names = sorted({record.category for record in records})
    by_words = options.by == "descriptions"
    means = None if by_words else mean_features(open_base(EMBEDDED), records, None, names).cpu().numpy()
    print(report(names, similarity(names, options.by, means), options.top))


def export(options: argparse.Namespace) -> None:
    """Merge a checkpoint's adapter into its base and write the whole model."""
    from train.export import export as merge

    merge(find_entry(options.model).checkpoint, options.base, options.out)


def bench(options: argparse.Namespace) -> None:
    """Print speed, memory, and what becomes of pictures of other things."""
    from train.bench import bench as measure

    print(json.dumps(measure(options.models), indent=1))
