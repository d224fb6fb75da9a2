"""Local folders as training reads them, and that the core reads them alike."""

import io
import logging
import unicodedata

import pytest
from PIL import Image

from core.data.photo_sets import REPORT_FILES, open_photo_set
from core.errors import UserError
from train.data.records import manifest_hash
from train.data.source import labelled, labelled_for_training, read_folder


def photo(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade % 256, shade // 256, 0)).save(path)


@pytest.fixture
def csv_folder(class_folders):
    rows = [f"{p.relative_to(class_folders)},{p.parent.name}" for p in sorted(class_folders.glob("*/*.png"))]
    (class_folders / "train.csv").write_text("\n".join(["image_path,label", *rows]))
    return class_folders


def test_class_folders_and_csv_give_the_same_records(class_folders, csv_folder):
    (class_folders / "train.csv").rename(class_folders.parent / "aside")
    folders = read_folder(class_folders, "train.csv")
    (class_folders.parent / "aside").rename(class_folders / "train.csv")
    listed = read_folder(csv_folder, "train.csv")
    assert sorted(folders, key=str) == sorted(listed, key=str)
    assert {record.category for record in listed} == {"Cedar Waxwing", "Bohemian Waxwing"}
    assert manifest_hash(folders) == manifest_hash(listed)


def test_a_folder_of_data_sets_is_read_set_by_set(csv_folder):
    assert {record.data_set for record in read_folder(csv_folder.parent, "train.csv")} == {"birds"}


def test_a_photo_under_two_categories_is_an_error(class_folders):
    photo(class_folders / "Bohemian_Waxwing" / "copy.png", 3)
    with pytest.raises(UserError, match="filed as"):
        read_folder(class_folders, "none.csv")


def test_missing_files_empty_classes_and_single_classes_are_errors(csv_folder, tmp_path):
    (csv_folder / "Cedar_Waxwing" / "3.png").unlink()
    with pytest.raises(UserError, match=r"lists 'Cedar_Waxwing/3\.png', which is not among the photos"):
        read_folder(csv_folder, "train.csv")
    photo(tmp_path / "one" / "full" / "a.png", 1)
    (tmp_path / "one" / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match="empty holds no photos: remove it"):
        read_folder(tmp_path / "one", "none.csv")
    (tmp_path / "one" / "empty").rmdir()
    with pytest.raises(UserError, match="at least two categories, but has the one class folder 'full'"):
        read_folder(tmp_path / "one", "none.csv")
    with pytest.raises(UserError, match="neither class folders with photos nor a none.csv"):
        read_folder(tmp_path / "one" / "full", "none.csv")
    (tmp_path / "one" / "full").rename(tmp_path / "one" / "crow")
    with pytest.raises(UserError, match="no data folder"):
        read_folder(tmp_path / "nowhere", "none.csv")


def test_another_csv_is_not_passed_over(csv_folder):
    for folder in (csv_folder, csv_folder.parent):
        with pytest.raises(UserError, match=r"no tset\.csv in .*train\.csv: which one"):
            read_folder(folder, "tset.csv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("file,class\na.png,bird", "must name the columns image_path and label, but is 'file,class'"),
        ("image_path;label\n0.png;Crow", "separates its columns by semicolons"),
        ("image_path,label\n../../etc/passwd,bird", "outside the set"),
        ("image_path,label\n,Crow", "line 2: image_path is empty"),
        ("image_path,label\n0.png,", "gives no label for .*0.png"),
        ("image_path,label\n0.png,_", "gives no label for"),
        ("image_path,label\n0.png\n1.png", r"gives no label for .* \(and 1 more\)"),
        ("image_path,label\n0.png,Crow\n0.png,Jay", "twice: as 'Crow' and as 'Jay'"),
    ],
)
def test_a_csv_that_cannot_be_used_is_one_sentence(tmp_path, rows, message):
    photo(tmp_path / "0.png", 1)
    photo(tmp_path / "1.png", 2)
    (tmp_path / "train.csv").write_text(rows)
    with pytest.raises(UserError, match=message):
        read_folder(tmp_path, "train.csv")


