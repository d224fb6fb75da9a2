"""Small random embedding sets with hostile names, for tests of maps."""

import numpy as np

from core.embeddings.embedding_set import EmbeddingSet
from core.embeddings.projection import ProjectionConfig
from core.progress import run

PCA = ProjectionConfig(method="pca")
HOSTILE = "<b>x</b><img src=x onerror=window.hit=1>"


def random_set(photos=40, categories=4, width=8, seed=0):
    random = np.random.default_rng(seed)

    def unit(rows):
        values = random.normal(size=(rows, width)).astype(np.float32)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    return EmbeddingSet(
        objects=unit(photos),
        vision=unit(photos),
        names=unit(categories),
        descriptions=unit(categories),
        truth=np.arange(photos) % categories,
        categories=[HOSTILE, *(f"category {i}" for i in range(1, categories))],
        groups=["bird", "", *["dog"] * (categories - 2)],
        photos=[f"{HOSTILE}{i}.jpg" for i in range(photos)],
        hashes=[f"{i:064}" for i in range(photos)],
        data_sets=["a" if i % 2 else "" for i in range(photos)],
        provenance={"model": "model"},
    )


def projected(*sets, vision=False):
    from demo.alignment.view_model import project_all  # with Gradio, which tests of core need not load

    return run(project_all(sets, PCA, vision))
