"""Small replicas of the official layouts, and every way in which a copy can be wrong."""

import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from core.errors import UserError
from core.taxonomy.categories import canonical_name
from core.taxonomy.data_sets import data_sets
from train.data.official import detect, read_official

IDS = list(data_sets())


def photo(path, shade, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade % 256, shade // 256, 0)).save(path)


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def cells(texts):
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def cub(folder):
    names = data_sets()["bird-200"].class_names()
    photos = [f"{name}/{name[4:]}_{i}.jpg" for name in (names[0], names[185]) for i in range(3)]
    for i, name in enumerate(photos):
        photo(folder / "images" / name, i)
    write(folder / "classes.txt", [f"{i} {name}" for i, name in enumerate(names, 1)])
    write(folder / "images.txt", [f"{i} {name}" for i, name in enumerate(photos, 1)])
    write(folder / "image_class_labels.txt", [f"{i} {1 if i <= 3 else 186}" for i in range(1, 7)])
    write(folder / "train_test_split.txt", [f"{i} {int(i in (1, 2, 4))}" for i in range(1, 7)])


def dogs(folder):
    names = data_sets()["dog-120"].class_names()
    for split, number in (("train", 0), ("test", 1)):
        photos = [f"{names[c]}/{names[c].split('-')[0]}_{number}{c}.jpg" for c in (0, 4)]
        for i, name in enumerate(photos):
            photo(folder / "Images" / name, 2 * number + i)
        lists = {"file_list": cells(photos), "annotation_list": cells(photos), "labels": np.array([[1], [5]], np.uint8)}
        savemat(folder / f"{split}_list.mat", lists)


def pets(folder):
    lists = {
        "trainval": ["Abyssinian_100 1 1 1", "american_bulldog_100 2 2 1"],
        "test": ["Abyssinian_201 1 1 1", "german_shorthaired_1 15 2 10"],
    }
    for file, lines in lists.items():
        write(folder / "annotations" / f"{file}.txt", lines)
        for line in lines:
            photo(folder / "images" / f"{line.split()[0]}.jpg", len(line))


def flowers(folder):
    for i in range(1, 7):
        photo(folder / "jpg" / f"image_{i:05d}.jpg", i)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 2, 77, 93, 102, 1]], np.uint8)})
    savemat(folder / "setid.mat", {"trnid": [[1, 4]], "valid": [[3]], "tstid": [[2, 5, 6]]})


def aircraft(folder):
    write(folder / "data" / "variants.txt", data_sets()["aircraft-102"].class_names())
    write(folder / "data" / "images_variant_trainval.txt", ["0034309 707-320", "1025794 BAE 146-200"])
    write(folder / "data" / "images_variant_test.txt", ["0062765 F/A-18"])
    for i, name in enumerate(("0034309", "1025794", "0062765")):
        photo(folder / "data" / "images" / f"{name}.jpg", i)


CARS = {"train": [(20, 10, 1), (40, 30, 2), (15, 29, 196)], "test": [(38, 28, 3), (80, 30, 1)]}  # x2, y2, class
SIZES = {"train": (40, 30), "test": (80, 30)}


def cars(folder):
    (folder / "devkit").mkdir(parents=True)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": cells(data_sets()["car-196"].class_names())})
    for split, name in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
        rows = [(1, 1, x, y, c, f"{i:05d}.jpg") for i, (x, y, c) in enumerate(CARS[split], 1)]
        annotations = np.array([rows], dtype=[(field, object) for field in fields])
        savemat(folder / name, {"annotations": annotations})
        for i in range(len(rows)):
            photo(folder / f"cars_{split}" / f"{i + 1:05d}.jpg", i, SIZES[split])


REPLICAS = dict(zip(IDS, (cub, dogs, pets, flowers, aircraft, cars), strict=True))


@pytest.fixture(params=IDS)
def replica(request, tmp_path):
    REPLICAS[request.param](tmp_path / "copy")
    return tmp_path / "copy"


def make(name, tmp_path):
    REPLICAS[name](tmp_path / name)
    return tmp_path / name


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_every_layout_is_recognised_and_read_by_its_split(replica, caplog):
    data_set = detect(replica)
    assert data_set is data_sets()[data_set.id]
    train, test = read_official(replica, "train"), read_official(replica, "test")
    assert not {r.image for r in train} & {r.image for r in test}
    for part in (train, test):
        assert part
        for r in part:
            assert r.data_set == data_set.id
            assert r.sha256 == hashlib.sha256(r.image.read_bytes()).hexdigest()
            assert r.image.resolve().is_relative_to(replica.resolve())
    assert "results on them do not compare" in caplog.text  # a replica is smaller than the official data set


