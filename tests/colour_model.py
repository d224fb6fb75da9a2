"""A stand-in for a recogniser that knows two categories by their colour: what it must find in a picture is known."""

from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from core.models.calibration import Calibration
from core.models.scoring import pooled_features
from core.models.vlm import VisionFeatures
from core.recognition.conclusion import Species
from core.recognition.photo_encoding import PhotoEncoding, tta_views
from core.recognition.results import Identification

SIDE = 9  # patches
SHARPNESS = 8.0  # of the probabilities
COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}
SCENE = (128, 128, 128)


def features(pixels: np.ndarray) -> torch.Tensor:
    """Return features [..., 4] of colours [..., 3]: grey is unlike every colour."""
    centred = torch.from_numpy(pixels.astype("float32")) / 255 - 0.5
    return torch.cat([centred, torch.full_like(centred[..., :1], 0.2)], dim=-1)


class ColourNetwork:
    """The steps of a `VisionLanguageModel` that regions are found with; its patches are mean colours."""

    def __init__(self):
        self.photos = 0  # that were encoded

    def pixels(self, photos):
        small = [photo.resize((SIDE, SIDE), Image.Resampling.BOX) for photo in photos]
        return features(np.stack([np.asarray(one) for one in small])), torch.ones(len(photos), SIDE, SIDE).bool()

    def encode_vision(self, pixels, mask):
        self.photos += len(pixels)
        return VisionFeatures(pixels.flatten(1, 2), mask.flatten(1))

    def vision_features(self, photos):
        return self.encode_vision(*self.pixels(photos))

    def image_tokens(self, vision):
        return vision.states

    def embed_photos(self, tokens):
        return F.normalize(tokens.mean(dim=1), dim=-1)


class ColourModel:
    """A calibrated recogniser of "red" and "blue"."""

    name = "colours"

    def __init__(self, unknown_distance=0.4):
        self.mllm = ColourNetwork()
        self.calibration = Calibration(unknown_distance=unknown_distance)

    def label_space(self, labels=None, super_category=None):
        labels = labels or list(COLOURS)
        means = features(np.array([COLOURS[label] for label in labels]))
        return SimpleNamespace(labels=labels, means=F.normalize(means, dim=-1))

    def encode(self, photo):
        return self.encode_features(self.mllm.vision_features(tta_views(photo)))

    def encode_features(self, vision):
        pooled = pooled_features(vision).mean(dim=0)
        return PhotoEncoding(vision, vision.states, pooled, pooled)

    def compare(self, encoding, space):
        return space.means @ F.normalize(encoding.features, dim=-1)

    score = compare

    def logits(self, scores):
        return SHARPNESS * scores

    def named(self, encoding, space):
        """Return the identification of an encoding, names alone."""
        shares = self.logits(self.compare(encoding, space)).softmax(dim=0)
        ranked = [Species(space.labels[i], shares[i].item()) for i in shares.argsort(descending=True).tolist()]
        return Identification(self.name, True, ranked, seconds={"species": 1.0})


def scene(*squares, size=(360, 270)):
    """Return a grey picture with squares of one colour each, given as (name, left, top, side) in pixels."""
    picture = Image.new("RGB", size, SCENE)
    for name, left, top, side in squares:
        picture.paste(COLOURS[name], (left, top, left + side, top + side))
    return picture
