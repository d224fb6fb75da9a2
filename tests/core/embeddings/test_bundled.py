"""Embeddings and the default map that come with a checkpoint."""

import pytest
from embedding_sets import PCA, random_set

from core.embeddings.bundled import DEFAULT_MAP, MAP, bundle, bundled_embeddings, bundled_map, with_embeddings
from core.embeddings.embedding_set import EmbeddingSet
from core.embeddings.metrics import EXPLAINED, alignment_numbers
from core.embeddings.projection import ProjectionConfig
from core.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path / "cache"))


def test_the_bundled_map_is_that_of_its_embeddings_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("core.embeddings.bundled.DEFAULT_MAP", PCA)
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", tmp_path)
    space = random_set()
    monkeypatch.setattr("core.embeddings.bundled.model_id", lambda model: "these weights")
    provenance = {"model": "finedefics-tiny", "model_id": "these weights"}
    named = EmbeddingSet(**{**vars(space), "provenance": provenance})
    bundle(named)
    assert with_embeddings() == ["finedefics-tiny"]
    loaded = bundled_embeddings("finedefics-tiny")
    projection, numbers = bundled_map(loaded, PCA)
    assert projection.coordinates.shape == (48, 2)
    assert numbers["recall_at_1"] is not None
    assert bundled_map(loaded, ProjectionConfig(method="umap")) is None
    other = EmbeddingSet(**{**vars(random_set(seed=5)), "provenance": named.provenance})
    assert bundled_map(other, PCA) is None
    (tmp_path / "finedefics-tiny" / MAP).write_bytes(b"PK broken")
    with pytest.raises(UserError, match="damaged"):
        bundled_map(loaded, PCA)
    monkeypatch.setattr("core.embeddings.bundled.model_id", lambda model: "others")
    with pytest.raises(UserError, match="other weights"):
        bundled_embeddings("finedefics-tiny")
    with pytest.raises(UserError, match="without embeddings"):
        bundled_embeddings("idefics2-tiny")


def test_the_maps_of_the_checkpoints_are_those_of_their_embeddings():
    """They were written when recall had another name."""
    for model in with_embeddings():
        space = bundled_embeddings(model)
        projection, numbers = bundled_map(space, DEFAULT_MAP)
        assert projection.coordinates.shape == (len(space.points.kinds), 2)
        assert set(numbers) == set(EXPLAINED)
        recall = alignment_numbers(space)["recall_at_5"]
        assert numbers["recall_at_5"] == pytest.approx(recall, abs=0.01)
