"""Case studies with made-up models, but for one run of the committed ones."""

import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from photo_metadata import FORMATS, check_no_metadata, tagged
from PIL import Image
from skimage import data as pictures

from core.cli import main
from core.data.photo_sets import open_photo_set
from core.errors import UserError
from core.evaluation.study import FILTERS, THUMBNAIL, Study, StudyRow, Verdict, check_models, choose_candidates, examine
from core.evaluation.study_report import accuracy_table, as_html, as_json
from core.recognition.conclusion import Species
from core.recognition.results import Identification

SPACE = SimpleNamespace(group=None, categories=["crow", "Jay"])


def fake(tower, says, sights=None):
    """A model that names photos by their width, and notes when its tower looks."""

    def see(tta_views):
        if sights is not None:
            sights.append(tta_views[0].width)
        return tta_views[0].width

    inner = SimpleNamespace(model=SimpleNamespace(vision_model=tower))
    return SimpleNamespace(
        mllm=SimpleNamespace(model=inner, vision_features=see),
        encode_features=lambda vision: SimpleNamespace(width=vision, tokens=None),
        stream=lambda encoding, space, top: iter([Identification("fake", True, [Species(says(encoding.width), 0.5)])]),
        writer=SimpleNamespace(answers=lambda question, tokens: ["a bird"]),
    )


@pytest.fixture
def png(encode):
    return lambda width: encode(Image.new("RGB", (width, 40), "green"))


def items_of(*paths):
    with open_photo_set(list(paths)) as items:
        return items


def verdict(species, right):
    return Verdict(species, 0.5, True, right, "", 0.1)


@pytest.fixture
def study():
    outcomes = [(True, True), (True, False), (False, True), (False, False), (None, None)]
    rows = [
        StudyRow(
            f"{i}.jpg", "x" * (a is not None), "bird" if i else "dog", verdicts=(verdict("crow", a), verdict("jay", b))
        )
        for i, (a, b) in enumerate(outcomes)
    ]
    return Study(("A", "B"), "all", 6, [*rows, StudyRow("6.jpg", "x", "bird", error="Damaged.")])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_bad_photos_are_listed_and_the_others_go_on(packed, png):
    path = packed(
        [("a.png", png(50)), ("a.png", png(51)), ("b.txt", b"Dear diary"), ("c.png", png(50)), ("d.png", png(52))]
    )
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("e.png", png(53))
    data = bytearray(path.read_bytes())
    start = data.index(b"d.png") + 5
    data[start : start + 8] = b"\xff" * 8  # of the packed bytes
    path.write_bytes(data)
    model = fake(torch.nn.Linear(1, 1), lambda width: "crow")
    with open_photo_set([path]) as items:
        rows = list(examine(items, [(model, SPACE)], False))
    assert [row.error for row in rows] == [
        "",
        "Another file has the same name.",
        "This is not a readable image: use one of JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC.",
        "The same photo as a.png: it counts once.",
        "The ZIP is damaged at this file.",
        "The file is packed in an unusual way: use an ordinary ZIP.",
    ]
    assert len(rows[0].verdicts) == 1
    assert len(rows[0].sha256) == 64


def test_a_shared_tower_looks_once(packed, png):
    tower, sights, others = torch.nn.Linear(1, 1), [], []
    pair = [fake(tower, lambda width: "crow", sights), fake(tower, lambda width: "Crow", others)]
    with open_photo_set([packed([("crow/a.png", png(50)), ("jay/b.png", png(60))])]) as items:
        rows = list(examine(items, [(model, SPACE) for model in pair], True))
        assert (sights, others) == ([50, 60], [])
        pair[1] = fake(torch.nn.Linear(1, 1), lambda width: "crow", others)
        list(examine(items, [(model, SPACE) for model in pair], False))
        assert others == [50, 60]
    assert [[v.right for v in row.verdicts] for row in rows] == [[True, True], [False, False]]
    assert rows[0].verdicts[0].answer == "a bird"
    assert not any(map(FILTERS["differ"], rows))  # capitals are no difference
    assert max(Image.open(io.BytesIO(rows[0].thumbnail)).size) <= THUMBNAIL


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_report_has_the_pixels_of_the_photos_alone(packed, file_format):
    model = fake(torch.nn.Linear(1, 1), lambda width: "crow")
    with open_photo_set([packed([("crow/a.jpg", tagged(file_format))])]) as items:
        study = Study(("fake", "fake"), "all", 1, list(examine(items, [(model, SPACE)] * 2, False)))
    page = as_html(study)
    assert "data:image/jpeg;base64," in page
    for export in (page, as_json(study)):
        check_no_metadata(export.encode())


