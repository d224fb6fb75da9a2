"""Text of a model, and files of descriptions, are checked."""

import json

import pytest
from attribute_server import (
    TEXT,
)

from core.errors import UserError
from core.taxonomy.categories import SuperCategory
from train.attributes.photo_files import load_descriptions
from train.attributes.validation import InvalidAnswerError, clean, read_description, read_json, read_values, values_model


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TEXT.replace("The cap", "The cap of this Death Cap"), "it names the Death Cap"),
        ("I'm sorry, but I can't help with that.", "it refuses"),
        ("- cap: red\n- gills: pale", "a list or a title"),
        ("A red cap.", "it has 1 complete sentences"),
        ("A red cap. " * 200, "longer than 1500"),
        (" \n ", "it is empty"),
    ],
)
def test_descriptions_that_are_none(text, reason):
    with pytest.raises(InvalidAnswerError, match=reason):
        read_description(text, ("Death Cap", "Amanita phalloides"))


def test_text_of_a_model_is_cleaned(work):
    assert clean("a\x00\x1b[31m\u202eb\n\u200b c\u2019s") == "a [31m b c's"
    assert read_description(f"\n{TEXT}\x07", ("Death Cap",))["description"] == TEXT
    group = SuperCategory("m", "m", "kind", ("cap", "stem shape"))
    answer = '```json\n{"cap": "Is RED; with <b>white</b> flakes.", "stem shape": "n/a"}\n```'
    values = read_values(answer, values_model(group), ())
    assert values == {"cap": "red with b white /b flakes", "stem shape": "not visible"}


@pytest.mark.parametrize(
    "text",
    [
        "Sure! Here it is:\n{}\nLet me know if you need {{more}}.",
        "Something like {{colour}}, or {{}}: {}",
        '{{"hat": "red"}}, or rather\n```json\n{}\n```',
        "{} {}",
    ],
)
def test_json_is_found_among_prose_with_braces(text):
    answer = json.dumps({"cap": "red", "stem": "white {pale}"})
    model = values_model(SuperCategory("m", "m", "kind", ("cap", "stem")))
    assert read_json(text.format(answer, answer), model) == {"cap": "red", "stem": "white pale"}


def test_nested_braces_without_end_are_one_reason():
    with pytest.raises(InvalidAnswerError, match="JSON: Invalid JSON"):
        read_json('{"a":' * 3000 + "}", values_model(SuperCategory("m", "m", "kind", ("cap", "stem"))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "12"}, "line 2: sha256: "),
        ({"description": " "}, "line 2: description: "),
        ({"attributes": {}}, "line 2: attributes: "),
        ({"price": 1}, "line 2: price: "),
        ({"sha256": "0" * 64}, "line 2: the photo 000000000000 is listed twice"),
        ({"description": "A Death Cap."}, "the photo 111111111111 cannot be used: it names the Death Cap"),
    ],
)
def test_a_bad_line_of_descriptions_is_named(tmp_path, change, message):
    first = {"sha256": "0" * 64, "category": "Death Cap", "attributes": {"cap": "green"}, "description": TEXT}
    path = tmp_path / "descriptions.jsonl"
    path.write_text("\n".join(map(json.dumps, [first, {**first, "sha256": "1" * 64, **change}])))
    with pytest.raises(UserError, match=message):
        load_descriptions(path)


@pytest.mark.parametrize(
    ("text", "message"), [("", "lists no photos"), ("{", "line 1: JSON: "), (None, "cannot be read")]
)
def test_no_descriptions_at_all(tmp_path, text, message):
    path = tmp_path / "descriptions.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_descriptions(path)
