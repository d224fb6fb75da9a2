"""The table of models: what a row may say, and that nothing in it is a guess."""

import pytest
from pydantic import TypeAdapter

from core.errors import UserError
from core.storage.tables import check_table, read_table
from core.zoo.model_rows import METHOD_FAMILIES, NOT_VERIFIED, ModelRow
from core.zoo.registry import ASSETS

FORM = TypeAdapter(dict[str, ModelRow])
TABLE = read_table(ASSETS / "models.yaml", FORM)
OF_THE_HUB = {name: row for name, row in TABLE.items() if row.hub}
PUBLISHED = {
    "LLaVA 1.5",
    "LLaVA-Next (Mistral)",
    "MobileVLM v2",
    "InstructBLIP Vicuna",
    "InstructBLIP Flan-T5-XL",
    "Phi-3-Vision",
    "BLIP2 Flan-T5-XL",
    "InternLM XComposer 2",
    "Pali-Gemma",
    "Idefics1",
    "Idefics2",
    "Qwen-VL-Chat",
    "Finedefics",
    "SigLIP-SO400M (contrastive, 4-way)",
}


def row(hub=(), **fields):
    own = {
        "repository": "owner/name",
        "revision": "0" * 40,
        "licence": {"name": "MIT"},
        "download_gb": 3,
        "memory_gb": {"bf16": 5.5},
        **dict(hub),
    }
    return {"family": "general", "hub": own, **fields}


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        (row(family="large"), "m > family: input should be 'embedded', 'vlm', 'general', 'contrastive' or 'endpoint'."),
        (row(licence="MIT"), "m > licence: there is no such field"),
        (row({"size": 3}), "m > hub > size: there is no such field"),
        (row({"revision": "main"}), "revision: write the 40 hex digits of a commit, or not verified."),
        (row({"repository": "name"}), "repository: write OWNER/NAME, as on the hub."),
        (row({"download_gb": "3 GB"}), "download_gb: write a number of GB, or not verified."),
        (row({"download_gb": -1}), "download_gb: write a number of GB, or not verified."),
        (row({"memory_gb": 5.5}), "memory_gb: write the GB of each precision, as in {bf16: 18.8, 4-bit: 8.4}"),
        (row({"memory_gb": {"fp8": 2.0}}), "memory_gb: write the GB of each precision"),
        (row({"licence": {"name": "MIT", "url": "my notes"}}), "url: write the https address where it was read, or"),
        (row({"source": ""}), "source: there is nothing here."),
        (row({"object_bos": "no"}), "object_bos: input should be a valid boolean."),
        (row(needs="timm"), r"needs: this must be a list: write \[timm\]."),
        (row(reply_tokens=0), "reply_tokens: input should be greater than or equal to 1."),
        (row(family="endpoint"), "m: a row of the family endpoint, and no other, has a table `server`."),
        (
            row(server={"engine": "vLLM", "version": "1", "command": "a"}),
            "m: a row of the family endpoint, and no other",
        ),
        (row(family="endpoint", server={"engine": "vLLM"}), "server > version: this is missing."),
        (row(family="embedded"), "m: a row has a table `hub`, or the family embedded."),
        ({"family": "vlm"}, "m: a row has a table `hub`, or the family embedded."),
    ],
)
def test_a_mistake_is_one_sentence(mistake, sentence, tmp_path):
    with pytest.raises(UserError, match=f"^models.yaml, .*{sentence}") as raised:
        check_table(tmp_path / "models.yaml", {"m": mistake}, FORM)
    assert "\n" not in str(raised.value)


def test_what_was_not_read_is_said_to_be_not_verified():
    unknown = row(
        {"revision": NOT_VERIFIED, "download_gb": NOT_VERIFIED, "memory_gb": NOT_VERIFIED, "exclude": ["*.bin"]}
    )
    hub = ModelRow.model_validate(unknown).hub
    assert hub.command == ".venv/bin/python -m core download owner/name"
    assert (hub.download, hub.memory, hub.needs) == ("a size not verified", {}, NOT_VERIFIED)
    assert str(hub.licence) == "MIT (not verified)"
    assert hub.terms_page == "https://huggingface.co/owner/name"
    read = ModelRow.model_validate(row({"licence": {"name": "MIT", "url": "https://a.page"}})).hub
    assert (str(read.licence), read.download, read.needs) == ("MIT", "3.0 GB", "5.5 GB (bf16)")
    assert read.terms == "MIT (https://a.page)"


def test_every_model_of_the_published_table_has_one_row():
    named = [row.published for row in TABLE.values() if row.published]
    assert sorted(named) == sorted(PUBLISHED)


def test_each_fact_of_the_hub_has_the_page_where_it_was_read():
    for name, row in OF_THE_HUB.items():
        if name == "finedefics-8b":  # its sizes follow from those of Idefics2-8B
            continue
        facts = (row.hub.revision, row.hub.download_gb, row.hub.memory_gb)
        assert (row.hub.source == NOT_VERIFIED) == all(fact == NOT_VERIFIED for fact in facts), name


def test_no_row_stands_for_another_model():
    repositories = [row.hub.repository for row in OF_THE_HUB.values()]
    assert len(set(repositories)) == len(repositories)
    for row in OF_THE_HUB.values():
        assert row.server is None or row.hub.repository in row.server.command


def test_only_the_released_weights_of_the_method_embed_without_bos():
    assert {name for name, row in OF_THE_HUB.items() if not row.hub.object_bos} == {"idefics2-8b", "finedefics-8b"}
    assert {name for name, row in TABLE.items() if row.family in METHOD_FAMILIES} == {
        "finedefics-tiny",
        "idefics2-tiny",
        "object-category-tiny",
        "idefics2-8b",
        "finedefics-8b",
    }
