from collections import Counter
from pathlib import Path

import pytest

from core.errors import UserError
from core.taxonomy.categories import name_key
from train.data.records import Record
from train.data.training_split import TrainingSplit
from train.evaluation.arms import arm_of, check_nothing_known
from train.recipe import read_preset

BREEDS = ["Beagle", "Boxer", "Pug", "Havanese", "Samoyed"]


def records(data_set, names, count, part):
    return [
        Record(Path(f"{part}/{name}/{i}.jpg"), name, data_set, f"{part} {name} {i}")
        for name in names
        for i in range(count)
    ]


@pytest.fixture
def photos():
    """Two data sets, with a breed in both; 10 photos of every category to train on, 2 to test."""
    kinds = {"dog": BREEDS, "pet": ["Beagle", "Ragdoll", "Birman", "Bengal", "Siamese"], "bird": list("ABCDEFGHIJ")}
    training = [r for kind, names in kinds.items() for r in records(kind, names, 10, f"train {kind}")]
    test = [r for kind, names in kinds.items() for r in records(kind, names, 2, f"test {kind}")]
    return TrainingSplit.of("all", training), test


def test_the_arm_of_all_photos_leaves_none_out(photos):
    split, test = photos
    arm = arm_of("all", split, test, seed=0)
    assert arm.split is split
    assert arm.calibrated
    assert {name: len(one.names) for name, one in arm.conditions["all"].items()} == {"dog": 5, "pet": 5, "bird": 10}


def test_few_photos_of_every_category_are_drawn_by_the_seed(photos):
    split, test = photos
    four, eight = (arm_of(f"few-shot-{count}", split, test, seed=0) for count in (4, 8))
    assert set(Counter(record.category for record in four.split.training).values()) == {4}
    assert set(four.split.training) < set(eight.split.training) < set(split.training)
    assert not four.split.held_out
    assert four.split.training == arm_of("few-shot-4", split, test, seed=0).split.training
    assert four.split.training != arm_of("few-shot-4", split, test, seed=1).split.training


@pytest.mark.parametrize("seed", range(5))
def test_unseen_categories_have_no_photos_in_training(photos, seed):
    split, test = photos
    arm = arm_of("unseen", split, test, seed)
    among_unseen, among_all = (arm.conditions[f"unseen, among {names} names"] for names in ("unseen", "all"))
    unseen = {name_key(record.category) for one in among_all.values() for record in one.photos}
    assert not unseen & {name_key(record.category) for record in arm.split.records}
    assert {record.category for record in split.records} == {
        record.category for record in [*arm.split.records, *arm.split.left_out]
    }
    for data_set, one in among_unseen.items():
        assert one.photos == among_all[data_set].photos
        assert 2 <= len(one.names) < len(among_all[data_set].names)
        assert {record.category for record in one.photos} == set(one.names)
    assert len(among_unseen["bird"].names) == 2
    assert len(among_all["bird"].names) == 10


def test_the_seed_chooses_the_unseen_categories(photos):
    names = {
        tuple(one.names)
        for seed in range(6)
        for one in [arm_of("unseen", *photos, seed).conditions["unseen, among unseen names"]["bird"]]
    }
    assert len(names) > 1


def test_a_data_set_of_three_categories_cannot_leave_some_out():
    split, test = (records("dog", BREEDS[:3], count, "part") for count in (10, 1))
    with pytest.raises(UserError, match="dog has 3 categories: the arm unseen needs at least 4"):
        arm_of("unseen", TrainingSplit.of("dogs", split), test, seed=0)


def test_weights_that_know_more_photos_are_refused():
    recipe = read_preset("tiny-cpu", encoder_file="encoder.safetensors")
    check_nothing_known(["all"], recipe)
    with pytest.raises(UserError, match="the arm few-shot-4 leaves out: leave encoder_file out"):
        check_nothing_known(["all", "few-shot-4"], recipe)
