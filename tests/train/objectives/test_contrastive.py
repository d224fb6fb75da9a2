import math
import socket
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from train.objectives.contrastive import (
    Temperature,
    TripleBatch,
    attribute_category,
    category_category,
    gather_columns,
    info_nce,
    object_attribute,
    object_category,
)

LOSSES = [object_attribute, attribute_category, category_category, object_category]


def unit(*degrees):
    radians = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([radians.cos(), radians.sin()], dim=-1)


def batch(categories=(0, 1), negative_categories=((2,), (3,))):
    n = len(categories)
    angles = torch.arange(n) * 50.0
    negatives = unit(*[200.0 + 30 * i for i in range(n)])[:, None]
    return TripleBatch(
        unit(*angles),
        unit(*(angles + 10)),
        unit(*(angles - 20)),
        torch.tensor(categories),
        negatives,
        -negatives,
        torch.tensor(negative_categories),
    )


def cos(degrees):
    return math.cos(math.radians(degrees))


def test_object_attribute_by_hand():
    # o = 0, 50; a = 10, 60; one negative description each at 200, 230 degrees; temperature 0.5
    e = lambda d: math.exp(cos(d) / 0.5)  # noqa: E731
    to_a = [-math.log(e(10) / (e(10) + e(60) + e(200))), -math.log(e(10) / (e(10) + e(40) + e(180)))]
    to_o = [-math.log(e(10) / (e(10) + e(40))), -math.log(e(10) / (e(10) + e(60)))]
    assert object_attribute(batch(), 0.5).item() == pytest.approx((sum(to_a) + sum(to_o)) / 4, abs=1e-9)


def test_attribute_category_by_hand():
    # a = 10, 60; c = -20, 30; negative names at 20, 50; negative descriptions at 200, 230 degrees
    e = lambda d: math.exp(cos(d) / 0.5)  # noqa: E731
    to_c = [-math.log(e(30) / (e(30) + e(20) + e(10))), -math.log(e(30) / (e(30) + e(80) + e(10)))]
    to_a = [-math.log(e(30) / (e(30) + e(80) + e(220))), -math.log(e(30) / (e(30) + e(20) + e(200)))]
    assert attribute_category(batch(), 0.5).item() == pytest.approx((sum(to_c) + sum(to_a)) / 4, abs=1e-9)


def test_category_category_by_hand():
    # each row against its own negatives: c_0 = -20 with 20, c_1 = 30 with 50 degrees
    e = lambda d: math.exp(cos(d) / 0.5)  # noqa: E731
    expected = [-math.log(e(0) / (e(0) + e(40))), -math.log(e(0) / (e(0) + e(20)))]
    assert category_category(batch(), 0.5).item() == pytest.approx(sum(expected) / 2, abs=1e-9)


def test_photos_of_one_category_are_not_negatives_of_each_other():
    two, one = torch.tensor([0, 1]), torch.tensor([7, 7])
    apart = info_nce(unit(0, 50), unit(10, 60), two, two, 0.5)
    same = info_nce(unit(0, 50), unit(10, 60), one, one, 0.5)
    assert same.item() == pytest.approx(0, abs=1e-9)
    assert apart > 0.1


def test_a_hard_negative_of_the_own_category_is_masked():
    free = object_attribute(batch(negative_categories=((2,), (3,))), 0.5)
    masked = object_attribute(batch(negative_categories=((0,), (1,))), 0.5)
    without = (
        info_nce(batch().objects, batch().descriptions, batch().categories, batch().categories, 0.5)
        + info_nce(batch().descriptions, batch().objects, batch().categories, batch().categories, 0.5)
    ) / 2
    assert masked < free
    assert masked.item() == pytest.approx(without.item(), abs=1e-9)


def test_a_name_without_look_alikes_is_pushed_from_none():
    assert category_category(batch(negative_categories=((0,), (1,))), 0.5).item() == pytest.approx(0, abs=1e-9)


def test_names_that_are_apart_are_pushed_no_further():
    apart = replace(batch(), negative_names=-batch().names[:, None])
    assert category_category(apart, 0.05).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_exact(loss):
    example = batch((0, 1, 1, 2), ((1,), (2,), (0,), (0,)))
    free = [t.clone().requires_grad_() for t in (example.objects, example.descriptions, example.names)]

    def of(objects, descriptions, names):
        return loss(
            TripleBatch(
                objects,
                descriptions,
                names,
                example.categories,
                example.negative_descriptions,
                example.negative_names,
                example.negative_categories,
            ),
            0.3,
        )

    assert torch.autograd.gradcheck(of, free)


def test_the_temperature_is_learned_and_clamped():
    learned = Temperature(0.07, learned=True)
    optimizer = torch.optim.SGD(learned.parameters(), lr=1e4)
    rows = batch()
    before = object_attribute(rows, learned())
    before.backward()
    assert learned.logarithm.grad.abs() > 0
    optimizer.step()
    assert learned().item() in (pytest.approx(0.001), pytest.approx(0.5))
    assert not [p for p in Temperature(0.07, learned=False).parameters() if p.requires_grad]
    with pytest.raises(ValueError, match="outside"):
        Temperature(0.7, learned=True)


