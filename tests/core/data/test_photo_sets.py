"""Sets of labelled photos: ZIPs, folders, files, and what is wrong with some of them."""

import os
import struct
import zipfile
import zlib

import pytest

from core.data import archive
from core.data.photo_sets import MAX_PHOTOS, open_photo_set
from core.errors import UserError


def items_of(*paths):
    with open_photo_set(list(paths)) as items:
        return items


def labels_of(*paths):
    return {item.name: (item.label, item.dataset) for item in items_of(*paths)}


def test_labels_come_from_class_folders(packed):
    flat = packed([("photos/1.png", b""), ("photos/2.png", b"")])
    assert set(labels_of(flat).values()) == {("", "")}
    classes = packed([("top/001.Cedar_Waxwing/1.png", b""), ("top/n02085620-Chihuahua/2.png", b""), ("top/3.png", b"")])
    assert list(labels_of(classes).values()) == [("Cedar Waxwing", ""), ("Chihuahua", ""), ("", "")]
    sets = packed([("birds/crow/1.png", b""), ("dogs/pug/2.png", b"")])
    assert list(labels_of(sets).values()) == [("crow", "birds"), ("pug", "dogs")]
    assert list(labels_of(packed([("Cedar_Waxwing/1.png", b"")])).values()) == [("Cedar Waxwing", "")]
    similar = packed([("red fox/1.png", b""), ("red kite/2.png", b"")])
    assert [label for label, _ in labels_of(similar).values()] == ["red fox", "red kite"]


def test_labels_come_from_a_csv(packed, tmp_path):
    table = b"\xef\xbb\xbfimage_path,label,data_set\nx/1.png,Crow,mine\n2.png,,\n"
    path = packed([("a/labels.csv", table), ("a/x/1.png", b""), ("a/2.png", b""), ("a/3.png", b"")])
    assert labels_of(path) == {"a/x/1.png": ("Crow", "mine"), "a/2.png": ("", ""), "a/3.png": ("", "")}
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "folder")
    assert labels_of(tmp_path / "folder") == labels_of(path)
    files = [tmp_path / "folder/a/x/1.png", tmp_path / "own.csv"]
    files[1].write_text("image_path,label\n1.png,Crow\n")
    assert labels_of(*files) == {"1.png": ("Crow", "")}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"path,name\n1.png,Crow\n", "first line of labels.csv must name the columns .* but is 'path,name'"),
        (b"", "labels.csv is empty"),
        (b"image_path,label\n", "no rows below its first line"),
        (b"\xff\xfe\x00", "is in UTF-16"),
        ("image_path,label\n1.png,Crow\n".encode("utf-16-le"), "is in UTF-16: save it as .CSV UTF-8."),
        ("image_path,label\n1.png,M\xfcller\n".encode("cp1252"), "line 2, is not in UTF-8"),
        (b"image_path;label\n1.png;Crow\n", "separates its columns by semicolons"),
        (b'"image_path"\t"label"\n1.png\tCrow\n', "separates its columns by tabs"),
        (b"sep=;\nimage_path;label\n1.png;Crow\n", "begins with 'sep=;', .* save it with commas and without that line"),
        (b"image_path,label\n,Crow\n", "line 2: image_path is empty"),
        (b"image_path,label\n1.png,Crow\n9.png,Crow\n8.png,Crow\n", r"lists '9.png' \(and 1 more\)"),
        (b"image_path,label\n../../etc/passwd,Crow\n", "outside the set"),
        (b"image_path,label\n../1.png,Crow\n", "outside the set"),
        (b"image_path,label\n/1.png,Crow\n", "outside the set"),
        (b"image_path,label\n1.png,Crow\n1.png,Jay\n", "twice: as 'Crow' and as 'Jay'"),
        (b"image_path,label\n1.png," + b"x" * 101, "longer than 100 characters"),
    ],
)
def test_a_csv_that_does_not_fit_is_one_sentence(packed, table, message):
    with pytest.raises(UserError, match=message):
        items_of(packed([("labels.csv", table), ("1.png", b"")]))


def test_of_several_csvs_the_one_with_the_columns_has_the_labels(packed):
    table = b"image_path,label\n1.png,Crow\n"
    assert labels_of(packed([("labels.csv", table), ("cameras.csv", b"photo,camera\n"), ("1.png", b"")])) == {
        "1.png": ("Crow", "")
    }
    with pytest.raises(UserError, match="more than one CSV"):
        items_of(packed([("labels.csv", table), ("more.csv", table), ("1.png", b"")]))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "There are no photos"),
        ([("__MACOSX/a.png", b""), (".DS_Store", b""), ("x/Thumbs.db", b"")], "There are no photos"),
        ([("a.png", b""), ("more.ZIP", b"")], "more.ZIP is an archive among other files"),
        ([("a.csv", b""), ("b.csv", b""), ("a.png", b"")], "more than one CSV"),
        ([(f"{i}.png", b"") for i in range(2_001)], "limit is 2000"),
        ([("a.bmp", bytes(2 * 2**20))], "over 100 times its size"),
    ],
)
def test_archives_of_other_things_are_refused(packed, files, message, monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 2**20)
    with pytest.raises(UserError, match=message):
        items_of(packed(files))


