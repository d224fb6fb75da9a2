"""Occlusion sensitivity: how much a score drops when a part of the photo is covered.

A square of the photo's mean colour covers one part after the other, before the vision encoder. That takes one encoding
per square, but needs neither gradients nor a patch grid, and works for any aspect ratio.
"""

from collections.abc import Callable, Iterator

import torch
from PIL import Image, ImageStat
from torch import Tensor

from core.models.scoring import generation_loss
from core.recognition.label_space import LabelSpace
from core.recognition.photo_encoding import PhotoEncoding, encode_each
from core.recognition.recogniser import Recogniser
from core.taxonomy.prompts import open_question

SIDE = 256  # pixels of a map's longer side
GRID = 6  # squares beside and above each other
SQUARE_STEPS = 2  # a square's width in steps of the grid: neighbours overlap
FULL_COLOUR_QUANTILE = 0.98  # quantile of a map that is shown in full colour
COLOUR = (255, 64, 0)

Score = Callable[[PhotoEncoding], Tensor]  # of an encoding of one view; a scalar


def species_score(recogniser: Recogniser, space: LabelSpace, name: str) -> Score:
    """Return the score of a name: its log-odds by the similarities of the ranking.

    Unlike the probability, they do not saturate. For a checkpoint that ranks by likelihood alone it is the likelihood.
    """
    mllm, index = recogniser.mllm, space.labels.index(name)
    prompt, answer = mllm.question_ids(open_question(space.group)), mllm.answer_ids(space.categories[index])
    others = torch.arange(len(space.labels)) != index

    def by_similarity(encoding: PhotoEncoding) -> Tensor:
        logits = recogniser.logits(recogniser.compare(encoding, space))
        return logits[index] - logits[others].logsumexp(dim=0)

    def by_likelihood(encoding: PhotoEncoding) -> Tensor:
        return -generation_loss(mllm, [prompt], [answer], encoding.tokens)

    return by_similarity if recogniser.calibration.ranking_weights()[:-1].any() else by_likelihood


def attribute_score(direction: Tensor) -> Score:
    """Return the score of an attribute: the photo's embedding along `direction` [H], see `Explainer.direction`."""
    return lambda encoding: encoding.embedding @ direction


@torch.no_grad()
def heat_map(recogniser: Recogniser, photo: Image.Image, score: Score) -> Iterator[Tensor]:
    """Yield growing maps [h, w] in the photo's aspect ratio of how much each place adds to the score (or takes from it).

    There is one after each of the `GRID` rows; closing the iterator stops the work.
    """
    scale = SIDE / max(photo.size)
    size = max(1, round(photo.height * scale)), max(1, round(photo.width * scale))
    lost, covered = torch.zeros(size), torch.zeros(size)
    grey = tuple(round(channel) for channel in ImageStat.Stat(photo).mean)
    whole = score(encode_each(recogniser.mllm, [photo])[0]).item()
    for row in range(GRID):
        hidden = []
        for column in range(GRID):
            copy = photo.copy()
            left, top, right, bottom = _square(row, column, photo.height, photo.width)
            copy.paste(grey, (left, top, right, bottom))
            hidden.append(copy)
        for column, encoding in enumerate(encode_each(recogniser.mllm, hidden)):
            left, top, right, bottom = _square(row, column, *size)
            lost[top:bottom, left:right] += whole - score(encoding).item()
            covered[top:bottom, left:right] += 1
        yield lost / covered.clamp(min=1)


def _square(row: int, column: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of one square in a picture."""
    edges = GRID + SQUARE_STEPS - 1
    top, bottom = (round(height * k / edges) for k in (row, row + SQUARE_STEPS))
    left, right = (round(width * k / edges) for k in (column, column + SQUARE_STEPS))
    return left, top, right, bottom


def overlay(photo: Image.Image, heat: Tensor, opacity: float) -> Image.Image:
    """Return the photo coloured where the map is above zero; `opacity` in [0, 1] is that of its highest values."""
    warm = heat.clamp(min=0)
    brightest = warm.flatten().quantile(FULL_COLOUR_QUANTILE).clamp(min=1e-9)
    alpha = (255 * opacity * (warm / brightest).clamp(max=1)).round().byte()
    mask = Image.fromarray(alpha.numpy()).resize(photo.size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", photo.size, COLOUR), photo, mask)
