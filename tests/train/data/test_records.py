from pathlib import Path

import pytest

from core.errors import UserError
from train.data.records import Record, check_no_leakage, split_calibration, split_known
from train.data.source import read_folder


def test_the_calibration_part_is_fixed_and_spares_small_categories(class_folders):
    records = read_folder(class_folders, "none.csv")
    training, held_out = split_calibration(records)
    assert split_calibration(records[::-1])[1] == held_out[::-1]
    assert [record.category for record in held_out] == ["Cedar Waxwing"] * 2  # a tenth of 25, nothing of 5
    assert not {r.sha256 for r in training} & {r.sha256 for r in held_out}


def test_copies_of_one_photo_do_not_take_a_category_out_of_the_training_part():
    copies = [Record(Path(f"{number}.jpg"), "Cep", "", "same") for number in range(9)]
    others = [Record(Path(f"{number}.jpg"), "Fly Agaric", "", str(number)) for number in range(9)]
    training, held_out = split_calibration([*copies, *others])
    assert [record for record in training if record.category == "Cep"] == copies
    assert [record.category for record in held_out] == ["Fly Agaric"]


def test_leakage_between_train_and_test_is_an_error(class_folders):
    records = read_folder(class_folders, "none.csv")
    check_no_leakage(records[:10], records[10:])
    with pytest.raises(UserError, match="1 test photos are also training photos"):
        check_no_leakage(records[:10], records[9:])


def test_categories_are_known_in_any_spelling():
    records = [Record(Path("1.jpg"), name, "", "") for name in ("Death_Cap", "Cep")]
    known, unknown = split_known(records, ["death cap"])
    assert [record.category for record in known] == ["Death_Cap"]
    assert [record.category for record in unknown] == ["Cep"]
