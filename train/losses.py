"""The contrastive losses of stage I, as pure functions of embeddings.

`objects`, `descriptions` and `names` are o, a and c of the method: [B, d], L2-normalised, row i from photo i.
`Sim(x, y) = x.y / temperature`. All losses are means over the batch and
computed in the embeddings' own precision, also under autocast. A pair of one and the same category is never
a negative: such pairs are masked in the batch and among the hard negatives.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TripleBatch:
    """Embeddings of B photos, of their descriptions and names, and of K hard negatives per photo."""

    objects: Tensor  # [B, d]
    descriptions: Tensor  # [B, d]
    names: Tensor  # [B, d]
    categories: Tensor  # [B] integer identity of the category
    negative_descriptions: Tensor  # [B, K, d]
    negative_names: Tensor  # [B, K, d]
    negative_categories: Tensor  # [B, K]


def _products(equation: str, left: Tensor, right: Tensor) -> Tensor:
    with torch.autocast(left.device.type, enabled=False):
        return torch.einsum(equation, left, right)


def contrast(
    anchors: Tensor,
    targets: Tensor,
    categories: Tensor,
    temperature: float,
    negatives: Tensor | None = None,
    negative_categories: Tensor | None = None,
) -> Tensor:
    """mean_i -log( exp Sim(x_i, y_i) / (sum_j exp Sim(x_i, y_j) + sum_w exp Sim(x_i, w)) ), scalar.

    j runs over i and the batch's other categories; w over `negatives` [B, K, d] of row i, if given.
    """
    logits = _products("bd,cd->bc", anchors, targets) / temperature  # [B, B]
    same = categories[:, None] == categories[None, :]
    own = torch.eye(len(categories), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same & ~own, -torch.inf)
    if negatives is not None and negative_categories is not None:
        hard = _products("bd,bkd->bk", anchors, negatives) / temperature  # [B, K]
        hard = hard.masked_fill(negative_categories == categories[:, None], -torch.inf)
        logits = torch.cat([logits, hard], dim=1)
    return (logits.logsumexp(dim=1) - logits.diagonal()).mean()


def object_attribute(batch: TripleBatch, temperature: float) -> Tensor:
    """L_OAC = (L_OA(hn) + L_AO) / 2."""
    to_descriptions = contrast(
        batch.objects,
        batch.descriptions,
        batch.categories,
        temperature,
        batch.negative_descriptions,
        batch.negative_categories,
    )
    to_objects = contrast(batch.descriptions, batch.objects, batch.categories, temperature)
    return (to_descriptions + to_objects) / 2


def attribute_category(batch: TripleBatch, temperature: float) -> Tensor:
    """L_ACC = (L_AC(hn) + L_CA(hn)) / 2."""
    to_names = contrast(
        batch.descriptions,
        batch.names,
        batch.categories,
        temperature,
        batch.negative_names,
        batch.negative_categories,
    )
    to_descriptions = contrast(
        batch.names,
        batch.descriptions,
        batch.categories,
        temperature,
        batch.negative_descriptions,
        batch.negative_categories,
    )
    return (to_names + to_descriptions) / 2


def category_category(batch: TripleBatch, temperature: float) -> Tensor:
    """L_CCC = mean_i log sum_{k in C_hn(i)} exp Sim(c_i, c_k): a name is pushed from its look-alikes' names."""
    similarity = _products("bd,bkd->bk", batch.names, batch.negative_names) / temperature
    same = batch.negative_categories == batch.categories[:, None]
    if same.all(dim=1).any():
        raise ValueError("Every row needs at least one hard negative of another category.")
    return similarity.masked_fill(same, -torch.inf).logsumexp(dim=1).mean()


def object_category(batch: TripleBatch, temperature: float) -> Tensor:
    """(L_OC(hn) + L_CO) / 2: objects against names directly, without the attribute bridge."""
    to_names = contrast(
        batch.objects,
        batch.names,
        batch.categories,
        temperature,
        batch.negative_names,
        batch.negative_categories,
    )
    return (to_names + contrast(batch.names, batch.objects, batch.categories, temperature)) / 2
