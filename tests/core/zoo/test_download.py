"""Downloads of the models of the table, in a process of their own, by name and from the command line."""

import threading

import pytest
from hub_server import CHUNK, COMMIT

from core.cli import main
from core.errors import UserError
from core.progress import run
from core.zoo.download import download, find_download
from core.zoo.registry import availability, find_entry


def test_the_command_downloads_by_name_or_repository_and_says_what_the_model_can_do(local_hub, capsys, caplog):
    assert availability(find_entry("reduced")).startswith("It needs a download of 0.1 GB: run `.venv/bin/python -m core")
    with caplog.at_level("INFO"):
        assert main(["download", "owner/reduced"]) == 0
    assert "0.1 GB, licence: MIT (not verified) (https://huggingface.co/owner/reduced)" in caplog.text
    assert f"reduced is here, at commit {COMMIT}: ready" in capsys.readouterr().out
    asked = len(local_hub.requests)
    assert main(["download", "reduced"]) == 0
    assert len(local_hub.requests) == asked  # nobody asks for what is here


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("owner/other", "There is no model 'owner/other': choose one of reduced, pickled."),
        ("../reduced", "There is no model '../reduced'"),
        ("hf:owner/reduced", "There is no model 'hf:owner/reduced'"),
        ("served", "served needs a server of its own, which downloads it: start E 1 with `serve it`."),
        ("finedefics-tiny", "comes with the app or was trained here: there is nothing to download."),
    ],
)
def test_nothing_but_the_models_of_the_table_is_downloaded(name, sentence, local_hub):
    with pytest.raises(UserError) as raised:
        find_download(name)
    assert sentence in str(raised.value)


def test_a_refusal_comes_from_the_process_as_its_sentence(local_hub):
    local_hub.refuse = (403, "GatedRepo")
    with pytest.raises(UserError, match=r"owner/reduced is gated \(403\): accept its terms"):
        run(download(find_entry("reduced")))


def test_an_index_that_names_missing_files_is_told(local_hub):
    local_hub.files["model.safetensors.index.json"] = b'{"weight_map": {"a": "model-00002-of-00002.safetensors"}}'
    with pytest.raises(UserError, match="reduced is incomplete: its index names files that owner/reduced does not have"):
        run(download(find_entry("reduced")))


def test_who_stops_waits_for_nothing_and_goes_on_from_there(local_hub, tmp_path):
    local_hub.files["model.safetensors"] += b"\0" * 2 * CHUNK
    local_hub.hold = threading.Event()
    steps = download(find_entry("reduced"))
    for _ in steps:
        if local_hub.holding.is_set() and any(path.stat().st_size >= CHUNK for path in tmp_path.rglob("*.incomplete")):
            break
    steps.close()  # while the server holds the rest back
    (kept,) = tmp_path.rglob("*.incomplete")
    kept_size = kept.stat().st_size
    assert kept_size >= CHUNK
    local_hub.hold.set()
    run(download(find_entry("reduced")))
    assert local_hub.ranges("model.safetensors") == ["", f"bytes={kept_size}-"]
    assert not list(tmp_path.rglob("*.incomplete"))
