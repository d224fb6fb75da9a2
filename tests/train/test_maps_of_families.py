"""Maps of photos on models of the real architectures: native aspect ratio with padding, and squares."""

import pytest
import torch
from PIL import Image, ImageDraw

from core.models.base_models import open_base
from core.models.calibration import Calibration, LabelBank
from core.recognition.occlusion import heat_map, species_score
from core.recognition.photo_encoding import tta_views
from core.recognition.recogniser import Recogniser

NAMES = ["Cedar Waxwing", "Downy Woodpecker"]


@pytest.mark.parametrize(
    ("model", "square"), [("reduced_idefics2", False), ("reduced_idefics3", True)], ids=["idefics2", "idefics3"]
)
def test_a_map_has_the_photos_shape_whatever_the_patch_grid(model, square, request):
    mllm = open_base(str(request.getfixturevalue(model)))
    names = mllm.embed_texts(NAMES)
    width = mllm.model.config.vision_config.hidden_size
    labels = LabelBank(NAMES, names, names, torch.zeros(2, width), mllm.word_ids(NAMES))
    recogniser = Recogniser("small", mllm, labels, Calibration(name_weight=1, words_weight=1))
    photo = Image.new("RGB", (640, 240), "green")
    ImageDraw.Draw(photo).ellipse([400, 40, 560, 200], fill="red")
    _, patches = mllm.pixels(tta_views(photo))
    rows, columns = patches[0].shape
    assert (rows == columns) == square
    space = recogniser.label_space()
    *_, heat = heat_map(recogniser, photo, species_score(recogniser, space, NAMES[0]))
    assert heat.shape == (96, 256)
    assert heat.isfinite().all()
    assert heat.std() > 0
