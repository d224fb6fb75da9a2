"""Compute the contrastive losses of stage I as pure functions of embeddings.

`objects`, `descriptions` and `names` are o, a and c of the method: [b, d], L2-normalised, row i from photo i.
`Sim(x, y) = x.y / temperature`. All losses are means over the batch, computed in the embeddings' own precision, also
under autocast. A pair of the same category is not a negative: such pairs are masked in the batch and among
the hard negatives.

With several processes every row is contrasted with the rows of all of them (`gather_columns`). The mean of the
processes' losses is then the loss of the whole batch, and so is the mean of their gradients.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Columns:
    """The embeddings of all B rows that a row is contrasted with; those of this process start at row `first`."""

    objects: Tensor  # [B, d]
    descriptions: Tensor  # [B, d]
    names: Tensor  # [B, d]
    categories: Tensor  # [B]
    first: int = 0


@dataclass(frozen=True)
class TripleBatch:
    """Embeddings of b photos, of their descriptions and names, and of K hard negatives per photo."""

    objects: Tensor  # [b, d]
    descriptions: Tensor  # [b, d]
    names: Tensor  # [b, d]
    categories: Tensor  # [b] integer identity of the category
    negative_descriptions: Tensor  # [b, K, d], or [b, N, d] of all hard negatives of the batch (see `shared`)
    negative_names: Tensor  # [b, K, d]
    negative_categories: Tensor  # [b, K]
    others: Columns | None = None  # the rows of all processes, where there are several
    own_negatives: int | None = None  # the first so many of a row's negatives are its own; None: all

    @property
    def columns(self) -> Columns:
        """The embeddings to contrast with."""
        return self.others or Columns(self.objects, self.descriptions, self.names, self.categories)

    def shared(self) -> "TripleBatch":
        """Return a batch whose rows are contrasted with a pool of the hard negatives of all rows (of this process).

        The pool has each category once, and none that is already a row of the batch. A row's own hard negatives are
        counted beside the pool, so those that are in it count twice. L_CCC keeps to a row's own.
        """
        b, k = self.negative_categories.shape
        flat = self.negative_categories.flatten()
        first = torch.full((int(flat.max()) + 1,), flat.numel(), device=flat.device)
        first = first.scatter_reduce(0, flat, torch.arange(flat.numel(), device=flat.device), "amin")
        once = first[flat] == torch.arange(flat.numel(), device=flat.device)
        rows = torch.nonzero(once & ~torch.isin(flat, self.categories)).flatten()

        def pooled(own: Tensor) -> Tensor:
            others = own.flatten(0, 1)[rows]
            return torch.cat([own, others.expand(b, *others.shape)], dim=1)

        return replace(
            self,
            negative_descriptions=pooled(self.negative_descriptions),
            negative_names=pooled(self.negative_names),
            negative_categories=pooled(self.negative_categories),
            own_negatives=k,
        )


def gather_columns(objects: Tensor, descriptions: Tensor, names: Tensor, categories: Tensor) -> Columns | None:
    """Gather the rows of all processes, with gradients back to each; return None if there is one process.

    Every process must have the same number of rows.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return None
    from torch.distributed._functional_collectives import all_gather_single

    group = dist.group.WORLD
    assert group is not None
    rows = torch.stack([objects, descriptions, names], dim=1)  # [b, 3, d]: one exchange instead of three
    every_object, every_description, every_name = all_gather_single(rows, 0, group).unbind(dim=1)
    every_category = all_gather_single(categories, 0, group)
    return Columns(every_object, every_description, every_name, every_category, dist.get_rank() * len(categories))


class Temperature(nn.Module):
    """The temperature tau, fixed or learned (as its logarithm) inside [0.001, 0.5]."""

    LOWEST, HIGHEST = 0.001, 0.5

    def __init__(self, start: float, learned: bool) -> None:
        super().__init__()
        if not self.LOWEST <= start <= self.HIGHEST:
            raise ValueError(f"A temperature of {start} is outside [{self.LOWEST}, {self.HIGHEST}].")
        self.logarithm = nn.Parameter(torch.tensor(start).log(), requires_grad=learned)

    def forward(self) -> Tensor:
        """Return the temperature, scalar, after clamping the parameter to its bounds, where it still has a gradient."""
        with torch.no_grad():
            self.logarithm.clamp_(math.log(self.LOWEST), math.log(self.HIGHEST))
        return self.logarithm.exp()


