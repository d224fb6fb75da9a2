"""Where in a photo: what hiding a part of it takes away from a score.

A square of the photo's mean colour covers one part after the other, before the vision tower. That takes as many looks
as there are squares, but asks nothing of the tower: neither gradients nor a patch grid, and any aspect ratio will do.
"""

from collections.abc import Callable, Iterator

import torch
from PIL import Image, ImageStat
from torch import Tensor

from core.recognition.label_space import LabelSpace
from core.recognition.photo_encoding import PhotoEncoding, encode_each
from core.recognition.recogniser import Recogniser
from core.taxonomy.prompts import open_question

SIDE = 256  # pixels of a map's longer side
GRID = 6  # squares beside and above each other
COVER = 2  # of the grid's steps that a square is wide: neighbours overlap
BRIGHTEST = 0.98  # quantile of a map that is shown in full colour
COLOUR = (255, 64, 0)

Score = Callable[[PhotoEncoding], Tensor]  # of a look with one view; a scalar


def species_score(recogniser: Recogniser, space: LabelSpace, name: str) -> Score:
    """What puts a name first: the log-odds of the name by the similarities of the ranking.

    Unlike the probability, they do not saturate. A checkpoint that ranks by likelihood alone: the name's.
    """
    mllm, index = recogniser.mllm, space.labels.index(name)
    prompt, answer = mllm.question_ids(open_question(space.group)), mllm.answer_ids(space.categories[index])
    others = torch.arange(len(space.labels)) != index

    def by_similarity(encoding: PhotoEncoding) -> Tensor:
        logits = recogniser.logits(recogniser.compare(encoding, space))
        return logits[index] - logits[others].logsumexp(dim=0)

    def by_likelihood(encoding: PhotoEncoding) -> Tensor:
        return -mllm.generation_loss([prompt], [answer], encoding.tokens)

    return by_similarity if recogniser.calibration.ranking_weights()[:-1].any() else by_likelihood


def attribute_score(direction: Tensor) -> Score:
    """How far the photo's embedding lies along `direction` [H], `Explainer.direction` of an attribute."""
    return lambda encoding: encoding.embedding @ direction


@torch.no_grad()
def heat_map(recogniser: Recogniser, photo: Image.Image, score: Score) -> Iterator[Tensor]:
    """[h, w] in the photo's aspect ratio: how much each place adds to the score; below zero, it takes away from it.

    The map grows with every one of the `GRID` rows; stopping between two of them stops the work.
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
    """Left, top, right and bottom of one square in a picture."""
    edges = GRID + COVER - 1
    top, bottom = (round(height * k / edges) for k in (row, row + COVER))
    left, right = (round(width * k / edges) for k in (column, column + COVER))
    return left, top, right, bottom


def overlay(photo: Image.Image, heat: Tensor, opacity: float) -> Image.Image:
    """The photo under a map, coloured where the map is above zero; `opacity` in [0, 1] is that of its hottest places."""
    warm = heat.clamp(min=0)
    brightest = warm.flatten().quantile(BRIGHTEST).clamp(min=1e-9)
    alpha = (255 * opacity * (warm / brightest).clamp(max=1)).round().byte()
    mask = Image.fromarray(alpha.numpy()).resize(photo.size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", photo.size, COLOUR), photo, mask)
