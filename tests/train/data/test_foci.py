import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.taxonomy.categories import canonical_name
from core.taxonomy.data_sets import data_sets
from core.taxonomy.prompts import LETTERS
from train.data.foci import FociQuestion, find_photos, read_foci

SHARED = Path(__file__).parents[4] / "shared" / "data"
FOCI = SHARED / "foci"
needs_foci = pytest.mark.skipif(not FOCI.is_dir(), reason=f"the FOCI questions are not in {FOCI}")
IDS = list(data_sets())
FLOWERS = ("air plant", "rose", "lotus", "azalea")


def foci_prompt(options, order, query):
    """The prompt and the gold letter of FOCI's public code: `prepare_prompt_mc` in benchmark/data/dataset.py."""
    gold = LETTERS[order.index(0)]
    listed = "\n".join([f"{LETTERS[i]}. {options[j]}" for i, j in enumerate(order)])
    return f"{query}\nChoices:\n{listed}\nAnswer with the letter from the given choices directly.", gold


@needs_foci
@pytest.mark.parametrize("name", IDS)
def test_photo_options_and_truth_are_those_of_the_public_code(name):
    foci = read_foci(FOCI / f"{name}.json")
    label_options = json.loads((FOCI / f"{name}.json").read_text())
    examples = [example for examples in label_options.values() for example in examples]  # as in its ICDataset
    assert len(foci.questions) == len(examples) == data_sets()[name].test
    assert foci.data_set is data_sets()[name]
    rng = np.random.default_rng(0)
    for question, example in zip(foci.questions, examples, strict=True):
        assert (question.image, list(question.options)) == (example["image"], example["options"])
        order = rng.permutation(4).tolist()
        prompt, gold = foci_prompt(example["options"], order, data_sets()[name].closed_question)
        options = [question.options[i] for i in order]
        assert foci.prompt(options) == prompt
        assert LETTERS[options.index(question.truth)] == gold
        assert sorted(question.shuffled(0)) == sorted(question.options)
    assert len({question.id for question in foci.questions}) == len(foci.questions)


@needs_foci
@pytest.mark.parametrize("name", IDS)
def test_foci_asks_about_the_official_test_photos(name):
    data_set, questions = data_sets()[name], read_foci(FOCI / f"{name}.json").questions
    known = {canonical_name(n) for n in data_set.class_names()}
    official = data_set.foci_names
    assert {canonical_name(official.get(o, o)) for question in questions for o in question.options} == known
    # One photo of the dogs is asked about twice, with other options.
    assert len({question.image for question in questions}) == data_set.test - (name == "dog-120")


@needs_foci
@pytest.mark.parametrize(("name", "found"), [("dog-120", 592), ("pet-37", 212), ("flower-102", 482)])
def test_photos_under_other_names_are_found_by_their_column(name, found):
    folder = SHARED / "fgvr"
    if not folder.is_dir():
        pytest.skip(f"the photos are not in {folder}")
    assert len(find_photos(folder, read_foci(FOCI / f"{name}.json"))) == found
    with pytest.raises(UserError, match="None of the 8041 photos"):  # those there are training photos of these names
        find_photos(folder / "car", read_foci(FOCI / "car-196.json"))


def foci_file(path, images=("images/image_1.jpg",), **changes):
    entries = [{"image": image, "options": list(FLOWERS), "groundtruth": FLOWERS[0]} | changes for image in images]
    path.write_text(json.dumps({FLOWERS[0]: entries}))
    return path


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(path)
    return path


def test_questions_keep_the_spelling_of_their_file(tmp_path):
    foci = read_foci(foci_file(tmp_path / "q.json", ["a/1.jpg", "a/1.jpg"]))
    assert foci.questions[0] == FociQuestion("1", "a/1.jpg", FLOWERS, FLOWERS[0])
    assert foci.questions[1].id == "1#2"
    assert foci.name == "flower-102"  # whose classes they are, whatever the file is called
    assert foci.prompt(list("wxyz")).startswith("Which of these flowers is shown in the image?\nChoices:\nA. w\n")


