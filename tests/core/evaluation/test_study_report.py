"""The files of a study: complete, and inert whatever the names in them."""

import base64
import csv
import hashlib
import io
import json
import re

import pytest
from PIL import Image

from core.data.label_table import is_result
from core.errors import UserError
from core.evaluation.study import Study, StudyRow, Verdict
from core.evaluation.study_report import accuracy_table, as_csv, as_html, as_json, photo_table, save

HOSTILE = "<img src=x onerror=alert(1)>\"'"


def verdict(species, right):
    return Verdict(species, 0.5, True, right, "", 0.1)


@pytest.fixture
def study():
    rows = [
        StudyRow("1.jpg", "crow", "bird", "", b"", (verdict("crow", True), verdict("owl", False))),
        StudyRow("2.jpg", "Pug", "dog", "", b"", (verdict("Pug", True), verdict("Pug", True))),
        StudyRow("3.jpg", error="This is not a readable image."),
    ]
    return Study(("A", "B"), "all", 3, rows)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t"])
def test_no_cell_of_the_csv_is_a_formula(sign):
    evil = f"{sign}HYPERLINK(1)"
    row = StudyRow(evil, evil, evil, "", b"", (Verdict(evil, 0.5, True, False, evil, 0.1), verdict("crow", True)), evil)
    lines = list(csv.reader(io.StringIO(as_csv(Study((evil, "B"), "all", 1, [row])))))
    assert len(lines[0]) == len(lines[1])
    assert not [cell for line in lines for cell in line if cell.startswith(sign)]
    assert lines[1][0] == f"'{evil}"


def test_the_page_is_inert_and_complete(encode):
    picture = encode(Image.new("RGB", (9, 9)), "JPEG")
    row = StudyRow(HOSTILE, HOSTILE, HOSTILE, "", picture, (verdict(HOSTILE, False), verdict(HOSTILE, None)))
    study = Study((HOSTILE, "B"), HOSTILE, 1, [row, StudyRow("b", error=HOSTILE)])
    for text in (as_html(study), accuracy_table(study), photo_table(study.models, study.rows)):
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text or not text
        assert "<script" not in text
    page = as_html(study)
    assert re.findall(r'src="([^,"]*)', page) == ["data:image/jpeg;base64"]
    style = re.search(r"<style>(.*)</style>", page, re.DOTALL)[1]
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{allowed}'; base-uri 'none'" in page


def test_what_is_said_instead_of_a_name_that_is_not_sure_is_in_every_file():
    said = Verdict("Western Gull", 0.5, True, True, "", 0.1, said="a gull: Western Gull or <i>")
    study = Study(("A", "B"), "all", 1, [StudyRow("1.jpg", verdicts=(said, verdict("crow", False)))])
    (line,) = csv.DictReader(io.StringIO(as_csv(study)))
    assert (line["A said"], line["B said"]) == (said.said, "")
    assert json.loads(as_json(study))["photos"][0]["verdicts"]["A"]["said"] == said.said
    assert as_html(study).count("sure is: a gull: Western Gull or &lt;i&gt;") == 1


def test_the_tables_say_who_is_right_and_how_often(study):
    assert accuracy_table(Study(("A", "B"), "all", 0)) == ""
    table = accuracy_table(study)
    assert "<td>all photos</td><td>2</td><td>100.0% (2)</td><td>50.0% (1)</td>" in table
    table = photo_table(study.models, study.rows)
    assert '<span class="right">✓ crow 50%</span>' in table
    assert '<span class="wrong">✗ owl 50%</span>' in table
    assert "<td>This is not a readable image.</td><td></td>" in table


def test_the_csv_is_left_out_where_it_lies_among_photos(study):
    assert is_result(as_csv(study).encode("utf-8-sig"))


def test_json_has_every_photo(study):
    content = json.loads(as_json(study))
    assert [photo["photo"] for photo in content["photos"]] == [row.name for row in study.rows]
    assert content["photos"][1]["verdicts"]["A"]["right"] is True
    assert content["accuracy"][-1] == {"data_set": "all photos", "photos": 2, "right": {"A": 2, "B": 1}}


def test_an_export_that_cannot_be_written_is_one_sentence(study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save(study, tmp_path / "file")
