import json
import logging
from pathlib import Path

import pytest

from core.errors import UserError
from core.taxonomy import categories as knowledge
from core.taxonomy import data_sets as table
from core.taxonomy.categories import categories, find_category, super_categories, table_errors
from core.taxonomy.data_sets import data_sets
from core.taxonomy.prompts import closed_question
from core.taxonomy.tables import read_attribute_table
from core.zoo import registry

FOCI = Path(__file__).parents[4] / "shared" / "data" / "foci"
GOOD = """super_category: mushroom
noun: mushroom
rank: species
attributes: [cap, ring]
categories:
  Fly Agaric:
    aliases: [Amanita muscaria]
    values: {cap: red with white warts, ring: white}
  Cep:
    values: {cap: brown, ring: none}
"""
MISTAKES = [
    (
        "    values: {cap: brown",
        "    group: [A, 3]\n    values: {cap: brown",
        "group > 1: YAML reads this as the number 3",
    ),
    (
        "    values: {cap: brown",
        "    group: [A, A]\n    values: {cap: brown",
        "Cep: the group 'A' is elsewhere not below 'A'",
    ),
    ("noun: mushroom\n", "noun: mushroom\ngroups: {A: a}\n", "groups: no category is in 'A'"),
    ("ring: white", "ring: no", "categories > Fly Agaric > values > ring: YAML reads this as yes or no, .* in quotes"),
    ("ring: white", "ring: 2", "Fly Agaric > values > ring: YAML reads this as the number 2, .* in quotes"),
    ("ring: white", "ring: 2012-01-01", "YAML reads this as a date"),
    ("ring: white", "ring:", "Fly Agaric > values > ring: there is nothing here"),
    ("Cep:", "2012:", "categories > 2012: YAML reads this as the number 2012, .* in quotes"),
    (", ring: none", "", "Cep: there is no value for ring"),
    ("ring: none", "ring: none, gills: pores", "Cep: gills is not among the attributes"),
    ("[Amanita muscaria]", "Amanita muscaria", r"aliases: this must be a list: write .Amanita muscaria."),
    ("Cep:", "Fly Agaric:", "line 9: 'Fly Agaric' is there twice"),
    ("    values: {cap: brown, ring: none}", "", "Cep: there is nothing here"),
    ("    values: {cap: brown, ring: none}", "\tx: 1", "line 10: there is a tab: indent with spaces"),
    ("rank: species\n", "", "rank: this is missing"),
    ("aliases:", "alias:", "alias: there is no such field"),
    ("[cap, ring]", "[cap, ring, cap]", "one is there twice"),
    (GOOD, "", "there is nothing here"),
]


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """A folder that stands for `assets/attributes`, with the shipped tables in it."""
    for path in knowledge.ATTRIBUTES_FOLDER.glob("*.yaml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(knowledge, "ATTRIBUTES_FOLDER", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget():
    knowledge._tables.cache_clear()
    super_categories.cache_clear()


@pytest.mark.parametrize(("part", "mistake", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_out_one_table(tables, caplog, part, mistake, sentence):
    known = list(categories())
    forget()
    (tables / "mushroom.yaml").write_text(GOOD.replace(part, mistake, 1), encoding="utf-8")
    with pytest.raises(UserError, match=rf"^mushroom\.yaml.*{sentence}"):
        read_attribute_table(tables / "mushroom.yaml")
    assert list(categories()) == known
    assert "mushroom" not in super_categories()
    assert len(table_errors()) == 1
    assert [record.getMessage() for record in caplog.records] == table_errors()
    assert caplog.records[0].levelno == logging.WARNING


def test_another_encoding_is_named_with_its_line(tables):
    (tables / "mushroom.yaml").write_bytes(GOOD.replace("none", "s\u00fc\u00df").encode("cp1252"))
    assert "mushroom.yaml, line 10: this is not UTF-8" in table_errors()[0]


def test_a_good_table_is_used_also_with_a_byte_order_mark(tables):
    (tables / "mushroom.yaml").write_text(GOOD, encoding="utf-8-sig")
    assert find_category("amanita_muscaria").name == "Fly Agaric"
    assert not table_errors()


@pytest.mark.parametrize(
    ("alias", "sentence"),
    [("cep", "'Cep' is a name of 'Cep' and of 'Fly Agaric'"), ("PUG", "'PUG' is a name of 'Fly Agaric' and of 'Pug'")],
)
def test_an_alias_of_two_categories_is_a_mistake(tables, alias, sentence):
    (tables / "mushroom.yaml").write_text(GOOD.replace("Amanita muscaria", alias), encoding="utf-8")
    assert sentence in table_errors()[0]
    assert find_category("pug").super_category.name == "dog"


def test_a_mistake_in_the_table_of_models_leaves_the_checkpoints_usable(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(registry, "ASSETS", tmp_path)
    (tmp_path / "models.yaml").write_text("some:\n  family: embedded\n  size: 5\n")
    assert registry.DEFAULT in registry.zoo()
    assert "models.yaml, some > size: YAML reads this as the number 5" in caplog.text


def test_a_mistake_in_the_table_of_data_sets_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "ASSETS", tmp_path)
    data_sets.cache_clear()
    (tmp_path / "datasets.yaml").write_text("bird-200:\n  title: 200\n")
    with pytest.raises(UserError, match=r"^datasets\.yaml, bird-200 > title: YAML reads this as the number 200"):
        data_sets()
    data_sets.cache_clear()


def test_a_closed_question_has_at_most_four_options():
    assert closed_question(None, list("abcd")) == (
        "Which of these choices is shown in the image?\nChoices:\nA. a\nB. b\nC. c\nD. d\n"
        "Answer with the letter from the given choices directly."
    )
    with pytest.raises(ValueError, match="5 options"):
        closed_question(None, list("abcde"))


@pytest.mark.skipif(not FOCI.is_dir(), reason=f"the FOCI questions are not in {FOCI}")
@pytest.mark.parametrize("data_set", data_sets().values(), ids=lambda data_set: data_set.id)
def test_a_name_of_foci_finds_the_category_of_the_official_name(data_set):
    for name in json.loads((FOCI / f"{data_set.id}.json").read_text()):
        assert find_category(name) is find_category(data_set.foci_names.get(name, name))


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("pink and yellow dahlia", "Pink-Yellow Dahlia"),
        ("n02097298-Scotch_terrier", "Scottish Terrier"),
        ("n02100236-German_short-haired_pointer", "German Shorthaired Pointer"),
        ("n02111129-Leonberg", "Leonberger"),
        ("n02088238-basset", "Basset Hound"),
    ],
)
def test_an_official_spelling_finds_the_category_of_another_data_set(label, name):
    assert find_category(label) is categories()[name]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("Amanita", "amanita", "the group 'amanita' is spelled 'Amanita' before"),
        ("[A, B]", "B", "the group 'B' is elsewhere not the widest"),
        ("[A, B]", "[B, A]", "the group 'B' is elsewhere not the widest"),
    ],
)
def test_groups_that_are_no_tree_are_refused(tmp_path, one, other, said):
    groups = iter([one, other])
    lines = [
        f"    group: {next(groups)}\n{line}" if line.startswith("    values") else line for line in GOOD.splitlines()
    ]
    (tmp_path / "mushroom.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match=said):
        read_attribute_table(tmp_path / "mushroom.yaml")


def test_a_group_has_a_path_and_a_noun():
    wren, gull = find_category("House Wren"), find_category("Western Gull")
    assert [(group.name, group.noun) for group in gull.groups] == [("Laridae", "gull or tern"), ("Gull", "gull")]
    assert next(group.noun for group in wren.groups) == "wren"
    assert all(category.groups for category in categories().values())
