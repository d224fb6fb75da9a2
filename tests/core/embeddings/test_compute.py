import json
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from core.cli import main
from core.data.photo_sets import open_photo_set
from core.embeddings.compute import compute_embeddings, embed_photos, readable_photos
from core.embeddings.embedding_set import EmbeddingSet
from core.errors import UserError
from core.progress import Progress, run
from core.taxonomy.categories import find_category
from core.taxonomy.descriptions import describe

PICTURES = Path(skimage.__file__).parent / "data"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two class folders of package pictures, one unreadable file among them; embeddings are kept elsewhere."""
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path / "cache"))
    cat = Image.open(PICTURES / "chelsea.png")
    for i, label in enumerate(["Bengal", "Bengal", "Pug"]):
        path = tmp_path / "photos" / label / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cat.rotate(90 * i).save(path)
    (tmp_path / "photos/Pug/9.png").write_text("not a photo")
    return tmp_path / "photos"


def embedded(folder, load):
    with open_photo_set([folder]) as items:
        return run(compute_embeddings("finedefics-tiny", items, "set", load))


def test_photos_descriptions_and_names_are_those_of_the_model(folder, recogniser):
    space = embedded(folder, lambda _: recogniser)
    assert (space.categories, space.groups, space.truth.tolist()) == (["Bengal", "Pug"], ["cat", "dog"], [0, 0, 1])
    assert space.provenance["left_out"] == 1
    labels = recogniser.label_space(["Bengal", "Pug"])
    assert ((space.names * labels.names.numpy()).sum(axis=1) > 0.99).all()  # those were made in bfloat16
    texts = recogniser.mllm.embed_texts([describe(find_category(name)) for name in ("Bengal", "Pug")])
    assert np.allclose(space.descriptions, texts, atol=2e-3)
    alone, vision = embed_photos(recogniser, [Image.open(folder / "Pug/2.png").convert("RGB")])
    assert np.allclose(space.objects[2], alone[0], atol=2e-3)
    assert np.allclose(space.vision[2], vision[0], atol=2e-3)


def test_the_second_time_no_model_is_loaded(folder, recogniser):
    first = embedded(folder, lambda _: recogniser)
    with open_photo_set([folder]) as items:
        second = run(
            compute_embeddings("finedefics-tiny", items, "the same set", lambda _: pytest.fail("it was loaded"))
        )
    assert np.array_equal(first.objects, second.objects)
    assert (first.provenance["set"], second.provenance["set"]) == ("set", "the same set")
    (folder / "Pug/2.png").rename(folder / "Bengal/2.png")  # another label is another set
    with pytest.raises(LookupError), open_photo_set([folder]) as items:
        run(compute_embeddings("finedefics-tiny", items, "set", lambda _: {}["loaded"]))


def test_a_damaged_cached_set_is_computed_again(folder, recogniser, tmp_path, caplog):
    first = embedded(folder, lambda _: recogniser)
    (path,) = (tmp_path / "cache/embeddings").glob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    again = embedded(folder, lambda _: recogniser)
    assert np.array_equal(first.objects, again.objects)
    assert "damaged" in caplog.text
    assert EmbeddingSet.load(path).model == "finedefics-tiny"


def test_stopping_leaves_nothing(folder, recogniser, tmp_path):
    with open_photo_set([folder]) as items:
        steps = compute_embeddings("finedefics-tiny", items, "set", lambda _: recogniser)
        assert next(steps) == Progress(1.0, "3 of 3 photos.")
        steps.close()
    assert not list((tmp_path / "cache").rglob("*.npz"))


def test_sets_that_cannot_be_used_are_refused(folder, recogniser):
    with (
        open_photo_set([folder / "Bengal/0.png", folder / "Bengal/1.png"]) as items,
        pytest.raises(UserError, match="label"),
    ):
        run(compute_embeddings("finedefics-tiny", items, "set", lambda _: recogniser))
    (folder / "Bengal/2.png").write_bytes((folder / "Pug/2.png").read_bytes())
    with pytest.raises(UserError, match="another label"):
        embedded(folder, lambda _: recogniser)
    for path in folder.rglob("*.png"):
        path.write_text("nothing")
    with pytest.raises(UserError, match="None of the files"):
        embedded(folder, lambda _: recogniser)


def test_the_command_writes_the_file_and_prints_the_numbers(folder, recogniser, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("core.zoo.registry.load", lambda *_: recogniser)
    out = tmp_path / "s.npz"
    assert main(["embed", str(folder), "--out", str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["photos"], printed["categories"]) == (3, 2)
    assert 0 < printed["gap"] < 2
    assert EmbeddingSet.load(out).model == "finedefics-tiny"
    assert main(["embed", str(folder), "--out", str(tmp_path / "s.txt")]) == 2
    assert ".npz or .parquet" in capsys.readouterr().err


def test_a_folder_of_data_sets_is_read_by_the_name_of_its_tables(folder, tmp_path):
    sets = tmp_path / "sets"
    for name, label in {"cats": "Bengal", "dogs": "Pug"}.items():
        (sets / name).mkdir(parents=True)
        for part in ("train", "test"):
            (sets / name / f"{part}.png").write_bytes((folder / "Pug/2.png").read_bytes())
            (sets / name / f"{part}.csv").write_text(f"image_path,label\n{part}.png,{label}\n")
    with open_photo_set([sets], "test.csv") as items:
        found = [(item.name, item.label, item.dataset) for item in items]
        assert items[1].read() == (sets / "dogs/test.png").read_bytes()
    assert found == [("cats/test.png", "Bengal", "cats"), ("dogs/test.png", "Pug", "dogs")]
    for table, reason in {"other.csv": "no other.csv", "../test.csv": "not the name"}.items():
        with pytest.raises(UserError, match=reason), open_photo_set([sets], table):
            pass
    with pytest.raises(UserError, match="folder"), open_photo_set([sets / "cats/test.png"], "test.csv"):
        pass


def test_labels_that_differ_in_case_alone_are_one_category(tmp_path):
    for shade, label in enumerate(["Fly Agaric", "fly agaric"]):
        path = tmp_path / label / f"{shade}.png"
        path.parent.mkdir()
        Image.new("RGB", (64, 64), (shade, 0, 0)).save(path)
    with open_photo_set([tmp_path]) as items:
        assert [photo.category for photo in readable_photos(items)] == ["Fly Agaric", "Fly Agaric"]