def test_closing_it_stops_with_the_photo_at_hand(packed, png):
    sights = []
    model = fake(torch.nn.Linear(1, 1), lambda width: "crow", sights)
    with open_photo_set([packed([(f"{i}.png", png(50 + i)) for i in range(5)])]) as items:
        rows = examine(items, [(model, SPACE)], False)
        next(rows)
        rows.close()
    assert sights == [50]


def test_candidates(packed):
    labelled = items_of(packed([("Cedar Waxwing/1.png", b""), ("cedar_waxwing/2.png", b""), ("crow/3.png", b"")]))
    assert choose_candidates(labelled, "all") == (None, None)
    assert choose_candidates(labelled, "bird") == (None, "bird")
    assert set(choose_candidates(labelled, "labels")[0]) == {"Cedar Waxwing", "cedar waxwing", "crow"}
    with pytest.raises(UserError, match="fewer than two different labels"):
        choose_candidates(labelled[:2], "labels")
    for models in (["a", "a"], ["a", ""]):
        with pytest.raises(UserError, match="two different models"):
            check_models(models)


def test_a_data_set_is_the_kind_of_thing_unless_told(packed, png):
    model = fake(torch.nn.Linear(1, 1), lambda width: "crow")
    names = ["Cedar_Waxwing/1.png", "unheard of/2.png", "3.png"]
    with open_photo_set([packed([(name, png(50 + i)) for i, name in enumerate(names)])]) as items:
        assert [row.data_set for row in examine(items, [(model, SPACE)], False)] == ["bird", "other", ""]


def test_true_names_that_are_no_candidates_are_told_and_not_counted(packed, png):
    models = [(fake(torch.nn.Linear(1, 1), lambda width: "crow"), SPACE) for _ in "AB"]
    names = ["Crow/1.png", "jay/2.png", "Corvus corax/3.png", "100APPLE/4.png"]
    with open_photo_set([packed([(name, png(50 + i)) for i, name in enumerate(names)])]) as items:
        study = Study(("A", "B"), "bird", 4, list(examine(items, models, False)))
    assert [row.verdicts[0].right for row in study.rows] == [True, False, None, None]
    assert [(line.photos, line.right) for line in study.accuracy()] == [(2, (1, 1))]
    assert study.note() == (
        "Not counted, since the true name is not among the candidates: 2 photos (Corvus corax, 100APPLE)."
    )
    assert study.note() in as_html(study)
    assert study.note() in accuracy_table(study)
    assert json.loads(as_json(study))["not_among_candidates"] == ["Corvus corax", "100APPLE"]


def test_filters_and_accuracy(study):
    shown = {name: [row.name for row in study.rows if passes(row)] for name, passes in FILTERS.items()}
    assert len(shown["all"]) == 6
    assert shown["both wrong"] == ["3.jpg"]
    assert shown["only A right"] == ["1.jpg"]
    assert shown["only B right"] == ["2.jpg"]
    assert shown["differ"] == [f"{i}.jpg" for i in range(5)]
    lines = [(line.data_set, line.photos, line.right) for line in study.accuracy()]
    assert lines == [("bird", 3, (1, 1)), ("dog", 1, (1, 1)), ("all photos", 4, (2, 2))]


def test_the_time_left_is_told(study, monkeypatch):
    study.total, study.started = 46, 100.0
    monkeypatch.setattr("time.monotonic", lambda: 112.0)
    assert study.progress() == "6 of 46 photos, about 1 min 20 s left."
    study.total = 6
    assert study.progress() == "6 of 6 photos."


def test_the_committed_models_on_the_command_line(packed, encode, tmp_path, capsys):
    cat = Image.fromarray(pictures.chelsea())
    photos = [("Abyssinian/1.png", encode(cat)), ("Maine Coon/2.png", encode(cat.rotate(90))), ("3.txt", b"no photo")]
    out = tmp_path / "out"
    command = ["study", str(packed(photos)), "--models", "idefics2-tiny", "finedefics-tiny", "--out", str(out)]
    assert main([*command, "--candidates", "labels"]) == 1  # one file is no photo
    captured = capsys.readouterr()
    assert "3.txt: This is not a readable image" in captured.err
    assert captured.out.startswith("cat: idefics2-tiny ")
    content = json.loads((out / "study.json").read_text())
    for photo in content["photos"][:2]:
        assert set(photo["verdicts"]) == {"idefics2-tiny", "finedefics-tiny"}
        assert {v["species"] for v in photo["verdicts"].values()} <= {"Abyssinian", "Maine Coon"}
    assert {Path(line).name for line in captured.out.splitlines()[1:]} == {"study.csv", "study.json", "study.html"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--models", "x", "x"], "two different models"), (["--candidates", "fish"], "choose one of")],
)
def test_wrong_arguments_are_one_sentence(packed, png, tmp_path, capsys, arguments, message):
    path = packed([("1.png", png(50))])
    assert main(["study", str(path), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