def test_questions_about_other_classes_ask_for_choices(tmp_path):
    other = {"cup": [{"image": "1.jpg", "options": ["cup", "mug", "jar", "can"], "groundtruth": "cup"}]}
    (tmp_path / "household.json").write_text(json.dumps(other))
    foci = read_foci(tmp_path / "household.json")
    assert (foci.name, foci.data_set) == ("household", None)
    assert foci.prompt(list("wxyz")).startswith("Which of these choices is shown in the image?\nChoices:\nA. w\n")


def test_the_seed_alone_decides_the_order_of_the_options():
    questions = [FociQuestion(str(i), f"{i}.jpg", FLOWERS, FLOWERS[0]) for i in range(40)]
    orders = [question.shuffled(0) for question in questions]
    assert [question.shuffled(0) for question in reversed(questions)][::-1] == orders
    assert [question.shuffled(1) for question in questions] != orders
    assert {order.index(FLOWERS[0]) for order in orders} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": ["air plant", "rose", "rose", "azalea"]}, "four distinct options"),
        ({"options": ["air plant", "rose", "azalea"]}, "four distinct options"),
        ({"options": ["lily", "rose", "lotus", "azalea"]}, "'air plant' among them"),
        ({"groundtruth": "rose"}, "answered otherwise"),
        ({"options": None}, "does not hold FOCI questions"),
    ],
)
def test_foci_questions_that_cannot_be_answered_are_errors(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        read_foci(foci_file(tmp_path / "q.json", **changes))


def test_files_that_hold_no_foci_questions_are_errors(tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "text.json").write_text("hello")
    for name in ("list.json", "text.json", "missing.json"):
        with pytest.raises(UserError, match="does not hold FOCI questions"):
            read_foci(tmp_path / name)


def test_photos_are_found_by_official_name_or_by_the_column_original(tmp_path):
    foci = read_foci(foci_file(tmp_path / "q.json", [f"images/image_{i}.jpg" for i in range(5)]))
    official = photo(tmp_path / "data" / "jpg" / "image_0.jpg")
    photo(tmp_path / "data" / "segmentation" / "image_0.png")
    rows = [
        ("images/a.webp", "ball_moss", "image_1", "test"),  # the official name of FOCI's "air plant"
        ("images/b.webp", "ball_moss", "image_2", "train"),
        ("images/c.webp", "rose", "image_3", "test"),  # another photo of this name
        ("images/d.webp", "ball_moss", "image_4", "test"),  # which is not there
    ]
    with (tmp_path / "data" / "test.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("image_path", "label", "original", "official_split"), *rows])
    for path, *_ in rows[:3]:
        photo(tmp_path / "data" / path)
    found = find_photos(tmp_path / "data", foci)
    assert found == {"image_0": official, "image_1": tmp_path / "data" / "images/a.webp"}


def test_two_photos_of_one_name_are_an_error(tmp_path):
    foci = read_foci(foci_file(tmp_path / "q.json"))
    photo(tmp_path / "train" / "image_1.jpg")
    photo(tmp_path / "test" / "image_1.jpg")
    with pytest.raises(UserError, match="share a name: name the folder of one split"):
        find_photos(tmp_path, foci)
    assert len(find_photos(tmp_path / "test", foci)) == 1
    with pytest.raises(UserError, match="None of the 1 photos that are asked about"):
        find_photos(tmp_path / "nowhere", foci)


def test_training_photos_of_the_cars_are_told_from_test_photos(tmp_path):
    names = data_sets()["car-196"].class_names()[:4]
    entry = {"image": "images/00001.jpg", "options": names, "groundtruth": names[0]}
    (tmp_path / "car-196.json").write_text(json.dumps({names[0]: [entry]}))
    foci = read_foci(tmp_path / "car-196.json")
    for i in (1, 8042):
        photo(tmp_path / "cars" / "cars_train" / f"{i:05d}.jpg")
    test = photo(tmp_path / "cars" / "cars_test" / "00001.jpg")
    assert find_photos(tmp_path / "cars", foci) == {"00001": test}
    with pytest.raises(UserError, match="holds training photos of Stanford Cars"):
        find_photos(tmp_path / "cars" / "cars_train", foci)
