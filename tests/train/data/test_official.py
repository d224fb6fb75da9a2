import json
from pathlib import Path

import pytest
from PIL import Image

from core.errors import UserError
from core.taxonomy.categories import canonical_name
from core.taxonomy.data_sets import data_sets
from core.taxonomy.names import normalise
from train.data.official import read_hub
from train.data.records import record

FOCI = Path(__file__).parents[4] / "shared" / "data" / "foci"
needs_foci = pytest.mark.skipif(not FOCI.is_dir(), reason=f"the FOCI questions are not in {FOCI}")
IDS = list(data_sets())


def photo(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (shade, 0, 0)).save(path)


@pytest.mark.parametrize("name", IDS)
def test_the_table_and_the_class_names_agree(name):
    data_set = data_sets()[name]
    names = data_set.class_names()
    assert len(names) == data_set.classes
    assert len({canonical_name(n) for n in names}) == data_set.classes  # no two become one category
    assert set(data_set.foci_names.values()) <= set(names)
    assert data_set.open_question.endswith(f"{data_set.noun} shown in the image?")
    assert data_set.closed_question.startswith(f"Which of these {data_set.noun}")


def test_the_published_numbers_of_photos_are_in_the_table():
    table = {name: (row.train, row.test) for name, row in data_sets().items()}
    assert table["car-196"] == (8144, 8041)
    assert sum(train for train, _ in table.values()) == 38_525
    assert sum(test for _, test in table.values()) == 35_566


@needs_foci
@pytest.mark.parametrize("name", IDS)
def test_foci_and_the_data_sets_name_the_same_classes(name):
    data_set = data_sets()[name]
    foci = {normalise(data_set.foci_names.get(n, n)) for n in json.loads((FOCI / f"{name}.json").read_text())}
    official = {normalise(n) for n in data_set.class_names()}
    assert foci == official


@pytest.fixture
def hub(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    datasets.disable_progress_bars()
    return datasets


def saved(hub, folder, labels=(0, 1, 0), **columns):
    features = {"picture": hub.Image(), "species": hub.ClassLabel(names=["186.Cedar_Waxwing", "Blue_Jay"])}
    for i in range(len(labels)):
        photo(folder.parent / f"{i}.jpg", i)
    pictures = [str(folder.parent / f"{i}.jpg") for i in range(len(labels))]
    return hub.Dataset.from_dict(
        {"picture": pictures, "species": list(labels)} | columns,
        hub.Features(features | {c: hub.Image() for c in columns}),
    )


def test_a_saved_hub_data_set_is_read_into_files_named_by_content(hub, tmp_path):
    data = saved(hub, tmp_path / "birds")
    hub.DatasetDict({"train": data, "test": data.select([2])}).save_to_disk(tmp_path / "birds")
    records = read_hub(f"hf:{tmp_path / 'birds'}", "train")
    assert [r.category for r in records] == ["Cedar Waxwing", "Blue Jay", "Cedar Waxwing"]
    assert {r.data_set for r in records} == {"birds"}
    for i, r in enumerate(records):
        assert r.image == tmp_path / "cache" / "datasets" / f"{r.sha256}.jpeg"
        assert r.sha256 == record(tmp_path / f"{i}.jpg", "x", "x").sha256  # the bytes are those of the original
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "datasets").iterdir()}
    assert read_hub(str(tmp_path / "birds"), "test") == records[2:]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "datasets").iterdir()} == written


def test_a_single_saved_table_is_the_training_split(hub, tmp_path):
    saved(hub, tmp_path / "birds").save_to_disk(tmp_path / "birds")
    assert len(read_hub(str(tmp_path / "birds"), "train")) == 3
    with pytest.raises(UserError, match="no split 'test'"):
        read_hub(str(tmp_path / "birds"), "test")


def test_an_image_folder_is_read_by_split(hub, tmp_path):
    for i, name in enumerate(("train/Blue_Jay/1.png", "train/Cedar_Waxwing/1.png", "test/Blue_Jay/2.png")):
        photo(tmp_path / "birds" / name, i)
    assert sorted(r.category for r in read_hub(str(tmp_path / "birds"), "train")) == ["Blue Jay", "Cedar Waxwing"]
    assert [r.category for r in read_hub(str(tmp_path / "birds"), "test")] == ["Blue Jay"]
    with pytest.raises(UserError, match="split 'valid' of the data set .* cannot be loaded"):
        read_hub(str(tmp_path / "birds"), "valid")


def test_a_hub_data_set_that_cannot_be_had_is_one_sentence(hub):
    with pytest.raises(UserError, match="split 'train' of the data set owner/name cannot be loaded: "):
        read_hub("hf:owner/name", "train")


def test_hub_columns_are_found_by_their_type_or_named(hub, tmp_path):
    data = saved(hub, tmp_path / "birds")
    data.remove_columns("species").save_to_disk(tmp_path / "unlabelled")
    with pytest.raises(UserError, match=r"one column of type ClassLabel, but has the columns picture \(Image\)"):
        read_hub(str(tmp_path / "unlabelled"), "train")
    saved(hub, tmp_path / "birds", mask=data["picture"][:]).save_to_disk(tmp_path / "two")
    with pytest.raises(UserError, match="one column of type Image"):
        read_hub(str(tmp_path / "two"), "train")


def test_hub_rows_without_label_or_photo_are_named(hub, tmp_path):
    saved(hub, tmp_path / "hidden", labels=(0, -1)).save_to_disk(tmp_path / "hidden")
    with pytest.raises(UserError, match="Row 1 of .* has no label"):
        read_hub(str(tmp_path / "hidden"), "train")
    features = hub.Features({"image": hub.Image(), "label": hub.ClassLabel(names=["a"])})
    for broken in ({"bytes": b"no photo", "path": None}, None):
        hub.Dataset.from_dict({"image": [broken], "label": [0]}, features).save_to_disk(tmp_path / f"{broken is None}")
        with pytest.raises(UserError, match="Row 0 of .* has no readable photo"):
            read_hub(str(tmp_path / f"{broken is None}"), "train")
