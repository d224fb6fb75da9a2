import pytest
from PIL import Image

from core.errors import UserError
from core.recognition.crops import Region, checked_box, cut, parse_crop


def test_a_crop_is_a_word_or_four_shares():
    assert parse_crop("auto") == "auto"
    assert parse_crop("none") == "none"
    assert parse_crop("0.25, 0.1,0.5,.6") == (0.25, 0.1, 0.5, 0.6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "all",
        "0.1,0.1,0.5",
        "0,0,1,1,1",
        "10,20,300,200",
        "0.5,0.5,0.6,0.2",
        "-0.1,0,0.5,0.5",
        "0,0,0,1",
        "nan,0,1,1",
    ],
)
def test_what_is_no_crop_is_refused_in_one_sentence(text):
    with pytest.raises(UserError, match="give auto, none, or left,top,width,height as shares of the photo"):
        parse_crop(text)


def test_rounding_may_reach_beyond_the_photo():
    left, top, width, height = checked_box((-0.0004, 0.5, 0.6, 0.5004))
    assert (left, top) == (0, 0.5)
    assert left + width <= 1
    assert top + height <= 1


def test_a_box_is_cut_from_the_photo():
    photo = Image.new("RGB", (200, 100), "white")
    photo.paste((255, 0, 0), (50, 20, 150, 70))
    part = Region((0.25, 0.2, 0.5, 0.5), 1.0, "red", 1.0).crop(photo)
    assert part.size == (100, 50)
    assert part.getcolors() == [(5000, (255, 0, 0))]


def test_a_part_of_a_few_pixels_is_refused():
    with pytest.raises(UserError, match="has 4 x 50 pixels: choose one of at least 16 x 16"):
        cut(Image.new("RGB", (200, 100)), (0.1, 0.1, 0.02, 0.5))
