"""The arms of an ablation: which photos it trains on, and which names it chooses from for test photos."""

import random
from collections import defaultdict
from dataclasses import dataclass, replace

from core.errors import UserError
from core.taxonomy.categories import name_key
from train.data.records import Record, by_data_set, split_known
from train.data.training_split import TrainingSplit
from train.recipe import Recipe

UNSEEN_SHARE = 0.2  # of the categories of a data set
FEW_SHOT = "few-shot-"  # and the number of photos per category


@dataclass(frozen=True)
class NamedTest:
    """The test photos of one data set, and the names that are chosen from."""

    photos: list[Record]
    names: list[str]


@dataclass(frozen=True)
class Arm:
    """An arm with one seed: the photos to train on, and the test photos under each condition, per data set."""

    name: str
    split: TrainingSplit
    conditions: dict[str, dict[str, NamedTest]]
    calibrated: bool  # whether the ranking is: there are photos of all categories for that


def arm_of(name: str, split: TrainingSplit, test: list[Record], seed: int) -> Arm:
    """Return one of `train.choices.ARMS`.

    Raises `UserError` for a data set with too few categories to leave some out.
    """
    tests = {data_set: NamedTest(group, _names(group)) for data_set, group in by_data_set(test).items()}
    if name.startswith(FEW_SHOT):
        training = few_shot(split.training, int(name.removeprefix(FEW_SHOT)), seed)
        return Arm(name, split.only(training, []), {name: tests}, calibrated=False)
    if name != "unseen":
        return Arm(name, split, {name: tests}, calibrated=True)
    unseen = unseen_categories(test, seed)
    training, held_out = (split_known(part, unseen)[1] for part in (split.training, split.held_out))
    photos = by_data_set(split_known(test, unseen)[0])
    conditions = {
        "unseen, among unseen names": {data_set: NamedTest(group, _names(group)) for data_set, group in photos.items()},
        "unseen, among all names": {data_set: replace(tests[data_set], photos=g) for data_set, g in photos.items()},
    }
    return Arm(name, split.only(training, held_out), conditions, calibrated=False)


def _names(records: list[Record]) -> list[str]:
    return sorted({record.category for record in records})


def few_shot(records: list[Record], count: int, seed: int) -> list[Record]:
    """Return at most `count` photos of every category, drawn by the seed; those of a smaller count are among them."""
    by_category: dict[str, dict[str, Record]] = defaultdict(dict)
    for record in records:
        by_category[record.category][record.sha256] = record
    chosen = []
    for category, photos in sorted(by_category.items()):
        order = sorted(photos)
        random.Random(f"{seed} few-shot {category}").shuffle(order)
        chosen += [photos[sha256] for sha256 in order[:count]]
    return chosen


def unseen_categories(test: list[Record], seed: int) -> list[str]:
    """Return the categories without photos in training: `UNSEEN_SHARE` of every data set, at least two.

    A category of two data sets that is drawn in one of them is unseen in both. Raises `UserError` for a data set of
    which fewer than two categories would be left.
    """
    unseen: dict[str, str] = {}
    for data_set, group in by_data_set(test).items():
        names = _names(group)
        count = max(2, round(UNSEEN_SHARE * len(names)))
        if len(names) - count < 2:
            raise UserError(f"{data_set} has {len(names)} categories: the arm unseen needs at least 4 to leave out 2.")
        drawn = random.Random(f"{seed} unseen {data_set}").sample(names, count)
        unseen |= {name_key(name): name for name in drawn}
    return sorted(unseen.values())


def check_nothing_known(arms: list[str], recipe: Recipe) -> None:
    """Raise `UserError` if a recipe begins with weights that may know photos which one of the arms leaves out."""
    left_out = [arm for arm in arms if arm != "all"]
    for field in ("encoder_file", "start_file"):
        if left_out and getattr(recipe, field):
            raise UserError(
                f"What {field} holds was trained on photos that the arm {left_out[0]} leaves out: leave {field} out of "
                "the recipe, or choose --arms all."
            )
