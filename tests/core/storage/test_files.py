"""Where results are to go is checked before long work."""

import errno
import os
import tempfile

import pytest

from core.errors import UserError
from core.storage.files import check_writable_file, check_writable_folder, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_of_every_unicode_form_are_read(tmp_path, encoding):
    (tmp_path / "names.txt").write_text("Épagneul breton\nCardigan", encoding=encoding)
    assert read_text(tmp_path / "names.txt") == "Épagneul breton\nCardigan"


def test_a_text_that_cannot_be_read_has_its_reason(tmp_path):
    (tmp_path / "names.txt").write_text("Cardigan\nÉpagneul", encoding="cp1252")
    (tmp_path / "unmarked.txt").write_bytes("Cardigan\nPug".encode("utf-16-le"))
    (tmp_path / "half.txt").write_bytes("Cardigan".encode("utf-16")[:-1])
    for name, reason in (
        ("names.txt", r"names\.txt, line 2, is not in UTF-8: save the file in UTF-8"),
        ("half.txt", r"half\.txt, line 1, is not in UTF-8"),
        ("unmarked.txt", r"unmarked\.txt is not a text in UTF-8: save the file in UTF-8"),
        ("none.txt", "cannot be read \\(No such file"),
        ("", "cannot be read \\(Is a directory"),
    ):
        with pytest.raises(UserError, match=reason):
            read_text(tmp_path / name)


def test_a_folder_that_permissions_allow_and_the_file_system_refuses(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    for check in (check_writable_folder, check_writable_file):
        with pytest.raises(UserError, match=r"new.* cannot be written: no file can be made in .*\(Read-only"):
            check(tmp_path / "new" / "folder")


def test_a_check_leaves_nothing_behind(tmp_path):
    check_writable_folder(tmp_path)
    check_writable_file(tmp_path / "new" / "results.csv")
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is not a folder"):
        check_writable_folder(tmp_path / "file" / "results")
    with pytest.raises(UserError, match="is a folder: name a file"):
        check_writable_file(tmp_path)
