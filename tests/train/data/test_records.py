import pytest
from PIL import Image

from core.errors import UserError
from train.data.records import check_no_leakage, split_calibration
from train.data.source import read_folder


def photo(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade % 256, shade // 256, 0)).save(path)


@pytest.fixture
def class_folders(tmp_path):
    for i in range(25):
        photo(tmp_path / "birds" / "Cedar_Waxwing" / f"{i}.png", i)
    for i in range(5):
        photo(tmp_path / "birds" / "Bohemian_Waxwing" / f"{i}.png", 100 + i)
    return tmp_path / "birds"


def test_the_calibration_part_is_fixed_and_spares_small_categories(class_folders):
    records = read_folder(class_folders, "none.csv")
    training, held_out = split_calibration(records)
    assert split_calibration(records[::-1])[1] == held_out[::-1]
    assert [record.category for record in held_out] == ["Cedar Waxwing"] * 2  # a tenth of 25, nothing of 5
    assert not {r.sha256 for r in training} & {r.sha256 for r in held_out}


def test_leakage_between_train_and_test_is_an_error(class_folders):
    records = read_folder(class_folders, "none.csv")
    check_no_leakage(records[:10], records[10:])
    with pytest.raises(UserError, match="1 test photos are also training photos"):
        check_no_leakage(records[:10], records[9:])
