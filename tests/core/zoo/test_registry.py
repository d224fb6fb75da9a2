"""Models by name: of the table, of the hub, of a folder; and what the tabs are offered."""

import pytest

from core.errors import UserError
from core.zoo import hub, registry
from core.zoo.registry import (
    availability,
    available_models,
    find_entry,
    find_source,
    load,
    load_listed,
    load_recogniser,
    zoo,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and memory for everything."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "free_memory", lambda: (True, 80))
    return tmp_path / "cache"


def put_in_cache(cache, name, *files):
    """Put a repository's files where the hub's tools put its newest commit."""
    folder = cache / f"models--{find_entry(name).hub.repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in files:
        (snapshot / file).write_text("{}")


@pytest.mark.parametrize(
    ("name", "source", "revision"),
    [
        ("hf:owner/name", "owner/name", ""),
        ("hf:Owner-1/na.me_2@main", "Owner-1/na.me_2", "main"),
        (f"hf:owner/name@{COMMIT}", "owner/name", COMMIT),
        ("hf:owner/name@refs/pr/5", "owner/name", "refs/pr/5"),
    ],
)
def test_any_repository_of_the_hub_is_a_source(name, source, revision):
    found = find_source(name)
    assert (found.name, found.source, found.revision, found.row) == (name, source, revision, None)


@pytest.mark.parametrize(
    "name", ["hf:", "hf:name", "hf:owner/", "hf:a/b/c", "hf:owner/name@", "hf:owner/name@a b", "hf:../name", "hf:a/-b\n"]
)
def test_a_name_that_is_no_repository_is_told_in_one_sentence(name):
    with pytest.raises(UserError, match="names no repository of the hub: write hf:OWNER/NAME or hf:OWNER/NAME@revision"):
        find_source(name)


def test_a_repository_of_the_table_keeps_what_its_row_says():
    found = find_source("hf:Salesforce/blip2-flan-t5-xl@main")
    assert found.revision == "main"


def test_a_folder_is_a_source(tmp_path):
    with pytest.raises(UserError, match=f"no model '{tmp_path}': .*, hf:OWNER/NAME, a folder with a config.json"):
        find_source(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    found = find_source(str(tmp_path))
    assert (found.name, found.source, found.row) == (tmp_path.name, str(tmp_path), None)


def test_a_row_is_a_source_at_its_commit_or_at_that_of_the_copy_here(cache):
    assert find_source("finedefics-tiny").source == str(registry.CHECKPOINTS / "finedefics-tiny")
    assert find_source("siglip-so400m").revision == "9fdffc58afc957d1a03a25b10dba0329ab15c2a3"
    assert find_source("smolvlm2-256m").revision == ""
    put_in_cache(cache, "smolvlm2-256m", "config.json", "model.safetensors")
    assert find_source("smolvlm2-256m").revision == COMMIT
    assert find_source("smolvlm2-256m").row.hub.revision == "not verified"  # the table stays as it was read


def test_a_model_that_is_only_asked_is_offered_by_the_tabs_once_it_is_here(cache):
    name = "llava-1.5-7b"
    needed = f"It needs a download of 14.1 GB: run `{find_entry(name).hub.command}`."
    assert availability(find_entry(name)) == needed
    with pytest.raises(UserError, match=f"{name} cannot be loaded: It needs a download"):
        load(name)
    put_in_cache(cache, name, "config.json", "model.safetensors")
    assert availability(find_entry(name)) == "ready"
    assert name in available_models()
    with pytest.raises(UserError, match=f"{name} is only asked questions, and has not the method's architecture"):
        load_recogniser(name)


@pytest.mark.parametrize(
    ("name", "file", "state"),
    [
        ("mobilevlm-v2-7b", "pytorch_model.bin", "core convert mtgv/MobileVLM_V2-7B FOLDER`, and name that folder"),
        ("bioclip-2", "open_clip_model.safetensors", "core convert imageomics/bioclip-2 FOLDER`, and name that folder"),
    ],
)
def test_weights_in_another_format_are_told_to_be_converted(cache, monkeypatch, name, file, state):
    monkeypatch.setattr(registry, "_is_installed", lambda package: True)
    put_in_cache(cache, name, find_entry(name).hub.config, file)
    assert state in availability(find_entry(name))
    with pytest.raises(UserError, match=f"{name} cannot be loaded: It needs a conversion"):
        load(name)


def test_a_page_opens_no_folder_and_no_repository(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for name in (str(tmp_path), "hf:owner/name"):
        with pytest.raises(UserError, match="There is no model"):
            load_listed(name)


@pytest.mark.parametrize("name", ["phi-3-vision", "hf:microsoft/Phi-3-vision-128k-instruct"])
def test_a_model_with_a_server_of_its_own_says_so_by_every_name(name):
    for ask in (find_source, load, load_listed) if ":" not in name else (find_source, load):
        with pytest.raises(UserError, match=f"^{name}: It needs a server of its own: start vLLM 0.23.0 or older"):
            ask(name)


def test_packages_that_are_missing_are_named(cache, monkeypatch):
    put_in_cache(cache, "smolvlm2-256m", "config.json", "model.safetensors")
    monkeypatch.setattr(registry, "_is_installed", lambda package: package != "num2words")
    assert availability(find_entry("smolvlm2-256m")) == "It needs packages: run `.venv/bin/pip install num2words`."
    monkeypatch.undo()
    assert registry._is_installed("pydantic")
    assert not registry._is_installed("no-such-package-at-all")


def test_a_model_with_a_server_of_its_own_says_engine_version_and_command():
    for name, engine in (("phi-3-vision", "vLLM 0.23.0"), ("internlm-xcomposer2-7b", "LMDeploy 0.14.0")):
        state = availability(find_entry(name))
        assert state.startswith(f"It needs a server of its own: start {engine} or older with `pip install ")
        assert find_entry(name).hub.repository in state


def test_who_asks_for_a_model_of_the_tabs_is_offered_no_other():
    with pytest.raises(UserError) as raised:
        find_entry("gpt")
    assert "idefics2-8b" in str(raised.value)
    assert not any(name in str(raised.value) for name, entry in zoo().items() if not entry.on_pages)
