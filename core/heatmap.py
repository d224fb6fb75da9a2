"""Where in a photo: which of its patches raise a score, by integrated gradients on the vision tower's features.

The gradient goes through the connector and the text model, never through the tower, so that it costs little more than
a look at the photo, whatever the tower's size. The patch grid is the processor's: squares for the embedded model, the
photo's own aspect ratio, padded, for the others.
"""

from collections.abc import Callable, Iterator

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from core.identify import MIDDLE, LabelSpace, Look, Recogniser, views
from core.mllm import VisionFeatures
from core.prompts import open_question

SIDE = 256  # pixels of a map's longer side
STEPS = 3  # from no features at all to those of the photo
BLUR = 71  # pixels of the square that a place of the map is the mean of: marks hold together, as the features do
BRIGHTEST = 0.98  # quantile of a map that is shown in full colour
COLOUR = (255, 64, 0)

Score = Callable[[Look], Tensor]  # of a look with one view; a scalar that gradients flow through


def species_score(recogniser: Recogniser, space: LabelSpace, name: str) -> Score:
    """What puts a name first: the log-odds of the name by the similarities of the ranking.

    Unlike the probability, they do not saturate. A checkpoint that ranks by likelihood alone: the name's.
    """
    mllm, index = recogniser.mllm, space.labels.index(name)
    prompt, answer = mllm.question_ids(open_question(space.group)), mllm.answer_ids(space.categories[index])
    others = torch.arange(len(space.labels)) != index

    def by_similarity(look: Look) -> Tensor:
        logits = recogniser.logits(recogniser.compare(look, space))
        return logits[index] - logits[others].logsumexp(dim=0)

    def by_likelihood(look: Look) -> Tensor:
        return -mllm.generation_loss([prompt], [answer], look.tokens)

    return by_similarity if recogniser.calibration.ranking_weights()[:-1].any() else by_likelihood


def attribute_score(direction: Tensor) -> Score:
    """How far the photo's embedding lies along `direction` [H], `Explainer.direction` of an attribute."""
    return lambda look: look.embedding @ direction


def heat_map(recogniser: Recogniser, photo: Image.Image, look: Look, score: Score) -> Iterator[Tensor]:
    """[h, w] in the photo's aspect ratio: how much each place raises the score; below zero, it lowers it.

    The map grows by one of the photo's views with every step; stopping between two of them stops the work.
    """
    mllm, vision = recogniser.mllm, look.vision
    _, grids = mllm.pixels(views(photo))  # [V, rows, columns] bool
    scale = SIDE / max(photo.size)
    heat = torch.zeros(max(1, round(photo.height * scale)), max(1, round(photo.width * scale)))
    for view, grid in enumerate(grids):
        one = VisionFeatures(vision.states[view : view + 1], vision.mask[view : view + 1])
        relevance = _relevance(recogniser, one, look, score).view(grid.shape)
        heat = heat + _placed(relevance, grid, heat.shape, mirrored=view % 2 == 1, middle=view >= 2)
        yield _blurred(heat)


def _relevance(recogniser: Recogniser, vision: VisionFeatures, look: Look, score: Score) -> Tensor:
    """[P]: what each patch of one view adds to the score (Sundararajan et al. 2017, the baseline being zero)."""
    mllm, total = recogniser.mllm, torch.zeros_like(vision.states, dtype=torch.float32)
    for step in range(STEPS):
        states = (vision.states * (step + 0.5) / STEPS).detach().requires_grad_(True)
        with torch.enable_grad():
            seen = VisionFeatures(states, vision.mask)
            tokens = mllm.image_tokens(seen)
            value = score(Look(seen, tokens, mllm.embed_photos(tokens)[0].cpu(), look.features))
        total += torch.autograd.grad(value, states)[0].float() / STEPS
    return (total * vision.states.float()).sum(dim=-1)[0].cpu()


def _blurred(heat: Tensor) -> Tensor:
    for kernel in ((BLUR, 1), (1, BLUR)):
        padding = (kernel[0] // 2, kernel[1] // 2)
        heat = F.avg_pool2d(heat[None, None], kernel, stride=1, padding=padding, count_include_pad=False)[0, 0]
    return heat


def _placed(relevance: Tensor, grid: Tensor, size: torch.Size, mirrored: bool, middle: bool) -> Tensor:
    """[h, w]: the relevance [rows, columns] of one view's patches, at their places in the photo."""
    real = relevance[grid.any(dim=1)][:, grid.any(dim=0)]  # without padding
    real = real.flip(-1) if mirrored else real
    top, left = (round(side * (1 - MIDDLE) / 2) if middle else 0 for side in size)
    box = (size[0] - 2 * top, size[1] - 2 * left)
    resized = F.interpolate(real[None, None], size=box, mode="bilinear", align_corners=False)[0, 0]
    return F.pad(resized, (left, left, top, top))


def overlay(photo: Image.Image, heat: Tensor, opacity: float) -> Image.Image:
    """The photo under a map, coloured where the map is above zero; `opacity` in [0, 1] is that of its hottest places."""
    warm = heat.clamp(min=0)
    brightest = warm.flatten().quantile(BRIGHTEST).clamp(min=1e-9)
    alpha = (255 * opacity * (warm / brightest).clamp(max=1)).round().byte()
    mask = Image.fromarray(alpha.numpy()).resize(photo.size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", photo.size, COLOUR), photo, mask)