def _products(equation: str, left: Tensor, right: Tensor) -> Tensor:
    with torch.autocast(left.device.type, enabled=False):
        return torch.einsum(equation, left, right)


def info_nce(
    anchors: Tensor,
    targets: Tensor,
    categories: Tensor,
    target_categories: Tensor,
    temperature: float | Tensor,
    first: int = 0,
    negatives: Tensor | None = None,
    negative_categories: Tensor | None = None,
) -> Tensor:
    """mean_i -log( exp Sim(x_i, y_i) / (sum_j exp Sim(x_i, y_j) + sum_w exp Sim(x_i, w)) ), scalar.

    y_i is row `first` + i of `targets` [B, d]. j runs over it and the targets of other categories; w over `negatives`
    [b, K, d] of row i, if given.
    """
    logits = _products("bd,cd->bc", anchors, targets) / temperature  # [b, B]
    same = categories[:, None] == target_categories[None, :]
    rows = torch.arange(len(anchors), device=logits.device)
    own = torch.zeros_like(same)
    own[rows, rows + first] = True
    logits = logits.masked_fill(same & ~own, -torch.inf)
    positives = logits[rows, rows + first]
    if negatives is not None and negative_categories is not None:
        hard = _products("bd,bkd->bk", anchors, negatives) / temperature  # [b, K]
        hard = hard.masked_fill(negative_categories == categories[:, None], -torch.inf)
        logits = torch.cat([logits, hard], dim=1)
    return (logits.logsumexp(dim=1) - positives).mean()


def object_attribute(batch: TripleBatch, temperature: float | Tensor) -> Tensor:
    """L_OAC = (L_OA(hn) + L_AO) / 2."""
    columns = batch.columns
    hard = batch.negative_descriptions, batch.negative_categories
    shared = batch.categories, columns.categories, temperature, columns.first
    to_descriptions = info_nce(batch.objects, columns.descriptions, *shared, *hard)
    return (to_descriptions + info_nce(batch.descriptions, columns.objects, *shared)) / 2


def attribute_category(batch: TripleBatch, temperature: float | Tensor) -> Tensor:
    """L_ACC = (L_AC(hn) + L_CA(hn)) / 2."""
    columns = batch.columns
    shared = batch.categories, columns.categories, temperature, columns.first
    to_names = info_nce(batch.descriptions, columns.names, *shared, batch.negative_names, batch.negative_categories)
    hard = batch.negative_descriptions, batch.negative_categories
    return (to_names + info_nce(batch.names, columns.descriptions, *shared, *hard)) / 2


def category_category(batch: TripleBatch, temperature: float | Tensor) -> Tensor:
    """L_CCC = mean_i -log( exp Sim(c_i, c_i) / (exp Sim(c_i, c_i) + sum_{k in C_hn(i)} exp Sim(c_i, c_k)) ).

    The loss separates a name from the names of its hard negatives. Without the constant Sim(c_i, c_i),
    -log 1 / sum_k exp Sim(c_i, c_k) would have no lower bound and would dominate after everything else is learned.
    """
    own = slice(batch.own_negatives)
    similarity = _products("bd,bkd->bk", batch.names, batch.negative_names[:, own]) / temperature
    similarity = similarity.masked_fill(batch.negative_categories[:, own] == batch.categories[:, None], -torch.inf)
    itself = _products("bd,bd->b", batch.names, batch.names)[:, None] / temperature
    return (torch.cat([itself, similarity], dim=1).logsumexp(dim=1, keepdim=True) - itself).mean()


def object_category(batch: TripleBatch, temperature: float | Tensor) -> Tensor:
    """(L_OC(hn) + L_CO) / 2: objects against names directly, without descriptions (for the ablation)."""
    columns = batch.columns
    shared = batch.categories, columns.categories, temperature, columns.first
    to_names = info_nce(batch.objects, columns.names, *shared, batch.negative_names, batch.negative_categories)
    return (to_names + info_nce(batch.names, columns.objects, *shared)) / 2