def test_an_archive_that_unpacks_to_too_much_is_refused(packed, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED", 10)
    with pytest.raises(UserError, match="holds more than"):
        items_of(packed([("a.png", b"12345"), ("b.png", b"123456")]))


def test_encrypted_and_broken_archives_are_refused(packed, tmp_path):
    path = packed([("a.png", b"x")])
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\1\2") + 8
    data[place : place + 2] = struct.pack("<H", 1)
    path.write_bytes(data)
    with pytest.raises(UserError, match="is encrypted"):
        items_of(path)
    path.write_bytes(b"PK, but not more")
    with pytest.raises(UserError, match="not a readable ZIP"):
        items_of(path)
    with pytest.raises(UserError, match="no file or folder"):
        items_of(tmp_path / "none.zip")


def test_names_in_an_archive_lead_nowhere(packed):
    hostile = ["../../etc/passwd", "/root/a.png", "C:\\x\\..\\b.png", "a\u202eb\n.png", f"{'n' * 300}.png"]
    names = list(labels_of(packed([(name, b"") for name in hostile])))
    assert names[:4] == ["etc/passwd", "root/a.png", "C:/x/b.png", "a?b .png"]
    assert len(names[4]) == 200


def test_no_more_of_a_photo_is_read_than_may_be(packed, monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 1_000)
    path = packed([("a.bmp", bytes(1_005))], method=zipfile.ZIP_STORED)
    with open_photo_set([path]) as items:
        assert len(items[0].read()) == 1_001


def write(folder, *names, data=b"x"):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def found(folder, csv=None):
    with open_photo_set(folder, csv, any_size=True) as photos:
        return {photo.name: photo.label for photo in photos}


def test_what_systems_put_beside_photos_is_left_out_of_folders_and_archives(tmp_path, packed):
    litter = [
        ".git/1.png",
        "__MACOSX/a/._1.png",
        "@eaDir/1.png",
        "a/._1.png",
        "a/Thumbs.db",
        "b/.DS_Store",
        "B/desktop.ini",
    ]
    folder = write(tmp_path / "set", "a/1.png", "b/1.png", *litter)
    assert found(folder) == {"a/1.png": "a", "b/1.png": "b"}
    assert found(packed([(path, b"") for path in ("a/1.png", "b/1.png", *litter)])) == found(folder)


def test_class_numbers_are_no_part_of_a_label(tmp_path):
    folder = write(tmp_path, "095.Oriole/1.png", "n02113186-Cardigan/1.png", "1. Robin/1.png", "3.0 turbo/1.png")
    assert set(found(folder).values()) == {"Oriole", "Cardigan", "Robin", "3.0 turbo"}
    (folder / "test.csv").write_text("image_path,label\n095.Oriole/1.png,014.Indigo_Bunting\n")
    assert found(folder, "test.csv") == {"095.Oriole/1.png": "Indigo Bunting"}


def test_a_common_parent_may_have_any_name_and_other_files_do_not_move_it(tmp_path):
    long = "n" * 120
    assert set(found(write(tmp_path, f"{long}/a/1.png", f"{long}/b/1.png", "README.md")).values()) == {"a", "b", ""}


def test_the_named_csv_finds_odd_names(tmp_path):
    names = ["a  b.png", "Caf\u00e9.png", "two\nlines.png"]
    write(tmp_path, "Cafe\u0301.png", names[0], names[2])  # as macOS writes it
    (tmp_path / "test.csv").write_text('image_path,label\na  b.png,A\nCaf\u00e9.png,B\n"two\nlines.png",C\n')
    assert list(found(tmp_path, "test.csv").values()) == ["A", "B", "C"]


def test_a_csv_beside_the_folder_of_photos_leads_to_it_but_not_out_of_the_set(tmp_path, packed):
    folder = write(tmp_path / "set", "photos/1.png")
    write(tmp_path, "secret.png")
    write(folder, "secret.png", "labels/photos/1.png")
    table = folder / "labels" / "test.csv"
    for row in ("../photos/1.png", "..\\photos\\1.png", str(folder / "photos" / "1.png")):
        table.write_text(f"image_path,label\n{row},Crow\n")
        assert found(folder)["photos/1.png"] == "Crow"
        assert found(folder, "test.csv") == {"photos/1.png": "Crow"}
    table.write_text("image_path,label\n../../secret.png,Crow\n")
    for csv in (None, "test.csv"):
        with pytest.raises(UserError, match="outside the set"):
            found(folder, csv)
    rows = b"image_path,label\n../photos/1.png,Crow\n"
    assert found(packed([("labels/x.csv", rows), ("photos/1.png", b"")])) == {"photos/1.png": "Crow"}


@pytest.mark.parametrize(
    "table",
    [
        "image_path,label\r1.png,Crow\r",
        "\ufeffimage_path,label\r\n1.png,Crow\r\n,\r\n",
        "image_path,label\n1.png,Crow\n1.png,crow\n",
        "Image_Path , Label\n1.png, Crow\n",
        "label,image_path\nCrow,1.png",
    ],
)
def test_harmless_habits_of_spreadsheets_are_accepted(tmp_path, table):
    write(tmp_path, "1.png", "test.csv", data=table.encode())
    assert found(tmp_path) == found(tmp_path, "test.csv") == {"1.png": "Crow"}


def test_a_column_names_the_data_set(tmp_path):
    write(tmp_path / "all", "1.png", "2.png")
    (tmp_path / "all/test.csv").write_text("image_path,label,data_set\n1.png,Crow,birds\n2.png,Jay,\n")
    with open_photo_set(tmp_path, "test.csv") as photos:
        assert [photo.dataset for photo in photos] == ["birds", "all"]


def test_any_size_is_read_on_request_from_folders_and_archives(tmp_path, packed):
    many = packed([(f"a/{i}.png", b"") for i in range(MAX_PHOTOS + 1)])
    assert len(found(many)) == MAX_PHOTOS + 1
    folder = write(tmp_path / "many", *(f"{i}.png" for i in range(MAX_PHOTOS + 1)))
    assert len(found(folder)) == MAX_PHOTOS + 1
    with pytest.raises(UserError, match="limit is 2000"):
        items_of(folder)


def test_names_in_utf8_without_the_flag_are_read_as_they_are(packed):
    path = packed([("Epagneul/1.png", b""), ("Mxller/1.png", b"")])
    data = path.read_bytes().replace(b"Epagneul", "\u00c9pagneu".encode()).replace(b"Mxller", b"M\x81ller")  # cp437
    path.write_bytes(data)
    assert list(found(path).values()) == ["\u00c9pagneu", "M\u00fcller"]


@pytest.mark.parametrize(("checksum", "name"), [(0, "M\u00fcller"), (1, "M\u25a0ller")])
def test_the_name_in_unicode_beside_that_of_a_code_page_is_used_where_it_belongs_to_it(tmp_path, checksum, name):
    stored = b"M\xfeller/1.png"  # in a code page that has this character elsewhere
    own = struct.pack("<BL", 1, zlib.crc32(stored) ^ checksum) + "M\u00fcller/1.png".encode()
    info = zipfile.ZipInfo("Mxller/1.png")
    info.extra = struct.pack("<HHB", 0x9999, 1, 0) + struct.pack("<HH", 0x7075, len(own)) + own
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(info, b"x")
        packed.writestr("b/1.png", b"x")
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"Mxller/1.png", stored))
    assert list(found(tmp_path / "a.zip").values()) == [name, "b"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path / "photos", "1.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a").symlink_to(tmp_path / "photos")
    (tmp_path / "set/b").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/up").symlink_to(tmp_path / "set")
    assert found(tmp_path / "set") == {"a/1.png": "a", "b/1.png": "b"}


def test_the_report_of_an_earlier_study_is_no_part_of_the_set(tmp_path):
    write(tmp_path, "a/1.png", "b/1.png", "report/study.csv", "report/study.html", "report/study.json")
    assert found(tmp_path) == {"a/1.png": "a", "b/1.png": "b"}


def test_a_photo_knows_its_file_its_hash_and_its_category(tmp_path):
    write(tmp_path, "cedar_waxwing/1.png", "jay/1.png", data=b"abc")
    with open_photo_set(tmp_path) as photos:
        first = photos[0]
    assert (first.path, first.category) == (tmp_path / "cedar_waxwing/1.png", "Cedar Waxwing")
    assert first.sha256.startswith("ba7816bf")


def test_names_that_are_no_text_are_shown_as_text(tmp_path):
    name = os.fsdecode(b"Caf\xe9")
    try:
        write(tmp_path, f"{name}/1.png", "b/1.png")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    assert found(tmp_path) == {"Caf?/1.png": "Caf?", "b/1.png": "b"}
