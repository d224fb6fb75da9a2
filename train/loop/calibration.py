"""From raw scores to probabilities: the weights and the "unknown" threshold, fitted on held-out training photos."""

import logging
import random
from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from core.data.images import read_photo
from core.models.calibration import Calibration, LabelBank
from core.models.vlm import VisionLanguageModel
from core.recognition.label_space import LabelSpace
from core.recognition.multiple_choice import Options
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import SCORES, Recogniser
from core.taxonomy.categories import find_category
from core.taxonomy.descriptions import WORDINGS, describe, words_of
from train.data.feature_cache import FeatureCache, mean_features
from train.data.records import Record

log = logging.getLogger(__name__)

START = [10.0, 10.0, 10.0, 0.5]  # weights that the fit begins with
REFUSED_SHARE = 0.02  # of calibration photos that the "unknown" threshold may refuse


def label_embeddings(mllm: VisionLanguageModel, records: list[Record], features: FeatureCache | None) -> LabelBank:
    """Embeddings and words of every category of the records, and each one's mean vision feature.

    A category whose attributes are not known has its name in the description's place.
    """
    names = sorted({record.category for record in records})
    known = [(name, find_category(name)) for name in names]
    told = [[describe(category, w) if category else name for name, category in known] for w in range(WORDINGS)]
    wordings = torch.stack([mllm.embed_texts(texts) for texts in told])
    return LabelBank(
        names,
        mllm.embed_texts(names).cpu(),
        F.normalize(wordings.mean(0), dim=-1).cpu(),
        mean_features(mllm, records, features, names).cpu(),
        mllm.word_ids([words_of(name) for name in names]),
    )


@dataclass(frozen=True)
class CalibrationExample:
    """A calibration photo: what the model sees in it, the label space of its kind, and where the truth is in it."""

    encoding: PhotoEncoding
    space: LabelSpace
    truth: int


def calibrate(
    model: str, mllm: VisionLanguageModel, labels: LabelBank, held: list[Record], seed: int = 0
) -> Calibration:
    """Fit the weights of the ranking and of the closed-set question by maximum likelihood, then the threshold.

    The similarities are fitted first, which tells how many names are worth scoring by likelihood; then all scores are,
    as they will be used, with every photo ranked within its super-category (if it has one in the tables) and among
    everything the checkpoint knows.
    """
    recogniser = Recogniser(model, mllm, labels, Calibration())
    rng = random.Random(seed)
    spaces: dict[str | None, LabelSpace] = {}
    sizes = Counter(c.super_category.name for c in map(find_category, labels.categories) if c)
    examples: list[CalibrationExample] = []
    questions: list[tuple[Options, Tensor]] = []  # with the scores of the letters
    for record in held:
        category = find_category(record.category)
        kind = category.super_category.name if category else ""
        group = kind if sizes[kind] > 1 else None
        if group not in spaces:
            spaces[group] = recogniser.label_space(super_category=group)
        space = spaces[group]
        truth = space.labels.index(record.category)
        encoding = recogniser.encode(read_photo(record.image).image)
        examples.append(CalibrationExample(encoding, space, truth))
        options = Options.with_distractors(record.category, space.labels, rng)
        questions.append((options, recogniser.letter_scores(options.names, space.group, encoding.tokens)))
    compared = [(recogniser.compare(h.encoding, h.space).stack()[:-1], h.truth) for h in examples]
    similarities = fit_weights(compared, START[:-1])
    recogniser.calibration = replace(
        _ranking(torch.cat([similarities, torch.zeros(1)])), candidates=_candidates_needed(similarities, compared)
    )
    log.info("%s: %d candidates to be scored by likelihood", model, recogniser.calibration.candidates)
    everything = recogniser.label_space()
    within = [(recogniser.score(h.encoding, h.space), h.truth) for h in examples]
    among_all = [
        (recogniser.score(h.encoding, everything), everything.labels.index(h.space.labels[h.truth])) for h in examples
    ]
    weights = fit_weights([(scores.stack(), truth) for scores, truth in [*within, *among_all]], START)
    by_options = []
    for example, (scores, _), (options, letters) in zip(examples, within, questions, strict=True):
        rows = [example.space.labels.index(name) for name in options.names]
        by_options.append((torch.stack([(weights @ scores.stack())[rows], letters]), options.truth))
    letter_weight = fit_weights(by_options, [1.0, 0.5])
    distances = torch.tensor([scores.distance for scores, _ in among_all])
    return replace(
        _ranking(weights),
        candidates=recogniser.calibration.candidates,
        letter_weight=(letter_weight[1] / letter_weight[0]).item(),
        unknown_distance=distances.quantile(1 - REFUSED_SHARE).item(),
    )


def _ranking(weights: Tensor) -> Calibration:
    return Calibration(**{f"{score}_weight": w for score, w in zip(SCORES, weights.tolist(), strict=True)})


def fit_weights(scored: list[tuple[Tensor, int]], start: list[float]) -> Tensor:
    """[K] positive weights of K scores [K, N] that minimise the mean cross-entropy of the truth (L-BFGS)."""
    raw = torch.tensor(start).expm1().log().requires_grad_()  # the inverse of softplus
    optimizer = torch.optim.LBFGS([raw], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        weights = F.softplus(raw)
        value = torch.stack([F.cross_entropy(weights @ s, torch.tensor(truth)) for s, truth in scored]).mean()
        value.backward()
        return value

    optimizer.step(loss)
    return F.softplus(raw).detach()


def _candidates_needed(weights: Tensor, compared: list[tuple[Tensor, int]]) -> int:
    """How many names the similarities must keep so that the truth is among them for 95 % of the photos, at least 5."""
    ranks = []
    for similarities, truth in compared:
        first = weights @ similarities
        ranks.append(float((first > first[truth]).sum() + 1))
    return max(5, round(torch.tensor(ranks).quantile(0.95).item()))
