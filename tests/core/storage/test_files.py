"""Where results are to go is checked before long work."""

import errno
import os
import tempfile

import pytest

from core.errors import UserError
from core.storage.files import check_writable_file, check_writable_folder


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
