import copy
import random

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch.nn import functional as F

from core.models.scoring import pooled_features
from core.models.vlm import VisionFeatures
from core.recognition.explanation import Explainer
from core.recognition.occlusion import GRID, attribute_score, heat_map, overlay, species_score
from core.recognition.photo_encoding import encode_each
from core.zoo.registry import DEFAULT, load
from tests.core.recognition.test_explanation import PHOTOS, held_out_photos

SHARE = 0.2  # of the photo that is deleted
SQUARES = 4  # beside and above each other, fewer than on the page
RANDOM = 2


@pytest.fixture(scope="module")
def cat():
    return Image.fromarray(skimage.data.chelsea())


def deleted(photo, heat):
    """The photo without the places where the map is hottest, filled with its mean colour."""
    resized = F.interpolate(heat[None, None], size=photo.size[::-1], mode="bilinear")[0, 0]
    hottest = resized.flatten().argsort(descending=True)[: round(SHARE * resized.numel())].numpy()
    pixels = np.asarray(photo).copy().reshape(-1, 3)
    pixels[hottest] = pixels.mean(axis=0)
    return Image.fromarray(pixels.reshape(*photo.size[::-1], 3))


def last_map(recogniser, photo, score):
    *_, heat = heat_map(recogniser, photo, score)
    return heat


def test_deleting_the_marked_places_costs_more_than_deleting_others(recogniser, monkeypatch):
    if not PHOTOS.is_dir():
        pytest.skip(f"the photos of {PHOTOS} are not there")
    monkeypatch.setattr("core.recognition.occlusion.GRID", SQUARES)
    torch.manual_seed(0)
    photos = random.Random(0).sample(list(held_out_photos()), 8)

    def one_view(picture):
        return encode_each(recogniser.mllm, [picture])[0]

    lower = []
    for photo, category in photos:
        space = recogniser.label_space(super_category=category.super_category.name)

        def probability(picture, index, space=space):
            return recogniser.logits(recogniser.compare(one_view(picture), space)).log_softmax(dim=0)[index]

        encoding = one_view(photo)
        index = recogniser.logits(recogniser.compare(encoding, space)).argmax().item()
        heat = last_map(recogniser, photo, species_score(recogniser, space, space.labels[index]))
        others = [probability(deleted(photo, torch.rand(9, 9)), index) for _ in range(RANDOM)]
        lower.append(probability(deleted(photo, heat), index) < torch.stack(others).mean())
    assert sum(lower) >= 0.75 * len(lower), f"{sum(lower)} of {len(lower)}"


def test_a_map_grows_row_by_row_in_the_shape_of_the_photo(recogniser, cat):
    space = recogniser.label_space(super_category="cat")
    maps = list(heat_map(recogniser, cat, species_score(recogniser, space, space.labels[0])))
    assert [m.shape for m in maps] == [(170, 256)] * GRID  # of 451 x 300 pixels
    assert all(m.isfinite().all() and m.abs().sum() > 0 for m in maps)
    assert not torch.equal(maps[0], maps[-1])


def test_what_a_score_looks_at_is_warm(recogniser):
    """A score of the red in the tower's input, whatever the model: the map must find the red square."""
    photo = Image.new("RGB", (200, 100), "blue")
    photo.paste("red", (140, 50, 180, 90))
    model = copy.copy(recogniser)
    model.mllm = copy.copy(recogniser.mllm)
    model.mllm.vision_features = lambda photos: VisionFeatures(
        torch.tensor([[[np.asarray(p)[..., 0].mean()]] for p in photos]), torch.ones(len(photos), 1, dtype=torch.bool)
    )
    model.mllm.image_tokens = lambda vision: torch.zeros(len(vision.states), 8, 576)
    heat = last_map(model, photo, lambda encoding: encoding.vision.states.mean())
    rows, columns = heat.shape
    hottest = divmod(heat.argmax().item(), columns)
    assert 0.5 * rows <= hottest[0] < 0.9 * rows
    assert 0.7 * columns <= hottest[1] < 0.9 * columns


def test_each_occluded_copy_is_an_encoding_of_one_view(recogniser, cat):
    whole, half = encode_each(recogniser.mllm, [cat, cat.crop((0, 0, 200, 300))])
    full = recogniser.encode(cat)
    for encoding in (whole, half):
        assert encoding.vision.states.shape == (1, *full.vision.states.shape[1:])
        assert encoding.vision.mask.shape == (1, *full.vision.mask.shape[1:])
        assert encoding.tokens.shape == full.tokens.shape
        assert encoding.embedding.shape == full.embedding.shape
        assert encoding.features.shape == full.features.shape
    torch.testing.assert_close(whole.features, pooled_features(whole.vision)[0].cpu())
    assert not torch.allclose(whole.features, half.features)


def test_an_attribute_has_a_map_of_its_own(recogniser, cat):
    explainer, space = Explainer(recogniser), recogniser.label_space(super_category="cat")
    encoding = recogniser.encode(cat)
    result = next(recogniser.stream(encoding, space))
    names = space.group.attributes[:2]
    maps = [last_map(recogniser, cat, attribute_score(explainer.direction(result, name))) for name in names]
    assert not torch.allclose(*maps)


def test_randomised_weights_change_the_map(recogniser, cat):
    broken = load(DEFAULT)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in broken.mllm.model.model.connector.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator) * weights.std(correction=0))
    maps = []
    for model in (recogniser, broken):
        space = model.label_space(super_category="cat")
        maps.append(last_map(model, cat, species_score(model, space, space.labels[0])).flatten())
    assert torch.corrcoef(torch.stack(maps))[0, 1] < 0.7


def test_the_overlay_colours_what_is_warm_and_nothing_else():
    photo = Image.new("RGB", (64, 32), (0, 0, 100))
    heat = torch.full((16, 32), -1.0)
    heat[:, 16:] = 1.0
    shown = overlay(photo, heat, 0.5)
    assert shown.size == photo.size
    assert shown.getpixel((5, 16)) == (0, 0, 100)
    assert shown.getpixel((58, 16))[0] > 100
    assert list(overlay(photo, heat, 0).getdata()) == list(photo.getdata())
