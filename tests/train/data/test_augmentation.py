"""Augmented views: what of a photo they show, and what the targets of mixed ones say."""

import pytest
import torch

from train.data.augmentation import Augmentation, cutmix, mixup, plain_view

DRAWS = [
    lambda photos: Augmentation()(photos, 32),
    lambda photos: cutmix(photos.float(), torch.eye(16))[0],
    lambda photos: mixup(photos.float(), torch.eye(16))[0],
]


@pytest.fixture
def photos():
    return torch.randint(0, 256, (16, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_views_have_the_size_and_the_range_that_was_asked_for(photos):
    torch.manual_seed(0)
    views = Augmentation()(photos, 48)
    assert views.shape == (16, 3, 48, 48)
    assert views.dtype == torch.float32
    assert views.min() >= 0
    assert views.max() <= 255


def test_a_view_without_any_change_is_the_photo_or_its_mirror_image(photos):
    torch.manual_seed(0)
    views = Augmentation(least_area=1.0, aspect=0.0, rotation=0.0, colour=0.0)(photos, 32)
    same = photos.permute(0, 3, 1, 2).float()
    plain, mirrored = ((views - other).abs().amax((1, 2, 3)) < 0.01 for other in (same, same.flip(-1)))
    assert (plain ^ mirrored).all()
    assert plain.any()
    assert mirrored.any()


def test_a_view_shows_no_less_of_a_photo_than_it_must():
    ramp = torch.arange(64, dtype=torch.uint8)
    places = torch.stack([ramp[None].expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64).byte()], dim=-1)
    torch.manual_seed(0)
    views = Augmentation(least_area=0.35, rotation=0.0, colour=0.0)(places.expand(64, 64, 64, 3), 64)
    width, height, _ = ((views.amax((2, 3)) - views.amin((2, 3))) / 63).unbind(dim=1)
    shown = width * height
    assert shown.min() > 0.34
    assert shown.min() < 0.5
    assert shown.max() > 0.8


def test_brightness_changes_by_no_more_than_it_may():
    torch.manual_seed(0)
    views = Augmentation(colour=0.4)(torch.full((64, 8, 8, 3), 100, dtype=torch.uint8), 8)
    assert (views.amax((1, 2, 3)) - views.amin((1, 2, 3))).max() < 0.01  # one grey has no contrast and no saturation
    assert 59.9 < views.min() < 70
    assert 130 < views.max() < 140.1


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_repeat_with_their_seed_alone(photos, draw):
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(draw(photos))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_plain_view_is_the_whole_photo(photos):
    assert torch.equal(plain_view(photos, 32), photos.permute(0, 3, 1, 2).float())
    smaller = plain_view(photos, 24)
    assert smaller.shape == (16, 3, 24, 24)
    assert smaller.min() >= 0
    assert smaller.max() <= 255
    assert torch.allclose(plain_view(torch.full((1, 32, 32, 3), 7, dtype=torch.uint8), 24), torch.tensor(7.0), atol=1e-3)


def numbered(count):
    """Views of one colour each, 0, 1, 2 and so on, and their one-hot targets."""
    return torch.arange(count).float().expand(3, 20, 20, count).permute(3, 0, 1, 2), torch.eye(count)


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_targets_are_the_shares_of_the_pixels(seed):
    torch.manual_seed(seed)
    mixed, targets = cutmix(*numbered(6))
    shares = torch.stack([(mixed[:, 0] == i).float().mean((1, 2)) for i in range(6)], dim=1)
    torch.testing.assert_close(targets, shares)
    torch.testing.assert_close(targets.sum(1), torch.ones(6))


@pytest.mark.parametrize("seed", range(8))
def test_mixup_targets_are_the_shares_of_the_mixture(seed):
    torch.manual_seed(seed)
    mixed, targets = mixup(*numbered(6))
    torch.testing.assert_close(mixed, (targets @ torch.arange(6.0))[:, None, None, None].expand(-1, 3, 20, 20))
    torch.testing.assert_close(targets.sum(1), torch.ones(6))


def test_mixing_leaves_the_views_it_was_given_as_they_are():
    views, targets = numbered(6)
    kept = views.clone()
    for mix in (cutmix, mixup):
        torch.manual_seed(1)
        mixed, _ = mix(views, targets)
        assert not torch.equal(mixed, kept)
        assert torch.equal(views, kept)
