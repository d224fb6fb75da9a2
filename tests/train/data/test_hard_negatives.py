from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.taxonomy.categories import in_super_category
from core.taxonomy.similarity import most_similar
from train.data import hard_negatives as negatives
from train.data.feature_cache import FeatureCache, mean_features
from train.data.hard_negatives import report, similarity
from train.data.records import Record

BIRDS = [category.name for category in in_super_category("bird")]
CATS = [category.name for category in in_super_category("cat")]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path))
    return tmp_path / "negatives"


def hard_negatives(names, *options):
    """Of categories that are all of one group."""
    return negatives.hard_negatives(names, ["x"] * len(names), *options)


def means(names, seed=0):
    return np.random.default_rng(seed).normal(size=(len(names), 8))


def test_look_alikes_by_descriptions_are_the_most_similar_descriptions():
    assert hard_negatives(BIRDS, 3) == most_similar(BIRDS, 3)


def test_look_alikes_by_photos_have_the_closest_mean_embeddings():
    points = np.array([[1, 0], [1, 0.1], [0, 1], [0.3, 1]])
    assert hard_negatives(["a", "b", "c", "d"], 1, "photos", points) == [[1], [0], [3], [2]]


@pytest.mark.parametrize("by", negatives.SOURCES)
def test_similarity_is_symmetric_and_nothing_is_closer_than_itself(by):
    matrix = similarity(BIRDS, by, means(BIRDS))
    assert matrix.shape == (len(BIRDS), len(BIRDS))
    assert np.allclose(matrix, matrix.T)
    assert np.allclose(np.diag(matrix), 1)
    assert matrix.max() < 1 + 1e-6


def test_both_follows_one_source_where_the_other_is_undecided():
    same_photos = np.ones((len(BIRDS), 4))
    assert hard_negatives(BIRDS, 3, "both", same_photos) == hard_negatives(BIRDS, 3, "descriptions")
    close_photos = 1 + 1e-2 * means("abcd")  # cosines within 0.001 of each other, and names that share no word
    assert hard_negatives(list("abcd"), 3, "both", close_photos) == hard_negatives(
        list("abcd"), 3, "photos", close_photos
    )


def test_ties_keep_the_order_of_the_list():
    assert hard_negatives(["x", "y", "z", "w"], 2, "photos", np.ones((4, 3))) == [[1, 2], [0, 2], [0, 1], [0, 1]]


def test_look_alikes_are_of_the_same_group():
    names, groups = [*BIRDS[:3], *CATS[:2]], [*["bird"] * 3, *["cat"] * 2]
    closest_to_a_cat = np.array([[1, 0], [0, 1], [0, 1], [1, 0.01], [1, 0.02]])
    chosen = negatives.hard_negatives(names, groups, 2, "photos", closest_to_a_cat)
    assert chosen[0] == [1, 2]  # the birds, although the cats' photos are closer
    assert chosen[3] == [4]  # there is but one other cat


def test_there_are_at_most_all_others():
    assert hard_negatives(BIRDS[:3], 9) == most_similar(BIRDS[:3], 2)


def test_the_result_is_cached_by_the_content_of_the_inputs(cache, monkeypatch):
    first = hard_negatives(BIRDS, 3, "both", means(BIRDS))
    monkeypatch.setattr(negatives, "nearest", lambda *_: [["computed again"]])
    assert hard_negatives(BIRDS, 3, "both", means(BIRDS)) == first
    assert len(list(cache.glob("*.json"))) == 1
    for other in (
        (BIRDS[1:], 3, "both", means(BIRDS[1:])),
        (BIRDS, 2, "both", means(BIRDS)),
        (BIRDS, 3, "photos", means(BIRDS)),
        (BIRDS, 3, "both", means(BIRDS, seed=1)),
    ):
        assert hard_negatives(*other) == [["computed again"]]
    other_groups = ["x", *["y"] * (len(BIRDS) - 1)]
    assert negatives.hard_negatives(BIRDS, other_groups, 3, "both", means(BIRDS)) == [["computed again"]]


def test_a_damaged_cached_list_is_computed_again(cache, caplog):
    first = hard_negatives(BIRDS, 3)
    (path,) = cache.glob("*.json")
    for damage in ("", "[[1, 2]]", "7"):
        path.write_text(damage)
        assert hard_negatives(BIRDS, 3) == first
        assert "damaged" in caplog.text
        caplog.clear()


def test_other_attribute_values_are_other_inputs(monkeypatch):
    hard_negatives(BIRDS, 3)
    monkeypatch.setattr(negatives, "find_category", lambda name: None)
    monkeypatch.setattr(negatives, "nearest", lambda *_: [["computed again"]])
    assert hard_negatives(BIRDS, 3) == [["computed again"]]


def test_the_report_prints_what_is_chosen():
    lines = report(BIRDS, similarity(BIRDS, "descriptions"), ["bird"] * len(BIRDS), 3).splitlines()
    assert [line.split(":")[0] for line in lines] == BIRDS
    waxwing = lines[BIRDS.index("Cedar Waxwing")]
    assert waxwing.startswith("Cedar Waxwing: Bohemian Waxwing 0.")
    chosen = hard_negatives(BIRDS, 3)[BIRDS.index("Cedar Waxwing")]
    assert [part.strip().rsplit(" ", 1)[0] for part in waxwing.split(":")[1].split(",")] == [BIRDS[i] for i in chosen]


def test_mean_features_average_the_unit_features_of_a_category():
    states = np.array([[2.0, 0], [0, 4], [3, 4]], dtype=np.float16)[:, None, None]  # [photos, views, P, D]
    records = [Record(Path(f"{i}.jpg"), category, "x", str(i)) for i, category in enumerate("aab")]
    model = SimpleNamespace(device=torch.device("cpu"))
    means = mean_features(model, records, FeatureCache(states, [0, 1, 2]), ["b", "a"])
    assert np.allclose(means, [[0.6, 0.8], [0.5**0.5, 0.5**0.5]])
    with pytest.raises(UserError, match="no photos of c"):
        mean_features(model, records, FeatureCache(states, [0, 1, 2]), ["a", "c"])


def test_mistakes_of_a_user_are_told_and_those_of_a_caller_raised():
    with pytest.raises(UserError, match="at least two"):
        hard_negatives(["Cedar Waxwing"], 3)
    with pytest.raises(UserError, match="by 'colour': choose one of descriptions, photos, both"):
        hard_negatives(BIRDS, 3, "colour")
    for wrong in (None, means(BIRDS[1:]), np.ones(len(BIRDS))):
        with pytest.raises(ValueError, match="photo_means"):
            hard_negatives(BIRDS, 3, "photos", wrong)
    with pytest.raises(ValueError, match="no row of zeros"):
        hard_negatives(["a", "b"], 1, "photos", np.zeros((2, 4)))
    with pytest.raises(ValueError, match="k=0"):
        hard_negatives(BIRDS, 0)
