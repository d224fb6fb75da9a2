"""How well photos, attribute descriptions and names are aligned, measured in the embedding space, not in a map."""

import numpy as np

from core.embeddings.embedding_set import EmbeddingSet

SILHOUETTE_PHOTOS = 5_000  # more are sampled: every pair is compared
EXPLAINED = {
    "gap": "modality gap: distance of the centroids of photos and names (0: none)",
    "attribute_gap": "the same, of photos and attribute descriptions",
    "recall_at_1": "photos whose own name is the nearest of all names",
    "recall_at_5": "photos whose own name is among the five nearest",
    "mrr": "mean reciprocal rank of the own name",
    "alignment": "mean squared distance of a photo and its name (less is closer)",
    "uniformity": "log of the mean Gaussian potential between photos (less is more evenly spread)",
    "silhouette": "how much nearer photos are to their own category than to the next (-1 to 1)",
}


def alignment_numbers(embeddings: EmbeddingSet) -> dict[str, float | None]:
    """Return the measures of `EXPLAINED` over the photos with a label; `None` where there is nothing to measure.

    Alignment and uniformity (t = 2): Wang and Isola 2020. Ties count against the truth.
    """
    labelled = embeddings.truth >= 0
    objects, truth = embeddings.objects[labelled], embeddings.truth[labelled]
    described = embeddings.descriptions.any(axis=1)
    numbers: dict[str, float | None] = dict.fromkeys(EXPLAINED)
    if not len(objects):
        return numbers
    numbers["gap"] = modality_gap(objects, embeddings.names)
    if described.any():
        numbers["attribute_gap"] = modality_gap(objects, embeddings.descriptions[described])
    similarities = objects @ embeddings.names.T  # [N, C]
    own = similarities[np.arange(len(truth)), truth]
    ranks = (similarities >= own[:, None]).sum(axis=1)  # 1: first
    numbers["recall_at_1"], numbers["recall_at_5"] = float((ranks <= 1).mean()), float((ranks <= 5).mean())
    numbers["mrr"] = float((1 / ranks).mean())
    numbers["alignment"] = float((2 - 2 * own).mean())
    if len(objects) > 1:
        squared = (2 - 2 * objects @ objects.T)[np.triu_indices(len(objects), 1)]
        numbers["uniformity"] = float(np.log(np.exp(-2 * squared).mean()))
    numbers["silhouette"] = silhouette(objects, truth)
    return numbers


def modality_gap(objects: np.ndarray, texts: np.ndarray) -> float:
    """Return the distance of the centroids of normalised embeddings of photos [N, H] and texts [M, H].

    See Liang et al. 2022. It is 0 when the centroids coincide, 2 when they are opposite points of the sphere.
    """
    return float(np.linalg.norm(objects.mean(axis=0) - texts.mean(axis=0)))


def silhouette(objects: np.ndarray, truth: np.ndarray) -> float | None:
    """Return the mean silhouette (cosine) of photos [N, H] by category [N].

    It is `None` unless there are several categories and two photos share one.
    """
    from sklearn.metrics import silhouette_score

    if not 2 <= len(set(truth.tolist())) < len(truth):
        return None
    sampled = SILHOUETTE_PHOTOS if len(truth) > SILHOUETTE_PHOTOS else None
    return float(silhouette_score(objects, truth, metric="cosine", sample_size=sampled, random_state=0))