@pytest.mark.parametrize(
    ("name", "split", "expected"),
    [
        (
            "bird-200",
            "train",
            {
                "Black_footed_Albatross_0.jpg": "Black-footed Albatross",
                "Black_footed_Albatross_1.jpg": "Black-footed Albatross",
                "Cedar_Waxwing_0.jpg": "Cedar Waxwing",
            },
        ),
        ("dog-120", "test", {"n02085620_10.jpg": "Chihuahua", "n02086240_14.jpg": canonical_name("Shih-Tzu")}),
        ("pet-37", "train", {"Abyssinian_100.jpg": "Abyssinian", "american_bulldog_100.jpg": "American Bulldog"}),
        (
            "flower-102",
            "train",  # with the validation part
            {
                "image_00001.jpg": canonical_name("pink primrose"),
                "image_00003.jpg": canonical_name("passion flower"),
                "image_00004.jpg": canonical_name("ball moss"),
            },
        ),
        ("aircraft-102", "train", {"0034309.jpg": "707-320", "1025794.jpg": canonical_name("BAE 146-200")}),
        (
            "car-196",
            "test",
            {
                "00001.jpg": canonical_name("Acura TL Sedan 2012"),
                "00002.jpg": canonical_name("AM General Hummer SUV 2000"),
            },
        ),
    ],
)
def test_the_photos_of_a_split_have_their_official_names(tmp_path, name, split, expected):
    assert {r.image.name: r.category for r in read_official(make(name, tmp_path), split)} == expected


def test_the_data_folder_of_the_aircraft_is_accepted_itself(tmp_path):
    folder = make("aircraft-102", tmp_path)
    assert detect(folder / "data") is data_sets()["aircraft-102"]
    assert read_official(folder / "data", "train") == read_official(folder, "train")


def test_other_folders_are_not_recognised(tmp_path):
    photo(tmp_path / "birds" / "Cedar_Waxwing" / "1.png", 1)
    assert detect(tmp_path / "birds") is None
    assert detect(tmp_path / "nowhere") is None
    with pytest.raises(UserError, match="none of the official layouts"):
        read_official(tmp_path / "birds", "train")


def test_there_are_two_splits(replica):
    with pytest.raises(UserError, match="no split 'valid'.*train or test"):
        read_official(replica, "valid")


def test_a_missing_photo_is_named(replica):
    gone = read_official(replica, "test")[0].image
    gone.unlink()
    with pytest.raises(UserError, match="missing|incomplete"):
        read_official(replica, "test")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("bird-200", "classes.txt"),
        ("dog-120", "test_list.mat"),
        ("pet-37", "annotations/test.txt"),
        ("flower-102", "setid.mat"),
        ("aircraft-102", "data/images_variant_test.txt"),
        ("car-196", "cars_test_annos_withlabels.mat"),
    ],
)
def test_a_missing_or_damaged_list_is_named(tmp_path, name, file):
    folder = make(name, tmp_path)
    (folder / file).write_bytes(b"\xff\x00 damaged")
    with pytest.raises(UserError, match="are not those of|is this another data set"):
        read_official(folder, "train")
    (folder / file).unlink()
    with pytest.raises(UserError, match=f"{Path(file).name} is missing: is this copy of .* complete"):
        read_official(folder, "train")


def test_a_list_cannot_reach_outside_its_folder(tmp_path):
    photo(tmp_path / "Abyssinian_100.jpg", 1)
    pet = make("pet-37", tmp_path)
    edit(pet / "annotations" / "trainval.txt", "Abyssinian_100", "../../Abyssinian_100")
    bird = make("bird-200", tmp_path)
    edit(bird / "images.txt", "001.Black_footed_Albatross/Black_footed_Albatross_0.jpg", "../../Abyssinian_100.jpg")
    dog = make("dog-120", tmp_path)
    escapes = cells(["../../Abyssinian_100.jpg", "n02086240-Shih-Tzu/n02086240_4.jpg"])
    savemat(dog / "train_list.mat", {"file_list": escapes, "labels": [[1], [5]]})
    plane = make("aircraft-102", tmp_path)
    edit(plane / "data" / "images_variant_trainval.txt", "0034309", "../../../Abyssinian_100")
    for folder in (pet, bird, dog, plane):
        with pytest.raises(UserError, match="outside that folder"):
            read_official(folder, "train")


def test_a_photo_is_listed_once_and_in_one_split(tmp_path):
    pet = make("pet-37", tmp_path)
    for _ in range(2):  # listed for testing as well, then twice for testing
        with (pet / "annotations" / "test.txt").open("a") as file:
            file.write("Abyssinian_100 1 1 1\n")
    with pytest.raises(UserError, match="Abyssinian_100.jpg for training and for testing"):
        read_official(pet, "train")
    edit(pet / "annotations" / "test.txt", "Abyssinian_100 ", "Abyssinian_201 ")
    with pytest.raises(UserError, match="Abyssinian_201.jpg twice"):
        read_official(pet, "train")
    bird = make("bird-200", tmp_path)
    edit(bird / "images.txt", "\n2 ", "\n1 ")
    with pytest.raises(UserError, match="gives a number twice"):
        read_official(bird, "train")
    flower = make("flower-102", tmp_path)
    savemat(flower / "setid.mat", {"trnid": [[1, 4]], "valid": [[3]], "tstid": [[4, 5]]})
    with pytest.raises(UserError, match="image_00004.jpg for training and for testing"):
        read_official(flower, "test")


