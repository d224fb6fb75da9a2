"""Regions found by a stand-in whose right answer is known, and by the committed checkpoint in a made-up scene."""

import pytest
import torch
from colour_model import ColourModel, scene
from PIL import Image
from skimage import data as pictures

from core.errors import UserError
from core.models.calibration import Calibration
from core.recognition import regions
from core.recognition.regions import choose_part, find_regions, overlaps, propose


@pytest.fixture
def model():
    return ColourModel()


def overlap(first, second):
    return overlaps(torch.tensor([first]), torch.tensor([second])).item()


@pytest.mark.parametrize(("left", "top", "side"), [(20, 30, 90), (200, 120, 120), (130, 10, 150), (240, 180, 80)])
def test_a_small_object_is_found_where_it_is(model, left, top, side):
    best, *_ = find_regions(model, scene(("red", left, top, side)), model.label_space())
    assert best.name == "red"
    assert best.probability > 0.9
    assert overlap(best.box, (left / 360, top / 270, side / 360, side / 270)) > 0.4


def test_two_objects_are_two_regions(model):
    found = find_regions(model, scene(("red", 20, 30, 100), ("blue", 230, 120, 110)), model.label_space())
    assert {region.name for region in found[:2]} == {"red", "blue"}
    assert len(found) <= regions.MAX_REGIONS


def test_only_the_names_of_the_space_are_looked_for(model):
    picture = scene(("red", 20, 30, 110), ("blue", 230, 150, 80))
    best, *_ = find_regions(model, picture, model.label_space(["blue"]))
    assert overlap(best.box, (230 / 360, 150 / 270, 80 / 360, 80 / 270)) > 0.4


def test_a_scene_without_objects_has_no_regions(model):
    assert find_regions(model, scene(), model.label_space()) == []
    assert choose_part(model, scene(), model.label_space(), "auto").box is None


def test_the_small_object_names_the_photo(model):
    part = choose_part(model, scene(("blue", 40, 40, 90)), model.label_space(), "auto")
    assert part.box == part.regions[0].box
    result = part.placed(model.named(part.encoding, model.label_space()))
    assert result.named == "blue"
    assert result.seconds["species"] > 1
    shown = result.as_dict("photo")
    assert shown["box"] == [round(share, 4) for share in part.box]
    assert shown["objects"][0] == {
        "box": shown["box"],
        "name": "blue",
        "probability": shown["objects"][0]["probability"],
    }


def test_a_tight_crop_is_not_searched(model):
    picture = scene(("red", 0, 0, 250), size=(260, 260))
    part = choose_part(model, picture, model.label_space(), "auto")
    assert part.box is None
    assert model.mllm.photos == 4  # views of the whole photo
    whole = choose_part(model, picture, model.label_space(), "none")
    assert torch.equal(part.encoding.features, whole.encoding.features)
    assert "box" not in part.placed(model.named(part.encoding, model.label_space())).as_dict("photo")


def test_a_box_by_hand_is_taken_as_it_is(model):
    picture = scene(("red", 20, 30, 90), ("blue", 200, 120, 120))
    box = (200 / 360, 120 / 270, 120 / 360, 120 / 270)
    part = choose_part(model, picture, model.label_space(), box)
    assert part.box == box
    assert model.named(part.encoding, model.label_space()).named == "blue"
    assert part.regions == []


def test_a_model_without_a_known_distance_does_not_search(model):
    model.calibration = Calibration()
    with pytest.raises(UserError, match="colours is not calibrated, so it does not look for the object"):
        choose_part(model, scene(), model.label_space(), "auto")
    with pytest.raises(UserError, match="is not calibrated"):
        find_regions(model, scene(), model.label_space())


@pytest.mark.parametrize("shape", [(1, 9), (2, 2), (1, 1), (3, 7)])
def test_grids_of_any_shape_have_proposals_or_none(shape):
    boxes = propose(torch.rand(*shape, 8), torch.rand(3, 8))
    assert all(left >= 0 and left + width <= 1.0001 and min(width, height) > 0 for left, _, width, height in boxes)
    assert len(boxes) == (0 if min(shape) < 2 or shape == (2, 2) else len(boxes))


def test_shared_area_counts_the_smaller_box():
    whole, part = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0.0, 0, 0.5, 0.5]])
    assert overlaps(whole, part).item() == pytest.approx(0.25)
    assert overlaps(whole, part, union=False).item() == pytest.approx(1)


def test_a_cat_in_a_scene_of_gravel_is_found(recogniser):
    picture = Image.fromarray(pictures.gravel()).convert("RGB").resize((640, 480))
    picture.paste(Image.fromarray(pictures.chelsea()).resize((270, 180)), (300, 200))
    space = recogniser.label_space()
    part = choose_part(recogniser, picture, space, "auto")
    assert part.box
    assert overlap(part.box, (300 / 640, 200 / 480, 270 / 640, 180 / 480)) > 0.3
    assert (
        recogniser.compare(part.encoding, space).distance
        < recogniser.compare(recogniser.encode(picture), space).distance
    )
    assert part.regions[0].name in recogniser.label_space(super_category="cat").labels


def test_a_cat_that_fills_the_photo_is_named_from_the_whole(recogniser):
    cat = Image.fromarray(pictures.chelsea())
    assert choose_part(recogniser, cat, recogniser.label_space(super_category="cat"), "auto").box is None
