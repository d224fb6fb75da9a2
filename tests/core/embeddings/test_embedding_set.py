import csv
import json

import numpy as np
import pyarrow.parquet
import pytest

from core.cli import main
from core.data.label_table import is_result
from core.embeddings.embedding_set import ARRAYS, KINDS, EmbeddingSet, l2_normalise
from core.errors import UserError
from core.storage.cache import CACHE_VARIABLE


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def space():
    rng = np.random.default_rng(0)
    descriptions = unit(rng.normal(size=(3, 8))).astype(np.float32)
    descriptions[2] = 0  # no description is known
    return EmbeddingSet(
        objects=unit(rng.normal(size=(4, 8))).astype(np.float32),
        vision=unit(rng.normal(size=(4, 5))).astype(np.float32),
        names=unit(rng.normal(size=(3, 8))).astype(np.float32),
        descriptions=descriptions,
        truth=np.array([0, 1, 1, -1]),
        categories=["Beagle", "Pug", "=Mug"],
        groups=["dog", "dog", ""],
        photos=["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
        hashes=["1", "2", "3", "4"],
        data_sets=["pet", "pet", "pet", ""],
        provenance={"model": "tiny"},
    )


def test_a_file_holds_what_was_saved(space, tmp_path):
    space.save(tmp_path / "s.npz")
    again = EmbeddingSet.load(tmp_path / "s.npz")
    for name in ARRAYS:
        assert np.allclose(getattr(again, name), getattr(space, name), atol=1e-3)
    assert np.allclose(np.linalg.norm(again.objects, axis=1), 1, atol=1e-6)  # in spite of half precision
    assert not again.descriptions[2].any()
    assert (again.categories, again.photos, again.provenance) == (space.categories, space.photos, space.provenance)
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


def test_points_are_photos_then_known_descriptions_then_names(space):
    points = space.points
    assert points.matrix.shape == (4 + 2 + 3, 8)
    assert points.kinds == [KINDS[0]] * 4 + [KINDS[1]] * 2 + [KINDS[2]] * 3
    assert points.photos.tolist() == [0, 1, 2, 3, -1, -1, -1, -1, -1]
    assert points.categories.tolist() == [0, 1, 1, -1, 0, 1, 0, 1, 2]
    assert len(space.vision_points.matrix) == 4


def test_nearest_of_a_photo_is_itself_and_of_a_name_its_own(space):
    assert space.nearest_photos(space.objects[2], 1)[0][0] == 2
    name, cosine = space.nearest_names(space.names[1], 1)[0]
    assert (name, round(cosine, 4)) == ("Pug", 1)


@pytest.mark.parametrize("change", ["short", "nan", "pickle", "format", "cut", "text"])
def test_a_file_that_is_none_is_refused_in_one_sentence(space, tmp_path, change):
    path = tmp_path / "s.npz"
    space.save(path)
    with np.load(path) as file:
        parts = dict(file)
    if change == "short":
        parts["objects"] = parts["objects"][:3]
    elif change == "nan":
        parts["names"][0, 0] = np.nan
    elif change == "pickle":
        parts["truth"] = np.array([object()] * 4)
    elif change == "format":
        parts["about"] = np.array(json.dumps({**json.loads(str(parts["about"])), "format": 0}))
    np.savez(path, **parts)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif change == "text":
        path.write_text("no embeddings")
    with pytest.raises(UserError) as error:
        EmbeddingSet.load(path)
    assert "embeddings" in str(error.value)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(UserError, match="There is no file"):
        EmbeddingSet.load(tmp_path / "s.npz")


def test_parquet_has_a_row_per_point_and_where_it_came_from(space, tmp_path):
    space.save_parquet(tmp_path / "s.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "s.parquet")
    assert table.num_rows == 9
    assert json.loads(table.schema.metadata[b"provenance"]) == {"model": "tiny"}
    assert table["category"].to_pylist() == ["Beagle", "Pug", "Pug", None, "Beagle", "Pug", "Beagle", "Pug", "=Mug"]
    assert np.allclose(table["embedding"].to_pylist()[0], space.objects[0])


def test_the_command_writes_a_map_of_every_point_as_a_safe_csv(space, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    space.save(tmp_path / "s.npz")
    out = tmp_path / "map.csv"
    assert main(["project", str(tmp_path / "s.npz"), "--method", "pca", "--dimensions", "3", "--out", str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["points"], printed["method"], printed["from_cache"]) == (9, "pca", False)
    assert is_result(out.read_bytes())  # left out where it lies among photos
    rows = list(csv.reader(out.read_text().splitlines()))
    assert rows[0] == ["model", "kind", "category", "data_set", "photo", "sha256", "x", "y", "z"]
    assert rows[1][:6] == ["tiny", "object", "Beagle", "pet", "a.jpg", "1"]
    assert rows[-1][:3] == ["tiny", "category", "'=Mug"]  # no formula


def test_rows_are_normalised_and_rows_of_zeros_stay():
    rows = l2_normalise(np.array([[3, 4], [0, 0]], np.float32))
    assert rows.dtype == np.float32
    assert np.allclose(rows, [[0.6, 0.8], [0, 0]])
