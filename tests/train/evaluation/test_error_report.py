"""The files of an error analysis: complete, and inert whatever the names in them."""

import csv
import io
import re
from dataclasses import replace

import pytest
from PIL import Image

from core.data.label_table import is_result
from core.errors import UserError
from train.data.records import record
from train.evaluation.error_analysis import NamedPhoto, SetErrors
from train.evaluation.error_report import (
    MATRIX_NAMES,
    PHOTOS,
    as_html,
    confusions_csv,
    label_issues_csv,
    left_out,
    matrix_csv,
    matrix_file,
    save,
)
from train.evaluation.label_issues import LabelIssue, LabelIssues

HOSTILE = "<img src=x onerror=alert(1)>\"'"


def lines(text):
    return list(csv.reader(io.StringIO(text)))


@pytest.fixture
def photo(tmp_path):
    """Make a photo of a true name that the model gave some name."""

    def make(truth, name, confidence=0.5):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
        Image.new("RGB", (300, 200), (len(list(tmp_path.iterdir())), 80, 80)).save(path)
        return NamedPhoto(replace(record(path, "x", "birds"), category=truth), name, confidence)

    return make


@pytest.fixture
def errors(photo):
    photos = [photo("crow", "crow"), photo("crow", "rook"), photo("rook", "rook", 0.9), photo("rook", "rook")]
    issues = LabelIssues([LabelIssue(1, "crow", "rook", 0.04, 0.93)], 4, ["jay"])
    return SetErrors("birds", photos, photos, issues)


def test_the_tables_have_every_number(errors):
    assert lines(confusions_csv([errors]))[1:] == [["birds", "crow", "rook", "1", "0.5000"]]
    assert lines(matrix_csv(errors)) == [["true_name", "crow", "rook"], ["crow", "1", "1"], ["rook", "0", "2"]]
    assert lines(label_issues_csv([errors])) == [
        ["data_set", "photo", "given_name", "other_name", "given_probability", "other_probability"],
        ["birds", str(errors.photos[1].record.image), "crow", "rook", "0.0400", "0.9300"],
    ]


def test_the_page_shows_wrong_photos_beside_right_ones_and_the_doubtful_label(errors):
    page = as_html([errors], "my-model", "Some were seen.")
    headings = re.findall(r"<h5>(.*?)</h5>", page)
    assert headings == [
        "crow, named rightly (1)",
        "crow, named rook (1)",
        "rook, named rightly (2)",
    ]
    assert len(re.findall("<img", page)) == 4 + 3  # of the pair; the doubtful one and an example of both names
    assert "labelled crow (4 %)<br><strong>looks like rook (93 %)" in page
    assert "1 (25 %) are named wrongly" in page
    assert "Some were seen." in page
    assert 'class="wrong s3">1</td>' in page


def test_categories_that_are_not_judged_are_named(errors):
    assert left_out(errors) == "Labels that are not judged, with fewer than 5 different photos: jay."
    assert left_out(errors) in as_html([errors], "m", "")
    nothing = replace(errors, issues=LabelIssues([], 0, ["crow", "rook"]))
    assert "two categories with 5 different photos; too few are of crow, rook." in left_out(nothing)
    assert "labels were judged" not in as_html([nothing], "m", "")
    assert left_out(replace(errors, issues=LabelIssues([], 4, []))) == ""


def test_the_page_is_inert(photo):
    photos = [photo(HOSTILE, "rook"), photo("rook", HOSTILE), photo("rook", "rook")]
    issues = LabelIssues([LabelIssue(0, HOSTILE, "rook", 0.1, 0.9)], 3, [HOSTILE])
    page = as_html(
        [SetErrors(HOSTILE, photos, photos, issues), SetErrors("b", photos, photos, issues)], HOSTILE, HOSTILE
    )
    assert "<img src=x" not in page
    assert "<script" not in page
    assert "default-src 'none'; img-src data:;" in page
    assert " style=" not in page
    assert set(re.findall(r'src="([^,"]*)', page)) == {"data:image/jpeg;base64"}


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_no_cell_of_a_csv_is_a_formula(photo, sign):
    evil = f"{sign}HYPERLINK(1)"
    photos = [photo(evil, "rook"), photo("rook", evil)]
    errors = SetErrors(evil, photos, photos, LabelIssues([LabelIssue(0, evil, "rook", 0.1, 0.9)], 2, []))
    for text in (confusions_csv([errors]), matrix_csv(errors), label_issues_csv([errors])):
        assert not [cell for line in lines(text) for cell in line if cell.startswith(sign)]


def test_of_many_names_only_the_most_confused_are_shown(photo):
    names = [f"name {i:02}" for i in range(MATRIX_NAMES + 5)]
    confused = [photo(names[3], names[7]) for _ in range(PHOTOS + 2)]
    photos = [*(photo(name, name) for name in names), *confused, photo(names[3], names[-1])]
    errors = SetErrors("birds", photos, photos, LabelIssues([], 0, []))
    page = as_html([errors], "m", "")
    assert (
        f"These are the {MATRIX_NAMES} most confused of {len(names)} names; confusion_matrix_1_birds.csv has all" in page
    )
    assert page.count("<tr>") == MATRIX_NAMES + 1
    assert f"named {names[7]} ({PHOTOS + 2})" in page
    assert (
        page.count("<img") == 1 + PHOTOS + 1 + 1 + 1 + 1
    )  # right, wrong, right; right, wrong, right of the second pair


def test_files_are_written_and_names_of_data_sets_cannot_leave_the_folder(errors, tmp_path):
    both = [replace(errors, data_set="../a/b"), replace(errors, data_set="..?a?b")]
    files = save(both, "m", "", tmp_path / "out")
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    assert all(is_result(file.read_bytes()) for file in files if file.suffix == ".csv")  # left out among photos
    assert [file.name for file in files] == [
        "confusions.csv",
        "confusion_matrix_1__a_b.csv",
        "confusion_matrix_2__a_b.csv",
        "label_issues.csv",
        "errors.html",
    ]
    assert len(matrix_file(1, replace(errors, data_set="x" * 300))) < 100
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save(both, "m", "", tmp_path / "file")
