import csv
import io
import os
import sqlite3
import stat
import threading
import zipfile
from contextlib import closing

import pytest
from PIL import Image
from skimage import data as pictures

from core.errors import UserError
from demo import history_store as module
from demo.history_store import MAX_NAME, History, new_key
from train.data.source import read_folder

RESULT = {"photo": "cat.png", "model": "finedefics-tiny", "known": True, "species": [{"name": "Bengal"}]}


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "folder" / "history.sqlite")


@pytest.fixture(scope="module")
def cat():
    return Image.fromarray(pictures.chelsea())


def picture(shade):
    return Image.new("RGB", (32, 32), (shade, 90, 200))


def keep(history, key, shade=10, **changes):
    history.keep(key, bytes([shade]), picture(shade), RESULT | changes)
    return history.rows(key)[0].id


def test_what_is_kept_comes_back_newest_first(history, cat, encode):
    key, upload = new_key(), encode(cat)
    history.keep(key, upload, cat, RESULT)
    keep(history, key, model="idefics2-tiny")
    newest, oldest = history.rows(key)
    assert newest.model == "idefics2-tiny"
    assert oldest.result == RESULT
    assert oldest.correction == ""
    assert oldest.photo_hash == module.hashlib.sha256(upload).hexdigest()
    with Image.open(io.BytesIO(oldest.thumbnail)) as thumbnail:
        assert thumbnail.format == "JPEG"
        assert max(thumbnail.size) == 160


def test_copies_of_photos_hold_no_more_than_pixels(history):
    photo = picture(1)
    photo.info["exif"] = b"Exif\0\0 taken at home"
    history.keep(new_key(), b"1", photo, RESULT)
    assert b"taken at home" not in content(history)
    assert photo.info  # the caller's photo is left alone


def test_two_browsers_share_nothing(history):
    mine, yours = new_key(), new_key()
    row = keep(history, mine)
    keep(history, yours)
    for refused in (lambda: history.correct(yours, row, "Crow"), lambda: history.delete(yours, row)):
        with pytest.raises(UserError, match="no longer in the history"):
            refused()
    assert history.clear(yours) == 1
    assert [r.correction for r in history.rows(mine)] == [""]
    with pytest.raises(UserError, match="no corrections"):
        history.export_corrections(yours)


def test_keys_are_long_random_and_not_stored(history):
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(module.is_key(key) for key in keys)
    key = keys.pop()
    keep(history, key)
    assert key.encode() not in content(history)
    for guess in ("", None, "x", 1, "' OR 1=1 --"):
        with pytest.raises(UserError, match="Nothing is kept"):
            history.rows(guess)


def content(history):
    return b"".join(path.read_bytes() for path in history.path.parent.iterdir())


@pytest.mark.parametrize("way", ["delete", "clear"])
def test_deleted_photos_are_no_longer_in_the_file(history, cat, way):
    key, other = new_key(), new_key()
    keep(history, other)
    history.keep(key, b"secret", cat, RESULT | {"photo": "my-secret-cat.png"})
    row = history.rows(key)[0]
    with sqlite3.connect(history.path) as connection:
        (photo,) = connection.execute("SELECT photo FROM identifications WHERE id = ?", (row.id,)).fetchone()
    before, size = content(history), history.path.stat().st_size
    told = [b"my-secret-cat", row.photo_hash.encode()]
    told += [data[i : i + 32] for data in (photo, row.thumbnail) for i in range(600, len(data), 32)]
    pieces = [piece for piece in told if piece in before]  # all but those that lie across two pages of the file
    assert len(pieces) > 0.95 * len(told)
    history.delete(key, row.id) if way == "delete" else history.clear(key)
    after = content(history)
    assert not any(piece in after for piece in pieces)
    assert history.path.stat().st_size < size
    assert history.rows(key) == []
    assert len(history.rows(other)) == 1


def test_a_deleted_photo_leaves_the_log_although_others_have_the_file_open(history, cat):
    key = new_key()
    keep(history, key)
    with sqlite3.connect(history.path) as connection:  # an open connection keeps the log
        connection.execute("SELECT count(*) FROM identifications").fetchall()
        history.keep(key, b"secret", cat, RESULT)
        thumbnail = history.rows(key)[0].thumbnail[500:700]
        assert thumbnail in content(history)
        history.delete(key, history.rows(key)[0].id)
        assert thumbnail not in content(history)
    connection.close()


