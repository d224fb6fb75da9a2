"""What a camera writes beside the pixels of a photo leaves with no export of the page."""

import io
from pathlib import Path

import pytest
from gradio.processing_utils import save_pil_to_cache
from photo_metadata import FORMATS, check_no_metadata, tagged
from PIL import Image
from torch import ones

from core.data.images import open_photo, to_jpeg
from core.recognition.occlusion import overlay
from core.recognition.results import Identification, Species
from demo.components.card import Card, card_html, card_page, result_json
from demo.history_store import History, new_key

RESULT = Identification("model", True, [Species("Bengal", 0.7), Species("Birman", 0.3)])


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_decoded_photo_has_pixels_alone(file_format):
    photo = open_photo(tagged(file_format)).image
    assert type(photo) is Image.Image
    assert photo.info == {}
    assert not photo.getexif()
    for written in FORMATS:
        buffer = io.BytesIO()
        photo.save(buffer, written)
        check_no_metadata(buffer.getvalue())


@pytest.mark.parametrize("file_format", FORMATS)
def test_cards_and_the_export_of_the_history_have_none_of_it(file_format, tmp_path):
    data = tagged(file_format)
    photo = open_photo(data).image
    card = Card("cat.jpg", to_jpeg(photo, 640, 85), RESULT)
    for export in (card_html(card).encode(), card_page(card).encode(), result_json(RESULT, "cat.jpg")):
        check_no_metadata(export)
    assert b"data:image/jpeg;base64," in card_page(card).encode()
    history, key = History(tmp_path / "history.sqlite"), new_key()
    history.correct(key, history.keep(key, data, photo, RESULT.as_dict("cat.jpg")), "Birman")
    check_no_metadata(history.export_corrections(key))


def test_the_picture_of_a_heat_map_has_none_of_it(tmp_path):
    shown = overlay(open_photo(tagged("PNG")).image, ones(4, 4), 0.5)
    path = save_pil_to_cache(shown, str(tmp_path), format="png")
    check_no_metadata(Path(path).read_bytes())
