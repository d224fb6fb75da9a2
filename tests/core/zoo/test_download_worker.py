"""One repository from a hub on loopback: whole, broken off, wrong, refused; what is kept, and what is said."""

import os
import shutil

import pytest
from filelock import FileLock
from hub_server import COMMIT

from core.errors import UserError
from core.models import open_question_model
from core.zoo.download_worker import fetch
from core.zoo.hub import local_folder, local_revision
from core.zoo.model_rows import NOT_VERIFIED, Hub

WEIGHTS = "model.safetensors"


def row(**fields):
    return Hub.model_validate(
        {
            "repository": "owner/reduced",
            "revision": NOT_VERIFIED,
            "licence": {"name": "MIT"},
            "download_gb": NOT_VERIFIED,
            "memory_gb": NOT_VERIFIED,
            **fields,
        }
    )


def quiet(*_):
    """Report nothing."""


@pytest.fixture(autouse=True)
def online(local_hub, monkeypatch):
    """This process may talk to the hub, as the one in which the worker runs."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def blobs(tmp_path):
    return tmp_path / "cache/models--owner--reduced/blobs"


def partial(blobs):
    (path,) = blobs.glob("*.incomplete")
    return path


def test_a_model_is_downloaded_whole_and_opens(local_hub, reduced_repository):
    told = []
    assert fetch(row(), lambda *step: told.append(step)) == COMMIT
    folder = local_folder(row())
    assert {path.name for path in folder.iterdir()} == {
        name for name in reduced_repository if name.endswith((".json", ".safetensors", ".jinja", ".txt"))
    }
    assert all((folder / path.name).read_bytes() == reduced_repository[path.name] for path in folder.iterdir())
    assert open_question_model(str(folder)).name == COMMIT
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert any("about 0 s left" in text for _, text in told)
    assert told[-1][1].startswith("0.00 of 0.00 GB")


def test_the_commit_of_the_newest_is_recorded(local_hub):
    assert local_revision(row()) == NOT_VERIFIED
    fetch(row(), quiet)
    assert local_revision(row()) == COMMIT
    assert local_hub.requests[0][1] == "/api/models/owner/reduced"


def test_a_row_with_a_commit_gets_that_one_alone(local_hub):
    assert fetch(row(revision=COMMIT), quiet) == COMMIT
    assert local_hub.requests[0][1] == f"/api/models/owner/reduced/revision/{COMMIT}"
    with pytest.raises(UserError, match="answered with another commit"):
        fetch(row(revision="0" * 40), quiet)


def test_a_row_that_names_pickled_weights_gets_them_and_no_other(local_hub):
    fetch(row(weights="pytorch_model.bin", exclude=["*.safetensors"]), quiet)
    loaded = {path.rpartition("/")[2] for method, path, _ in local_hub.requests if method == "GET"}
    assert "pytorch_model.bin" in loaded
    assert not {"training_args.bin", WEIGHTS, "model.onnx", "modeling.py"} & loaded


def test_a_connection_that_breaks_goes_on_where_it_was(local_hub):
    local_hub.break_at = 50_000
    fetch(row(), quiet)
    first, second = local_hub.ranges(WEIGHTS)
    assert first == ""
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 50_000
    assert local_folder(row())


def test_what_a_killed_download_left_is_not_received_again(local_hub, blobs, reduced_repository):
    fetch(row(), quiet)
    whole = next(path for path in blobs.iterdir() if path.read_bytes() == reduced_repository[WEIGHTS])
    os.truncate(whole, 70_000)
    whole.rename(f"{whole}.incomplete")
    (blobs.parent / f"snapshots/{COMMIT}/{WEIGHTS}").unlink()
    local_hub.requests.clear()
    told = []
    fetch(row(), lambda *step: told.append(step))
    assert local_hub.ranges(WEIGHTS) == ["bytes=70000-"]
    assert local_hub.ranges("config.json") == []
    assert told[1][0] >= 70_000 / sum(map(len, reduced_repository.values()))
    assert local_folder(row())


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_file_with_another_hash_is_refused_and_removed(name, local_hub, blobs):
    data = local_hub.files[name]
    local_hub.sent[name] = bytes([data[0] ^ 1]) + data[1:]
    with pytest.raises(UserError, match=f"{name} of owner/reduced is not the file that the hub lists"):
        fetch(row(), quiet)
    assert not list(blobs.glob("*.incomplete"))
    assert local_folder(row()) is None
    local_hub.sent.clear()
    fetch(row(), quiet)
    assert local_folder(row())


def test_a_damaged_file_of_an_earlier_download_is_replaced(local_hub, blobs, reduced_repository):
    fetch(row(), quiet)
    for path in blobs.iterdir():
        if path.read_bytes() == reduced_repository[WEIGHTS]:
            path.write_bytes(b"\0" * path.stat().st_size)
        elif path.read_bytes() == reduced_repository["config.json"]:
            path.write_bytes(b"{}")
    fetch(row(), quiet)
    assert (local_folder(row()) / WEIGHTS).read_bytes() == reduced_repository[WEIGHTS]
    assert (local_folder(row()) / "config.json").read_bytes() == reduced_repository["config.json"]


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (401, "", r"private or gone \(401\): look at https://huggingface.co/owner/reduced, log in with"),
        (401, "GatedRepo", r"gated \(401\): accept its terms on https://huggingface.co/owner/reduced, log in with"),
        (403, "GatedRepo", r"gated \(403\)"),
        (403, "", r"gated \(403\)"),
        (404, "RepoNotFound", r"private or gone \(404\)"),
        (500, "", r"an error \(500\): try again later"),
    ],
)
@pytest.mark.parametrize("what", ["refuse", "refuse_list"])
def test_what_the_hub_refuses_is_one_sentence_with_the_remedy(what, status, code, sentence, local_hub):
    setattr(local_hub, what, (status, code))
    with pytest.raises(UserError, match=sentence) as raised:
        fetch(row(), quiet)
    assert "\n" not in str(raised.value)
    assert local_folder(row()) is None


def test_a_commit_that_is_gone_is_one_sentence(local_hub):
    local_hub.refuse_list = (404, "RevisionNotFound")
    with pytest.raises(UserError, match="has no commit c0c0.* any more: correct its row"):
        fetch(row(revision=COMMIT), quiet)


def test_no_network_is_one_sentence(local_hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="The hub cannot be reached .*: check the network, and try again; what is here"):
        fetch(row(), quiet)


def test_a_disk_that_is_too_full_is_told_before_anything_is_received(local_hub, blobs, monkeypatch):
    monkeypatch.setattr(
        "core.zoo.download_worker.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 2 * 10**9)
    )
    with pytest.raises(UserError, match="needs 0.0 GB more and 2 GB to spare, and 2.0 GB are free"):
        fetch(row(), quiet)
    assert not list(blobs.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_a_disk_that_fills_up_is_one_sentence_and_keeps_what_is_here(local_hub, blobs, monkeypatch):
    monkeypatch.setattr("core.zoo.download_worker.RemoteFile.partial", property(lambda file: blobs / "full"))
    blobs.mkdir(parents=True)
    (blobs / "full").symlink_to("/dev/full")
    with pytest.raises(UserError, match="There is no room left in .*: make room, and download again; what is here"):
        fetch(row(), quiet)


@pytest.mark.parametrize("name", ["../../evil.json", "/evil.json", "a/../../../evil.json"])
def test_a_file_outside_of_the_repository_is_refused_before_anything_is_received(name, local_hub, blobs, tmp_path):
    local_hub.listed["config.json"] = name
    with pytest.raises(UserError, match="has no place, size or hash"):
        fetch(row(), quiet)
    assert len(local_hub.requests) == 1
    assert not list(tmp_path.rglob("evil.json"))


def test_a_repository_without_the_files_of_the_row_is_refused_before_anything_is_received(local_hub):
    del local_hub.files[WEIGHTS]
    with pytest.raises(UserError, match="has no config.json or no model.safetensors at c0c0c0c, so nothing"):
        fetch(row(), quiet)
    assert len(local_hub.requests) == 1


def test_a_file_under_another_hash_than_the_list_has_is_not_put_in_place(local_hub, tmp_path):
    local_hub.etags["config.json"] = "ab" * 20
    with pytest.raises(UserError, match="gave another config.json than it lists"):
        fetch(row(), quiet)
    assert not list(tmp_path.rglob("snapshots/*/config.json"))
    assert local_folder(row()) is None


def test_one_download_of_a_repository_at_a_time(local_hub, tmp_path, monkeypatch):
    monkeypatch.setattr("core.zoo.download_worker.LOCK_SECONDS", 0)
    locks = tmp_path / "cache/.locks/models--owner--reduced"
    locks.mkdir(parents=True)
    with FileLock(locks / "download.lock"), pytest.raises(UserError, match="is being downloaded already"):
        fetch(row(), quiet)
