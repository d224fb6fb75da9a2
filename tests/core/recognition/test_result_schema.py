"""What `core identify --json` prints is what the published schema says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError
from skimage import data as pictures

from core.cli import main
from core.recognition.crops import Region
from core.recognition.explanation import Explainer
from core.recognition.result_schema import RESULT, IdentifiedPhoto, result_schema
from core.recognition.results import Identification, Species

PUBLISHED = Path(__file__).parents[3] / "docs" / "identify.schema.json"


@pytest.fixture(scope="module")
def explained(recogniser):
    """A real result with an explanation, and what a crop adds to it."""
    cat = Image.fromarray(pictures.chelsea())
    result = Explainer(recogniser).identify(cat, recogniser.label_space(None, "cat"), crop=(0.1, 0.1, 0.8, 0.8))
    return replace(result, note="A note.", objects=[Region(result.box, 0.5, "Bengal", 0.9)])


def test_the_published_schema_is_the_printed_one(capsys):
    with pytest.raises(SystemExit) as end:
        main(["identify", "--schema"])
    assert end.value.code == 0
    assert capsys.readouterr().out == PUBLISHED.read_text()
    assert json.loads(PUBLISHED.read_text()) == result_schema()


def test_a_real_result_has_every_field_of_the_schema_and_no_other(explained):
    line = json.loads(json.dumps(explained.as_dict("cat.jpg")))
    RESULT.validate_python(line, strict=True)
    assert line.keys() == IdentifiedPhoto.model_fields.keys()
    assert line["explanation"]["evidence"]
    assert line["explanation"]["differences"]


@pytest.mark.parametrize(
    "result",
    [
        Identification("m", False, [Species("Rose", 0.4)]),
        Identification("m", True, [], answer="A rose.", calibrated=False, note="It ranks no names."),
    ],
    ids=["unknown", "a model that only answers"],
)
def test_results_with_less_in_them_fit_too(result):
    RESULT.validate_python(json.loads(json.dumps(result.as_dict("a.png"))), strict=True)


def test_a_photo_that_cannot_be_used_fits_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("core.cli.identify._load", lambda *_: None)
    assert main(["identify", str(tmp_path / "none.jpg"), "--json"]) == 1
    RESULT.validate_python(json.loads(capsys.readouterr().out), strict=True)


def test_a_result_that_has_drifted_does_not_fit(explained):
    line = explained.as_dict("cat.jpg")
    for drifted in (
        {**line, "colour": "red"},
        {k: v for k, v in line.items() if k != "known"},
        {**line, "species": [1]},
    ):
        with pytest.raises(ValidationError):
            RESULT.validate_python(drifted)
