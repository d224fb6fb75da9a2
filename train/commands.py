"""What `python -m train` does once its arguments are understood."""

import argparse
import json
import logging
import sys
from pathlib import Path

from core.errors import UserError
from core.models.checkpoint import merge_adapter
from core.recognition.recogniser import Recogniser
from core.zoo.registry import find_entry, load
from train.data.official import detect, read_foci, read_hub, read_official
from train.data.records import (
    Record,
    check_no_leakage,
    check_one_category_per_photo,
    csv_files,
    manifest_hash,
    read_data,
)
from train.loop.pipeline import Photos, train
from train.recipe import Recipe, read_preset

log = logging.getLogger(__name__)

HUB = "hf:"


def labelled(data: str, csv: str, split: str) -> list[Record]:
    """The labelled photos of whatever `--data` names. Raises `UserError` if there is nothing to be read."""
    if data.startswith(HUB):
        records = read_hub(data.removeprefix(HUB), split)
    elif _is_official(Path(data), csv):
        records = read_official(Path(data), split)
    else:
        return read_data(Path(data), csv)
    check_one_category_per_photo(records)
    return records


def _is_official(folder: Path, csv: str) -> bool:
    return folder.is_dir() and not csv_files(folder, csv) and detect(folder) is not None


def photos_to_train_on(options: argparse.Namespace, descriptions: Path | None = None) -> Photos:
    """The photos to train on, none of which may be in the test part that a folder has beside them."""
    from train.attributes.photo_files import load_descriptions

    records = labelled(options.data, options.csv, "train")
    folder = Path(options.data)
    if folder.is_dir() and options.csv != "test.csv" and csv_files(folder, "test.csv"):
        check_no_leakage(records, read_data(folder, "test.csv"))
    elif _is_official(folder, options.csv):
        try:
            test = read_official(folder, "test")
        except UserError as error:
            log.warning("Whether test photos are among those to train on is not checked: %s", error)
        else:
            check_no_leakage(records, test)
    told = load_descriptions(descriptions) if descriptions else None
    return Photos.of(folder.resolve().name if folder.is_dir() else options.data, records, told)


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The preset with what the command line changes."""
    changes = {"variant": options.variant, "seed": options.seed, "base": options.base}
    return read_preset(options.preset, **{key: value for key, value in changes.items() if value is not None})


def run(options: argparse.Namespace) -> None:
    """Train a checkpoint, or with `--dry-run` show what would be trained on."""
    photos, recipe = photos_to_train_on(options, options.descriptions), recipe_of(options)
    if options.dry_run:
        from train.loop.preview import preview

        print(preview(photos, recipe))
        return
    if options.name is None:
        raise UserError("The checkpoint needs a name: give one with --name.")
    data = manifest_hash(photos.records)[:8]
    work = options.work or Path("runs") / f"{Path(options.preset).stem}-{data}-{recipe.seed}"
    train(options.name, photos, recipe, work, options.out)


def evaluate(options: argparse.Namespace) -> None:
    """Print a model's accuracy, and write it into its card if asked to. Its adapter is merged: half as long to wait."""
    from train.evaluation.accuracy import evaluate as measure
    from train.evaluation.accuracy import foci_accuracy
    from train.publish.model_card import seen_photos, write_card

    if options.foci:
        recogniser = _merged(options.model)
        print(json.dumps(foci_accuracy(recogniser, read_foci(options.foci), Path(options.data), options.seed)))
        return
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
    results = {**measure(_merged(options.model), records, options.csv, options.seed), "seen": len(seen)}
    if options.card:
        write_card(folder, results)
    if options.json:
        print(json.dumps(results))
        return
    columns = list(results["mean"])
    print(f"{'':12}" + "".join(f"{column:>22}" for column in columns))
    for name, row in {**results["sets"], "mean": results["mean"]}.items():
        print(f"{name:12}" + "".join(f"{row[column]:>22}" for column in columns))


def _merged(model: str) -> Recogniser:
    recogniser = load(model)
    merge_adapter(recogniser.mllm)
    return recogniser


def ablation(options: argparse.Namespace) -> None:
    """Train and measure the variants, and print the table."""
    from train.evaluation.ablation import ablate, table

    test = labelled(options.data, options.test_csv, "test")
    photos = photos_to_train_on(options)
    check_no_leakage(photos.records, test)
    recipes = [
        read_preset(options.preset, variant=variant, seed=seed) for seed in options.seeds for variant in options.variants
    ]
    print(table([ablate(photos, test, options.test_csv, recipe, options.work) for recipe in recipes]))


def negatives(options: argparse.Namespace) -> None:
    """Print every category's look-alikes."""
    from core.models.base_models import open_base
    from train.data.feature_cache import mean_features
    from train.data.hard_negatives import report, similarity
    from train.data.training_set import categories_of

    recipe = read_preset(options.preset)
    by = options.by or recipe.negatives_by
    records = labelled(options.data, options.csv, "train")
    categories = categories_of(records)
    names, groups = [c.name for c in categories], [c.super_category.name for c in categories]
    means = None if by == "descriptions" else mean_features(open_base(recipe.base), records, None, names).cpu().numpy()
    print(report(names, similarity(names, by, means), groups, options.top or recipe.hard_negatives))


def export(options: argparse.Namespace) -> None:
    """Merge a checkpoint's adapter into its base and write the whole model."""
    from train.publish.export import export as merge

    merge(find_entry(options.model).checkpoint, options.base, options.out)


def bench(options: argparse.Namespace) -> None:
    """Print speed, memory, and what becomes of pictures of other things."""
    from train.evaluation.bench import bench as measure

    print(json.dumps(measure(options.models), indent=1))
