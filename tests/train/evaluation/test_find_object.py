import random
from dataclasses import replace

import pytest
from colour_model import COLOURS, ColourModel, scene
from PIL import Image

from core.errors import UserError
from core.progress import run
from train.data.source import read_folder
from train.evaluation.find_object import BOXED, PASTED, TIGHT, TWO, Case, measure, name_case, read_boxes, sample, summary


@pytest.fixture
def colours(tmp_path):
    """Four photos of each colour in class folders."""
    for name, colour in COLOURS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", (90 + k, 80), colour).save(tmp_path / "photos" / name / f"{k}.png")
    return read_folder(tmp_path / "photos", "none.csv")


@pytest.fixture
def boxes(tmp_path):
    """A CSV of three photos, of which two have a box."""
    for k, name in enumerate(COLOURS):
        scene((name, 40 + 100 * k, 60, 90)).save(tmp_path / f"{name}.png")
    scene().save(tmp_path / "empty.png")
    lines = ["image_path,label,box", "red.png,red,0.1111 0.2222 0.25 0.3333", "blue.png,blue,0.3889 0.2222 0.25 0.3333"]
    table = tmp_path / "boxes.csv"
    table.write_text("\n".join([*lines, "empty.png,red,"]))
    return table


def test_every_kind_of_picture_is_measured(colours, boxes):
    model = ColourModel()
    named = run(measure(model, colours, read_boxes(boxes), photos=6, seed=0))
    result = summary(named)
    assert {kind: row["n"] for kind, row in result.items()} == {TIGHT: 6, PASTED: 6, TWO: 2, BOXED: 2}
    assert result[TIGHT]["cropped"] == 0
    assert result[TIGHT]["top1_none"] == result[TIGHT]["top1_auto"] == 1
    assert result[PASTED]["top1_box"] == 1
    assert result[BOXED]["top1_auto"] == 1
    assert result[BOXED]["auto_less_box"] == 0


def test_of_two_objects_the_share_that_is_named_counts():
    squares = [("red", 20, 30, 110), ("blue", 230, 120, 110)]
    shares = [(left / 360, top / 270, side / 360, side / 270) for _, left, top, side in squares]
    model = ColourModel()
    case = Case(TWO, scene(*squares), ["red", "blue"], shares)
    named = name_case(model, case, model.label_space())
    assert named.right == {"none": 0.5, "auto": 1.0, "box": 1.0}
    assert named.cropped


def test_errors_are_of_the_differences_of_each_picture():
    model = ColourModel()
    one = name_case(model, Case(TIGHT, scene(("red", 0, 0, 260)), ["red"], []), model.label_space())
    named = [replace(one, right={"none": right, "auto": 1.0}) for right in (1.0, 0.0, 1.0, 0.0)]
    row = summary(named)[TIGHT]
    assert row["auto_less_none"] == 0.5
    assert row["auto_less_none_error"] == pytest.approx((1 / 12) ** 0.5)
    assert row["top1_auto_error"] == 0


def test_a_sample_is_even_and_of_one_seed(colours):
    records = [replace(one, data_set=one.category) for one in colours]
    chosen = sample(records, 4, random.Random(0))
    assert sorted(one.data_set for one in chosen) == ["blue", "blue", "red", "red"]
    assert chosen == sample(records, 4, random.Random(0))
    assert len(sample(records, 100, random.Random(0))) == len(records)
    assert sample([], 4, random.Random(0)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_path,box\nred.png,0 0 1 1", "is no CSV with the columns image_path, label and box"),
        ("image_path,label,box\nred.png,red,0 0 1", "'0 0 1' is no box"),
        ("image_path,label,box\nred.png,red,0 0 300 200", "is no part of a photo"),
        ("image_path,label,box\nnone.png,red,0 0 1 1", "is listed but missing"),
    ],
)
def test_a_table_without_boxes_is_refused(boxes, text, message):
    boxes.write_text(text)
    with pytest.raises(UserError, match=message):
        read_boxes(boxes)