def test_a_byte_order_mark_is_no_part_of_a_column(csv_folder):
    text = (csv_folder / "train.csv").read_text()
    (csv_folder / "train.csv").write_text(text, encoding="utf-8-sig")
    assert len(read_folder(csv_folder, "train.csv")) == 30


def test_the_core_and_training_read_a_set_alike(tmp_path):
    photo(tmp_path / "d" / "014.Indigo_Bunting" / "1.png", 1)
    photo(tmp_path / "d" / "n02113186-Cardigan" / "2.jfif", 2)
    photo(tmp_path / "d" / "Caf\u00e9  au  lait" / "a  b.JPE", 3)
    for litter in (".ipynb_checkpoints", "__MACOSX/x", "@eaDir", "014.Indigo_Bunting/.hidden"):
        photo(tmp_path / "d" / litter / "1.png", 9)
    photo(tmp_path / "d" / "014.Indigo_Bunting" / "._1.png", 10)
    with open_photo_set(tmp_path / "d") as photos:
        core = [(item.path, item.category, item.sha256) for item in photos]
    records = labelled(str(tmp_path / "d"), "train.csv", "train")
    assert [(record.image, record.category, record.sha256) for record in records] == core
    assert [record.category for record in records] == ["Indigo Bunting", "Caf\u00e9 au lait", "Cardigan Welsh Corgi"]
    assert {record.data_set for record in records} == {"d"}


def test_results_among_the_photos_are_no_part_of_them(class_folders):
    records = read_folder(class_folders, "train.csv")
    (class_folders / "map.csv").write_text("model,kind,category,data_set,photo,sha256,x,y\n")
    report = class_folders / "report"
    report.mkdir()
    for name in REPORT_FILES:
        (report / name).write_text("photo,label,data_set,sha256,error\n")
    assert read_folder(class_folders, "train.csv") == records


def test_a_csv_may_lead_beside_itself_name_data_sets_and_repeat_a_row(tmp_path):
    photo(tmp_path / "photos" / "a" / "1.png", 1)
    photo(tmp_path / "photos" / "2.png", 2)
    (tmp_path / "lists").mkdir()
    rows = "image_path,label,data_set\n..\\photos\\a\\1.png,Crow,birds\n../photos/2.png,Jay,\n../photos/2.png,jay,"
    (tmp_path / "lists" / "train.csv").write_text(rows)
    records = read_folder(tmp_path, "train.csv")
    assert [(record.category, record.data_set) for record in records] == [("Crow", "birds"), ("Jay", "lists")]