def test_it_is_said_when_deleted_bytes_must_wait(history, cat, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 0.1)
    key = new_key()
    row = keep(history, key)
    reader = sqlite3.connect(history.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM identifications").fetchall()
    with pytest.raises(UserError, match="Another program is reading"):
        history.delete(key, row)
    reader.close()
    assert history.rows(key) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is empty"),
        ("  _ ", "is empty"),
        ("x" * (MAX_NAME + 1), "longer than 100"),
        ("Cedar\nWaxwing", "unprintable"),
        ("Cedar\x00", "unprintable"),
        ("Waxwing \u202egnp.exe", "unprintable"),
    ],
)
def test_bad_corrections_are_refused(history, name, message):
    key = new_key()
    row = keep(history, key)
    with pytest.raises(UserError, match=message):
        history.correct(key, row, name)
    assert history.rows(key)[0].correction == ""


def test_a_correction_is_of_the_photo(history):
    key = new_key()
    row = keep(history, key)
    keep(history, key, model="idefics2-tiny")
    keep(history, key, shade=99)
    assert history.correct(key, row, " cedar_waxwing ") == "Cedar Waxwing"
    keep(history, key)  # the same photo once more
    assert [r.correction for r in history.rows(key)] == ["Cedar Waxwing", "", "Cedar Waxwing", "Cedar Waxwing"]


LABELS = ["=cmd|' /C calc'!A1", "+1+1", "-2", "@SUM(A1)", 'a "quoted", name', "Cedar Waxwing", "Grünspecht", "\uff1d1"]


@pytest.fixture
def exported(history, tmp_path):
    key = new_key()
    for shade, label in enumerate(LABELS):
        history.correct(key, keep(history, key, 25 * shade), label)
    keep(history, key, 250)  # not corrected
    with zipfile.ZipFile(io.BytesIO(history.export_corrections(key))) as archive:
        archive.extractall(tmp_path / "data")
    return tmp_path / "data"


def test_exported_corrections_are_what_training_reads(exported):
    records = read_folder(exported, "train.csv")
    assert [record.category for record in records] == LABELS
    assert len({record.sha256 for record in records}) == len(LABELS)
    for record in records:
        with Image.open(record.image) as image:
            assert image.format == "JPEG"


def test_no_exported_cell_is_a_formula(exported):
    with (exported / "train.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert all(cell[0].isalnum() or cell[0] == "_" for cell in cells)


def test_a_photo_corrected_twice_is_exported_once(history, tmp_path):
    key = new_key()
    row = keep(history, key)
    keep(history, key, model="idefics2-tiny")
    for name in ("Crow", "Raven"):
        history.correct(key, row, name)
    with zipfile.ZipFile(io.BytesIO(history.export_corrections(key))) as archive:
        assert archive.read("train.csv").decode().splitlines()[1].endswith(",Raven")
        assert len(archive.namelist()) == 2


def test_the_file_is_for_its_owner_alone_and_logs_ahead(history):
    keep(history, new_key())
    assert stat.S_IMODE(os.stat(history.path).st_mode) == 0o600
    with sqlite3.connect(history.path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_browsers_can_keep_at_once(history):
    keys = [new_key() for _ in range(4)]
    threads = [threading.Thread(target=lambda k=key: [keep(history, k, i) for i in range(5)]) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(history.rows(key)) for key in keys] == [5] * 4


def test_the_first_row_is_kept_while_another_process_has_the_empty_file_open(history):
    """The change to write-ahead logging does not wait for a reader: no reader can be there before it."""
    history.path.parent.mkdir(parents=True)
    history.path.touch()
    with closing(sqlite3.connect(history.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
        keep(history, new_key())


def test_reading_does_not_wait_for_a_write(history, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 0)
    key = new_key()
    row = keep(history, key)
    with closing(sqlite3.connect(history.path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert [kept.id for kept in history.rows(key)] == [row]


def test_there_is_a_limit(history, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 2)
    key = new_key()
    keep(history, key)
    keep(history, key)
    with pytest.raises(UserError, match="delete some first"):
        keep(history, key)
    keep(history, new_key())


def test_a_file_that_is_no_history_is_a_message(tmp_path):
    (tmp_path / "history.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"history\.sqlite cannot be used"):
        History(tmp_path / "history.sqlite").rows(new_key())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be used"):
        keep(History(tmp_path / "file" / "history.sqlite"), new_key())


def test_the_file_is_created_when_the_first_row_is_kept(history):
    key = new_key()
    assert history.rows(key) == []
    assert history.clear(key) == 0
    for refused in (lambda: history.correct(key, 1, "Crow"), lambda: history.delete(key, 1)):
        with pytest.raises(UserError, match="no longer in the history"):
            refused()
    with pytest.raises(UserError, match="no corrections"):
        history.export_corrections(key)
    assert not history.path.parent.exists()
    keep(history, key)
    assert history.path.is_file()


def test_it_is_in_the_cache_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path))
    history = History()
    keep(history, new_key())
    assert (tmp_path / "history.sqlite").is_file()