@pytest.mark.parametrize("number", ["0", "38", "-1"])
def test_class_numbers_outside_the_data_set_are_errors(tmp_path, number):
    folder = make("pet-37", tmp_path)
    edit(folder / "annotations" / "trainval.txt", "Abyssinian_100 1 ", f"Abyssinian_100 {number} ")
    with pytest.raises(UserError, match=f"class number {number}, but there are the classes 1 to 37"):
        read_official(folder, "train")


def test_lists_that_contradict_the_paths_or_each_other_are_errors(tmp_path):
    pet = make("pet-37", tmp_path)
    edit(pet / "annotations" / "trainval.txt", "Abyssinian_100 1 ", "Abyssinian_100 2 ")
    with pytest.raises(UserError, match="files images/Abyssinian_100.jpg under 'american_bulldog': the two disagree"):
        read_official(pet, "train")
    plane = make("aircraft-102", tmp_path)
    edit(plane / "data" / "images_variant_test.txt", "F/A-18", "F/A-19")
    with pytest.raises(UserError, match="'F/A-19', which is not a class"):
        read_official(plane, "train")
    bird = make("bird-200", tmp_path)
    edit(bird / "classes.txt", "002.Laysan_Albatross", "002.Some_Other_Bird")
    with pytest.raises(UserError, match="does not hold the 200 official class names"):
        read_official(bird, "train")
    write(bird / "images.txt", ["1"])
    edit(bird / "classes.txt", "002.Some_Other_Bird", "002.Laysan_Albatross")
    with pytest.raises(UserError, match="images.txt, line 1: 2 columns are expected"):
        read_official(bird, "train")


def test_a_list_of_more_photos_than_there_are_or_of_none_is_wrong(tmp_path):
    folder = make("pet-37", tmp_path)
    write(folder / "annotations" / "test.txt", [f"Abyssinian_{i} 1 1 1" for i in range(3700)])
    with pytest.raises(UserError, match="lists 3,700 test photos, but Oxford-IIIT Pet has 3,669"):
        read_official(folder, "train")
    write(folder / "annotations" / "test.txt", [])
    with pytest.raises(UserError, match="lists 0 test photos"):
        read_official(folder, "train")


def test_a_complete_copy_gives_no_warning(tmp_path, caplog, monkeypatch):
    folder = make("flower-102", tmp_path)
    monkeypatch.setitem(data_sets()["flower-102"].__dict__, "train", 3)
    with caplog.at_level(logging.WARNING):
        assert len(read_official(folder, "train")) == 3
    assert not caplog.text


def swap(folder, first, second):
    (folder / first).rename(folder / "aside")
    (folder / second).rename(folder / first)
    (folder / "aside").rename(folder / second)


def test_swapped_car_folders_are_found_by_their_numbers(tmp_path):
    folder = make("car-196", tmp_path)
    swap(folder, "cars_train", "cars_test")
    for split, sentence in (("train", "holds 2 photos, but .* about 3"), ("test", "holds 3 photos, but .* about 2")):
        with pytest.raises(UserError, match=sentence):
            read_official(folder, split)


def test_car_photos_of_the_other_split_are_found_by_the_boxes(tmp_path):
    folder = make("car-196", tmp_path)
    photo(folder / "cars_test" / "00002.jpg", 77, SIZES["train"])  # as many, of other content, too narrow for its box
    assert read_official(folder, "train")
    with pytest.raises(UserError, match=r"00002.jpg is annotated outside the photo \(40 x 30 pixels\).*mixed up"):
        read_official(folder, "test")


def test_car_annotations_of_the_other_split_are_found(tmp_path):
    folder = make("car-196", tmp_path)
    swap(folder, "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat")
    for split in ("train", "test"):
        with pytest.raises(UserError, match="holds the photos of"):
            read_official(folder, split)


def test_a_copy_of_the_training_cars_is_no_test_folder(tmp_path):
    folder = make("car-196", tmp_path)
    for name in ("00001.jpg", "00002.jpg"):
        (folder / "cars_test" / name).write_bytes((folder / "cars_train" / name).read_bytes())
    for split in ("train", "test"):
        with pytest.raises(UserError, match="are the same photo: one of the two folders holds copies"):
            read_official(folder, split)


def test_more_test_cars_than_there_are_tell_that_the_lists_are_swapped(tmp_path, monkeypatch):
    folder = make("car-196", tmp_path)
    monkeypatch.setitem(data_sets()["car-196"].__dict__, "test", 2)
    monkeypatch.setitem(data_sets()["car-196"].__dict__, "train", 3)
    swap(folder, "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat")
    swap(folder, "cars_train", "cars_test")  # consistent in itself
    with pytest.raises(UserError, match="lists 3 test photos, but Stanford Cars has 2: are these the lists of test"):
        read_official(folder, "train")
