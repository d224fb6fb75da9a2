"""The steps of `train attributes`: what they ask, write and skip."""

import json
from collections import Counter

import pytest
import yaml
from attribute_server import (
    MARKS,
    NAMES,
    PHOTOS,
    TEXT,
    VALUES,
    extract,
    lines,
    said,
    step,
)
from PIL import Image

from core.errors import UserError
from core.taxonomy import categories as knowledge
from core.taxonomy.categories import categories, find_category, super_categories
from core.taxonomy.descriptions import describe, parse_description
from train.attributes.photo_files import load_descriptions


@pytest.fixture
def waxwings(tmp_path):
    """Pictures under the names of two birds that the tables know, and of a dog, which is left out."""
    for i, name in enumerate(["Cedar_Waxwing", "Bohemian_Waxwing", "beagle"]):
        path = tmp_path / "birds" / name / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (64, 64), (i * 80, 120, 60)).save(path)
    return tmp_path / "birds"


def test_three_steps_and_a_table_that_the_app_understands(server, photos, tmp_path, monkeypatch):
    work = tmp_path / "work" / "mushroom"
    step("discover", work, "--llm-model", "m", "--rank", "species")
    extract(work, photos)
    step("summarise", work, "--llm-model", "m")
    assert len(server.requests) == 1 + 2 * PHOTOS
    image = server.requests[1]["messages"][0]["content"][0]["image_url"]["url"]
    assert image.startswith("data:image/jpeg;base64,")
    schema = server.requests[1]["response_format"]["json_schema"]["schema"]
    assert (list(schema["properties"]), schema["required"], schema["additionalProperties"]) == (MARKS, MARKS, False)

    described = lines(work / "descriptions.jsonl")
    assert Counter(line["category"] for line in described) == dict.fromkeys(NAMES, PHOTOS // 2)
    assert all(line["attributes"] == VALUES and line["description"] == TEXT for line in described)
    assert load_descriptions(work / "descriptions.jsonl") == {line["sha256"]: TEXT for line in described}

    step("table", work, "--out", tmp_path / "tables" / "mushroom.yaml")
    monkeypatch.setattr(knowledge, "ATTRIBUTES_FOLDER", tmp_path / "tables")
    caches = (knowledge._tables, knowledge.super_categories)
    for cached in caches:
        cached.cache_clear()
    try:
        assert list(super_categories()) == ["mushroom"]
        category = find_category("fly_agaric")
        assert (category.super_category.rank, category.values) == ("species", VALUES)
        assert parse_description(describe(category), category.super_category) == VALUES
    finally:
        for cached in caches:
            cached.cache_clear()


def test_a_dry_run_shows_the_prompt_and_the_estimate_and_asks_nothing(
    server, photos, tmp_path, work, capsys, monkeypatch
):
    monkeypatch.delenv("OPENAI_API_KEY")
    before = sorted(work.rglob("*"))
    extract(work, photos, "--dry-run", "--price-in", 100, "--price-out", 200)
    out = capsys.readouterr().out
    assert f"{PHOTOS} calls, roughly" in out
    assert "costing 1" in out
    assert "The photo shows a mushroom." in out
    assert '{"cap": "...", "gills": "...", "stem": "...", "ring": "...", "flesh": "..."}' in out
    step("discover", tmp_path / "none" / "mushroom", "--llm-model", "m", "--dry-run")
    assert "Which visual attributes of a mushroom" in capsys.readouterr().out
    assert not server.requests
    assert sorted(work.rglob("*")) == before
    assert not (tmp_path / "none").exists()


def test_two_commands_do_not_ask_the_same_at_once(server, photos, work):
    from filelock import FileLock

    with FileLock(work / ".lock"), pytest.raises(UserError, match="Another command is using"):
        extract(work, photos)
    assert not server.requests


def test_discovery_is_checked_and_kept(server, photos, tmp_path):
    work = tmp_path / "work" / "mushroom"
    with pytest.raises(UserError, match=r"run `python -m train attributes discover` first"):
        extract(work, photos)
    server.script = [said('{"attributes": ["cap", "cap", "gills"]}'), said('{"attributes": ["1", "2", "3", "4", "5"]}')]
    step("discover", work, "--llm-model", "m")
    asked = [request["messages"][2]["content"] for request in server.requests[1:]]
    assert "2 different attributes instead of 5 to 12" in asked[0]
    assert "'1' is not an attribute's name" in asked[1]
    table = yaml.safe_load((work / "super_category.yaml").read_text())
    assert table == {"super_category": "mushroom", "noun": "mushroom", "rank": "kind", "attributes": MARKS}
    step("discover", work, "--llm-model", "m")
    assert len(server.requests) == 3
    (work / "super_category.yaml").write_text("attributes: [cap]")
    with pytest.raises(UserError, match="does not hold noun, rank and 5 to 12 attributes"):
        extract(work, photos)


def test_a_name_cannot_lead_out_of_the_folder(tmp_path):
    with pytest.raises(UserError, match="letters, digits, spaces"):
        step("discover", tmp_path / "x" / "..", "--llm-model", "m")


def test_descriptions_from_the_knowledge_tables_need_no_endpoint(waxwings, tmp_path):
    work = tmp_path / "work" / "bird"
    step("extract", work, "--vlm-model", "knowledge", "--data", waxwings)
    step("summarise", work, "--llm-model", "template")
    described = {line["category"]: line for line in lines(work / "descriptions.jsonl")}
    assert set(described) == {"Cedar Waxwing", "Bohemian Waxwing"}
    for name, line in described.items():
        assert line["attributes"] == categories()[name].values
        assert line["description"] == describe(categories()[name])
    assert len(load_descriptions(work / "descriptions.jsonl")) == 2


def test_a_model_of_the_zoo_reads_the_values_in_process(waxwings, tmp_path, recogniser, monkeypatch):
    monkeypatch.setattr("train.attributes.answerers.load_recogniser", lambda name: recogniser)
    monkeypatch.setattr("core.recognition.generation.VALUE_TOKENS", 2)
    work = tmp_path / "work" / "bird"
    step("extract", work, "--vlm-model", "zoo:finedefics-tiny", "--data", waxwings)
    read = lines(work / "values.jsonl")
    assert len(read) == 2
    assert all(list(line["attributes"]) == list(super_categories()["bird"].attributes) for line in read)

    def unwanted(name: str) -> None:
        raise AssertionError("everything is known")

    monkeypatch.setattr("train.attributes.answerers.load_recogniser", unwanted)
    step("extract", work, "--vlm-model", "zoo:finedefics-tiny", "--data", waxwings)
    with pytest.raises(UserError, match="There is no model 'none'"):
        step("extract", work, "--vlm-model", "zoo:none", "--data", waxwings)


def test_the_table_has_the_most_frequent_values(work, tmp_path):
    caps = ["red", "brown", "red", "not visible", "brown", "not visible", "not visible"]
    with (work / "values.jsonl").open("w") as file:
        for i, cap in enumerate(caps):
            values = {**VALUES, "cap": cap, "ring": "not visible"}
            file.write(json.dumps({"sha256": f"{i:064x}", "category": "Death Cap", "attributes": values}) + "\n")
    out = tmp_path / "mushroom.yaml"
    step("table", work, "--out", out)
    values = yaml.safe_load(out.read_text())["categories"]["Death Cap"]["values"]
    assert values == {**VALUES, "cap": "brown", "ring": "not visible"}  # of two equally frequent ones, by the alphabet
    with pytest.raises(UserError, match="exists already: give --force"):
        step("table", work, "--out", out)
    step("table", work, "--out", out, "--force")
