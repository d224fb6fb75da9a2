"""Embeddings and the default map that come with a checkpoint."""

import pytest
from embedding_sets import PCA, random_set

from core.embeddings.bundled import MAP, bundle, bundled_embeddings, bundled_map, with_embeddings
from core.embeddings.embedding_set import EmbeddingSet
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
    assert numbers["retrieval_1"] is not None
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
