import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.models.checkpoint import read_feature_means, read_manifest
from core.zoo.registry import DEFAULT, find_entry
from train.cli import main
from train.data.foci import find_photos, read_foci
from train.data.look_alikes import write_questions
from train.data.source import labelled

CATS = ["Abyssinian", "Bengal", "Birman", "Bombay", "Persian"]
MEANS = {name: np.array([np.cos(i / 2), np.sin(i / 2)]) for i, name in enumerate(CATS)}  # each nearest to its neighbours


@pytest.fixture
def pets(tmp_path):
    """A data set with one photo of each of five cats, all named alike, and `official_split` as in other data sets."""
    folder = tmp_path / "data" / "pet"
    rows = [("image_path", "label", "original", "official_split")]
    for i, name in enumerate(CATS):
        path = folder / "images" / name / "1.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(path)
        rows.append((f"images/{name}/1.png", name, f"mini_{i}", "train"))
    with (folder / "test.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return folder


def write(folder, out, means=MEANS):
    return write_questions(labelled(str(folder), "test.csv", "test"), folder, out, "photos", means, "photos, a model")


def test_options_are_the_three_nearest_and_own_photos_are_found(pets, tmp_path):
    (path,) = write(pets, tmp_path / "out")
    assert path.name == "pet-look-alikes.json"
    (entry,) = json.loads(path.read_text())["Abyssinian"]
    assert entry == {
        "image": "images/Abyssinian/1.png",
        "options": ["Abyssinian", "Bengal", "Birman", "Bombay"],
        "groundtruth": "Abyssinian",
        "options_by": "photos, a model",
    }
    foci = read_foci(path)
    assert (foci.name, foci.data_set) == ("pet-look-alikes", None)  # whose results are none of the benchmark's
    assert foci.prompt(CATS[:4]).startswith("Which of these cats is shown in the image?\nChoices:\nA. Abyssinian\n")
    photos = find_photos(pets, foci)
    assert {photo.parent.name for photo in photos.values()} == set(CATS)
    with pytest.raises(UserError, match="None of the 5 photos"):
        find_photos(pets.parent, foci)


def test_every_data_set_of_a_folder_has_a_file(pets, tmp_path):
    other = shutil.copytree(pets, pets.parent / "more")
    for i, photo in enumerate(sorted(other.glob("images/*/1.png"))):
        Image.new("RGB", (8, 8), (0, 40 * i, 50)).save(photo)
    written = write(pets.parent, tmp_path / "out")
    assert {path.name: count for path, count in written.items()} == {
        "pet-look-alikes.json": 5,
        "more-look-alikes.json": 5,
    }
    for path in written:
        found = find_photos(pets.parent, read_foci(path))
        assert {photo.parents[2].name for photo in found.values()} == {path.name.partition("-")[0]}


def test_names_that_the_model_does_not_know_are_left_out(pets, tmp_path):
    known = {name.lower(): MEANS[name] for name in CATS[:4]}
    assert list(write(pets, tmp_path / "out", known).values()) == [4]
    with pytest.raises(UserError, match="pet has 3 categories that the model knows: questions need 4"):
        write(pets, tmp_path / "out", {name: MEANS[name] for name in CATS[:3]})


def test_a_file_with_a_name_of_the_benchmark_is_refused(pets, tmp_path):
    (path,) = write(pets, tmp_path / "out")
    with pytest.raises(UserError, match="rename it"):
        read_foci(path.rename(path.parent / "pet-37.json"))


def test_a_path_out_of_the_folder_leads_nowhere(pets, tmp_path):
    (path,) = write(pets, tmp_path / "out")
    table = json.loads(path.read_text())
    Image.new("RGB", (8, 8)).save(tmp_path / "data" / "secret.png")
    table["Abyssinian"][0]["image"] = "../secret.png"
    table["Bengal"][0]["image"] = str(tmp_path / "data" / "secret.png")
    path.write_text(json.dumps(table))
    assert len(find_photos(pets, read_foci(path))) == 3


def test_the_command_compares_attributes_or_mean_features(pets, tmp_path, capsys):
    for by in ("descriptions", "photos"):
        assert main(["questions", "--data", str(pets), "--out", str(tmp_path / by), "--by", by]) == 0
        assert "pet-look-alikes.json: 5 questions" in capsys.readouterr().out
    assert main(["questions", "--data", "hf:org/set", "--out", str(tmp_path)]) == 1
    assert "There is no folder hf:org/set" in capsys.readouterr().err


def test_the_means_are_those_of_the_checkpoint(recogniser):
    folder = find_entry(DEFAULT).checkpoint
    means = read_feature_means(folder)
    assert list(means) == read_manifest(folder).categories
    assert (recogniser._feature_means == np.stack(list(means.values()))).all()
