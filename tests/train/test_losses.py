import math

import pytest
import torch

from train.losses import TripleBatch, attribute_category, category_category, contrast, object_attribute, object_category

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
    assert category_category(batch(), 0.5).item() == pytest.approx((cos(40) + cos(20)) / 0.5 / 2, abs=1e-9)


def test_photos_of_one_category_are_not_negatives_of_each_other():
    apart = contrast(unit(0, 50), unit(10, 60), torch.tensor([0, 1]), 0.5)
    same = contrast(unit(0, 50), unit(10, 60), torch.tensor([7, 7]), 0.5)
    assert same.item() == pytest.approx(0, abs=1e-9)
    assert apart > 0.1


def test_a_hard_negative_of_the_own_category_is_masked():
    free = object_attribute(batch(negative_categories=((2,), (3,))), 0.5)
    masked = object_attribute(batch(negative_categories=((0,), (1,))), 0.5)
    without = (
        contrast(batch().objects, batch().descriptions, batch().categories, 0.5)
        + contrast(batch().descriptions, batch().objects, batch().categories, 0.5)
    ) / 2
    assert masked < free
    assert masked.item() == pytest.approx(without.item(), abs=1e-9)


def test_category_category_needs_a_negative_of_another_category():
    with pytest.raises(ValueError, match="another category"):
        category_category(batch(negative_categories=((0,), (3,))), 0.5)


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