def random_batch(rows):
    torch.manual_seed(0)
    d, k = 6, 3
    unit = lambda *shape: torch.nn.functional.normalize(torch.randn(*shape, d, dtype=torch.float64), dim=-1)  # noqa: E731
    categories = torch.tensor([0, 1, 2, 0, 3, 4, 1, 0])[:rows]
    return TripleBatch(
        unit(rows), unit(rows), unit(rows), categories, unit(rows, k), unit(rows, k), torch.randint(1, 6, (rows, k))
    )


def sum_of_losses(rows, temperature):
    return sum(loss(rows, temperature) for loss in LOSSES)


def one_of_two(rank, port, results):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    whole = random_batch(8)
    share = slice(rank * 4, rank * 4 + 4)
    own = TripleBatch(*(getattr(whole, f)[share] for f in list(vars(whole))[:7]))
    leaves = [t.clone().requires_grad_() for t in (own.objects, own.descriptions, own.names)]
    own = TripleBatch(*leaves, *list(vars(own).values())[3:7])
    own = replace(own, others=gather_columns(*leaves, own.categories))
    loss = sum_of_losses(own, 0.2)
    loss.backward()
    # What DDP does to a parameter's gradient: the mean over the processes of d loss_r / d theta. Here the leaves are
    # local, and a leaf's gradient already sums what every process's loss says of it.
    results[rank] = (loss.item(), [leaf.grad / 2 for leaf in leaves])
    dist.destroy_process_group()


def test_two_processes_have_the_loss_and_the_gradients_of_one():
    whole = random_batch(8)
    leaves = [t.clone().requires_grad_() for t in (whole.objects, whole.descriptions, whole.names)]
    loss = sum_of_losses(TripleBatch(*leaves, *list(vars(whole).values())[3:7]), 0.2)
    loss.backward()
    with multiprocessing.Manager() as manager:
        results = manager.dict()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        multiprocessing.start_processes(one_of_two, (port, results), nprocs=2, start_method="spawn")
        parts = [results[0], results[1]]
    assert sum(part[0] for part in parts) / 2 == pytest.approx(loss.item(), abs=1e-9)
    for i, leaf in enumerate(leaves):
        assert torch.allclose(torch.cat([part[1][i] for part in parts]), leaf.grad, atol=1e-12)


def terms(batch, i, pool):
    """Row i's losses (L_OA, L_AO, L_AC, L_CA, L_CCC, L_OC, L_CO) by brute force, with its own negatives and a pool."""
    others = [j for j in range(len(batch.categories)) if batch.categories[j] != batch.categories[i]]
    own = [(i, j) for j in range(batch.negative_categories.shape[1])]
    hard = [(r, j) for r, j in [*own, *pool] if batch.negative_categories[r, j] != batch.categories[i]]

    def nce(anchor, targets, negatives=None, rows=hard):
        logits = [anchor @ targets[i], *(anchor @ targets[j] for j in others)]
        logits += [anchor @ negatives[r, j] for r, j in rows] if negatives is not None else []
        logits = torch.stack(logits) / 0.2
        return -(logits[0] - logits.exp().sum().log())

    o, a, c = batch.objects, batch.descriptions, batch.names
    near = [(r, j) for r, j in own if batch.negative_categories[r, j] != batch.categories[i]]
    itself = torch.stack([c[i] @ c[i], *(c[i] @ batch.negative_names[r, j] for r, j in near)]) / 0.2
    apart = itself.exp().sum().log() - itself[0]
    to_descriptions, to_names = batch.negative_descriptions, batch.negative_names
    return torch.stack([
        nce(o[i], a, to_descriptions), nce(a[i], o), nce(a[i], c, to_names), nce(c[i], a, to_descriptions), apart,
        nce(o[i], c, to_names), nce(c[i], o),
    ])  # fmt: skip


def test_shared_negatives_by_brute_force():
    example = random_batch(6)
    example = replace(example, negative_categories=torch.tensor([[5, 6, 1], [0, 7, 5], [5, 2, 8], [6, 9, 0], [4, 4, 4],
                                                                  [5, 10, 6]]))  # fmt: skip
    pool = [(0, 0), (0, 1), (1, 1), (2, 2), (3, 1), (5, 1)]  # the first 5, 6, 7, 8, 9 and 10; 0 to 4 are rows
    oa, ao, ac, ca, ccc, oc, co = torch.stack([terms(example, i, pool) for i in range(6)]).mean(0).tolist()
    shared = example.shared()
    assert object_attribute(shared, 0.2).item() == pytest.approx((oa + ao) / 2, abs=1e-9)
    assert attribute_category(shared, 0.2).item() == pytest.approx((ac + ca) / 2, abs=1e-9)
    assert category_category(shared, 0.2).item() == pytest.approx(ccc, abs=1e-9)
    assert object_category(shared, 0.2).item() == pytest.approx((oc + co) / 2, abs=1e-9)
    assert object_attribute(shared, 0.2) > object_attribute(example, 0.2)
    assert category_category(shared, 0.2).item() == category_category(example, 0.2).item()


def test_rows_without_a_hard_negative_of_another_category_share_nothing():
    example = replace(random_batch(3), negative_categories=torch.tensor([[0, 1, 2]] * 3))
    for loss in LOSSES:
        assert loss(example.shared(), 0.2).item() == pytest.approx(loss(example, 0.2).item(), abs=1e-12)
