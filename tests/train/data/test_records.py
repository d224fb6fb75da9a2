import pytest
from PIL import Image

from core.errors import UserError
from train.data.records import (
    check_no_leakage,
    manifest_hash,
    read_class_folders,
    read_csv,
    read_data,
    split_calibration,
)


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


@pytest.fixture
def csv_folder(class_folders):
    rows = [f"{p.relative_to(class_folders)},{p.parent.name}" for p in sorted(class_folders.glob("*/*.png"))]
    (class_folders / "train.csv").write_text("\n".join(["image_path,label", *rows]))
    return class_folders


def test_class_folders_and_csv_give_the_same_records(class_folders, csv_folder):
    folders = read_class_folders(class_folders)
    listed = read_data(csv_folder, "train.csv")
    assert sorted(folders, key=str) == sorted(listed, key=str)
    assert {record.category for record in listed} == {"Cedar Waxwing", "Bohemian Waxwing"}
    assert manifest_hash(folders) == manifest_hash(listed)


def test_a_folder_of_data_sets_is_read_set_by_set(csv_folder):
    assert {record.data_set for record in read_data(csv_folder.parent, "train.csv")} == {"birds"}


def test_the_calibration_part_is_fixed_and_spares_small_categories(class_folders):
    records = read_data(class_folders, "none.csv")
    fitted, held = split_calibration(records)
    assert split_calibration(records[::-1])[1] == held[::-1]
    assert [record.category for record in held] == ["Cedar Waxwing"] * 2  # a tenth of 25, nothing of 5
    assert not {r.sha256 for r in fitted} & {r.sha256 for r in held}


def test_leakage_between_train_and_test_is_an_error(class_folders):
    records = read_data(class_folders, "none.csv")
    check_no_leakage(records[:10], records[10:])
    with pytest.raises(UserError, match="1 test photos are also training photos"):
        check_no_leakage(records[:10], records[9:])


def test_a_photo_under_two_categories_is_an_error(class_folders):
    photo(class_folders / "Bohemian_Waxwing" / "copy.png", 3)
    with pytest.raises(UserError, match="filed as"):
        read_data(class_folders, "none.csv")


def test_missing_files_empty_classes_and_single_classes_are_errors(csv_folder, tmp_path):
    (csv_folder / "Cedar_Waxwing" / "3.png").unlink()
    with pytest.raises(UserError, match="missing"):
        read_data(csv_folder, "train.csv")
    (tmp_path / "one" / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match="no photos"):
        read_data(tmp_path / "one", "none.csv")
    photo(tmp_path / "one" / "empty" / "a.png", 1)
    with pytest.raises(UserError, match="at least two categories"):
        read_data(tmp_path / "one", "none.csv")
    with pytest.raises(UserError, match="no data folder"):
        read_data(tmp_path / "nowhere", "none.csv")


def test_another_csv_is_not_passed_over(csv_folder):
    for folder in (csv_folder, csv_folder.parent):
        with pytest.raises(UserError, match=r"no tset\.csv in .*train\.csv: which one"):
            read_data(folder, "tset.csv")


def test_a_csv_cannot_reach_outside_its_folder(tmp_path):
    (tmp_path / "train.csv").write_text("image_path,label\n../../etc/passwd,bird\n")
    with pytest.raises(UserError, match="outside"):
        read_csv(tmp_path / "train.csv")


def test_a_csv_needs_its_columns(tmp_path):
    (tmp_path / "train.csv").write_text("file,class\na.png,bird\n")
    with pytest.raises(UserError, match="image_path and label"):
        read_csv(tmp_path / "train.csv")


@pytest.mark.parametrize("row", [",Cedar_Waxwing", "0.png,", "0.png,_", "0.png"])
def test_rows_with_an_empty_cell_are_named_by_line(tmp_path, row):
    photo(tmp_path / "0.png", 1)
    (tmp_path / "train.csv").write_text(f"image_path,label\n0.png,Crow\n{row}\n")
    with pytest.raises(UserError, match=r"train\.csv, line 3: image_path or label is empty"):
        read_csv(tmp_path / "train.csv")


def test_a_byte_order_mark_is_no_part_of_a_column(csv_folder):
    text = (csv_folder / "train.csv").read_text()
    (csv_folder / "train.csv").write_text(text, encoding="utf-8-sig")
    assert len(read_csv(csv_folder / "train.csv")) == 30