def test_all_photos_that_cannot_be_read_are_told_at_once(class_folders, caplog):
    caplog.set_level(logging.WARNING)
    buffer = io.BytesIO()
    Image.effect_noise((90, 90), 50).save(buffer, "JPEG")
    for name in ("Cedar_Waxwing/bad.jpg", "Bohemian_Waxwing/bad.jpg"):  # the same bytes: no reason to complain of labels
        (class_folders / name).write_bytes(buffer.getvalue()[:600])
    (class_folders / "Cedar_Waxwing" / "IMG.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (class_folders / "Cedar_Waxwing" / "empty.png").touch()
    (class_folders / "Phoenix").mkdir()
    (class_folders / "Phoenix" / "notes.txt").write_text("none yet")
    (class_folders / "README.md").write_text("my birds")
    records = labelled(str(class_folders), "none.csv", "train")
    assert len(records) == 30
    for text in (
        "bad.jpg: The image file is damaged",
        "IMG.HEIC: This HEIC file is damaged, or holds no photo",
        "notes.txt: This is not",
    ):
        assert text in caplog.text
    for text in (
        "empty.png: The file is empty",
        "README.md: it is not in a class folder",
        "5 of 35 photos cannot be read",
    ):
        assert text in caplog.text
    assert "No photo can be read of: Phoenix." in caplog.text


def test_heic_photos_are_used_like_others(class_folders, encode):
    (class_folders / "Heron").mkdir()
    for number in range(2):
        picture = Image.effect_noise((90, 90), 50 + number).convert("RGB")
        (class_folders / "Heron" / f"IMG_{number}.HEIC").write_bytes(encode(picture, "HEIF"))
    records = labelled(str(class_folders), "none.csv", "train")
    assert [record.category for record in records].count("Heron") == 2


def test_a_category_whose_photos_cannot_be_read_is_not_enough(tmp_path):
    photo(tmp_path / "crow" / "1.png", 1)
    (tmp_path / "jay").mkdir()
    (tmp_path / "jay" / "1.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(UserError, match="two categories, but all that can be used are of crow"):
        labelled(str(tmp_path), "none.csv", "train")


def test_parts_and_different_depths_are_named(tmp_path):
    for part in ("train", "val"):
        for i, label in enumerate(("crow", "jay")):
            photo(tmp_path / "parts" / part / label / f"{part}.png", i + 3 * (part == "val"))
    with pytest.raises(
        UserError, match=r"parts train and val of a data set: name one of them, such as .*/parts/train\."
    ):
        read_folder(tmp_path / "parts", "none.csv")
    assert len(read_folder(tmp_path / "parts" / "train", "none.csv")) == 2
    photo(tmp_path / "deep" / "jay" / "1.png", 1)
    photo(tmp_path / "deep" / "crow" / "old" / "2.png", 2)
    with pytest.raises(UserError, match="deep/jay and in .*deep/crow/old lie at different depths"):
        read_folder(tmp_path / "deep", "none.csv")


def test_a_folder_around_the_class_folders_and_data_sets_of_class_folders_are_read(tmp_path):
    for name in ("all/birds/crow", "all/birds/jay", "sets/birds/crow", "sets/birds/jay", "sets/dogs/pug"):
        photo(tmp_path / name / "1.png", len(name))
    assert [r.category for r in read_folder(tmp_path / "all", "none.csv")] == ["crow", "jay"]
    sets = [(r.data_set, r.category) for r in read_folder(tmp_path / "sets", "none.csv")]
    assert sets == [("birds", "crow"), ("birds", "jay"), ("dogs", "Pug")]


def test_test_photos_beside_those_to_train_on_are_found(csv_folder):
    rows = (csv_folder / "train.csv").read_text().splitlines()
    (csv_folder / "test.csv").write_text("\n".join([rows[0], rows[1], rows[-1]]))
    with pytest.raises(UserError, match="2 test photos are also training photos"):
        labelled_for_training(str(csv_folder), "train.csv")


def test_the_hash_of_a_set_is_that_of_earlier_checkpoints(tmp_path):
    (tmp_path / "a_b").mkdir()
    (tmp_path / "a_b" / "1.png").write_bytes(b"1")
    (tmp_path / "cedar_waxwing").mkdir()
    (tmp_path / "cedar_waxwing" / "2.png").write_bytes(b"2")
    assert manifest_hash(read_folder(tmp_path, "none.csv")) == "d2ba0ce331e92bdd"


def test_class_folders_that_differ_in_spelling_are_one_category(tmp_path):
    decomposed = unicodedata.normalize("NFD", "\u00c9pagneul")
    names = ["Fly Agaric", "fly agaric", "\u00c9pagneul", f"001.{decomposed}", "Cep \u2640", "Cep \u2642"]
    for shade, name in enumerate(names):
        photo(tmp_path / name / f"{shade}.png", shade)
    categories = sorted(record.category for record in read_folder(tmp_path, "none.csv"))
    assert categories[:4] == ["Cep \u2640", "Cep \u2642", "Fly Agaric", "Fly Agaric"]
    assert categories[4:] == ["\u00c9pagneul", "\u00c9pagneul"]
