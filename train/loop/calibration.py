"""Calibrate a model on held-out training photos: fit the weights of its scores and the threshold of "unknown"."""

import logging
import random
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from core.data.images import read_photo
from core.models.calibration import SCORES, Calibration, LabelBank
from core.models.vlm import VisionLanguageModel
from core.progress import Progress, count_progress, log_progress, run
from core.recognition.label_space import LabelSpace
from core.recognition.multiple_choice import Options
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import Recogniser, Scores
from core.taxonomy.categories import find_category
from core.taxonomy.descriptions import WORDINGS, describe
from core.taxonomy.prompts import closed_question
from train.data.category_words import category_words
from train.data.feature_cache import mean_features
from train.data.records import Record
from train.data.training_set import TrainingSet
from train.recipe import Recipe

log = logging.getLogger(__name__)

START = [10.0, 10.0, 10.0, 0.5, 0.5]  # initial weights of the fit
LIKELIHOOD_GAIN = 0.005  # nats that the likelihood must lower the cross-entropy by, to be computed for every photo
REFUSED_SHARE = 0.02  # of calibration photos that the "unknown" threshold may reject


def description_embeddings(mllm: VisionLanguageModel, names: list[str]) -> Tensor:
    """Return the normalised mean [N, H] of the embeddings of a category's description in all wordings.

    A category whose attributes are not known has its name in place of a description.
    """
    known = [(name, find_category(name)) for name in names]
    descriptions = [[describe(c, w) if c else name for name, c in known] for w in range(WORDINGS)]
    wordings = torch.stack([mllm.embed_texts(texts) for texts in descriptions])
    return F.normalize(wordings.mean(0), dim=-1).cpu()


def label_embeddings(mllm: VisionLanguageModel, data: TrainingSet, recipe: Recipe) -> LabelBank:
    """Return the embeddings, words, mean vision feature and classifier of every category of the training photos."""
    names = [category.name for category in data.categories]
    means = data.means if data.means is not None else mean_features(mllm, data.records, data.features, names)
    classifier = data.encoder.classifier if data.encoder else None
    return LabelBank(
        names,
        mllm.embed_texts(names).cpu(),
        description_embeddings(mllm, names),
        means.cpu(),
        category_words(mllm, names, recipe),
        recipe.words,
        torch.column_stack([classifier["weight"], classifier["bias"]]) if classifier else None,
    )


@dataclass(frozen=True)
class CalibrationExample:
    """A calibration photo, the label space of its super-category, and a multiple-choice question about it."""

    encoding: PhotoEncoding
    space: LabelSpace
    truth: int  # row of the true name in the label space
    options: Options
    letters: Tensor  # [K] scores of the options' letters


def calibrate(
    model: str, mllm: VisionLanguageModel, labels: LabelBank, held: list[Record], seed: int = 0
) -> Calibration:
    """Fit the weights of the ranking and of the multiple-choice question by maximum likelihood, then the threshold.

    The similarities are fitted first, which tells how many names are worth scoring by likelihood; then all scores are,
    as they will be used, with every photo ranked within its super-category (if it has one in the tables) and among
    everything the checkpoint knows.
    """
    recogniser = Recogniser(model, mllm, labels, Calibration())
    steps = _examples(recogniser, labels, held, seed)
    examples = run(steps, log_progress(log, f"{model}, encoding for calibration: "))
    compared = [(recogniser.compare(e.encoding, e.space).stack()[:-1], e.truth) for e in examples]
    similarities = fit_weights(compared, START[:-1])
    recogniser.calibration = replace(
        _ranking(torch.cat([similarities, torch.zeros(1)])), candidates=_candidates_needed(similarities, compared)
    )
    log.info("%s: %d candidates to be scored by likelihood", model, recogniser.calibration.candidates)
    within = run(_scored(recogniser, examples), log_progress(log, f"{model}, ranking within super-categories: "))
    everything = recogniser.label_space()
    in_all = [replace(e, space=everything, truth=everything.labels.index(e.space.labels[e.truth])) for e in examples]
    among_all = run(_scored(recogniser, in_all), log_progress(log, f"{model}, ranking among all categories: "))
    weights = _ranking_weights([(scores.stack(), truth) for scores, truth in [*within, *among_all]])
    by_options = []
    for example, (scores, _) in zip(examples, within, strict=True):
        rows = [example.space.labels.index(name) for name in example.options.names]
        ranked = (weights @ scores.stack())[rows]
        by_options.append((torch.stack([ranked, example.letters]), example.options.truth))
    letter_weight = fit_weights(by_options, [1.0, 0.5])
    distances = torch.tensor([scores.distance for scores, _ in among_all])
    return replace(
        _ranking(weights),
        candidates=recogniser.calibration.candidates,
        letter_weight=(letter_weight[1] / letter_weight[0]).item(),
        unknown_distance=distances.quantile(1 - REFUSED_SHARE).item(),
    )


def _examples(
    recogniser: Recogniser, labels: LabelBank, held: list[Record], seed: int
) -> Generator[Progress, None, list[CalibrationExample]]:
    """Return the calibration photos, encoded; distractors are shuffled by `seed`."""
    rng, started = random.Random(seed), time.monotonic()
    spaces: dict[str | None, LabelSpace] = {}
    sizes = Counter(c.super_category.name for c in map(find_category, labels.categories) if c)
    examples: list[CalibrationExample] = []
    for record in held:
        category = find_category(record.category)
        name = category.super_category.name if category else ""
        group = name if sizes[name] > 1 else None
        if group not in spaces:
            spaces[group] = recogniser.label_space(super_category=group)
        space = spaces[group]
        encoding = recogniser.encode(read_photo(record.image).image)
        options = Options.with_distractors(record.category, space.labels, rng)
        question = closed_question(space.group, options.names)
        letters = recogniser.letter_scores(question, len(options.names), encoding.tokens)
        examples.append(CalibrationExample(encoding, space, space.labels.index(record.category), options, letters))
        yield count_progress(len(examples), len(held), started)
    return examples


def _scored(
    recogniser: Recogniser, examples: list[CalibrationExample]
) -> Generator[Progress, None, list[tuple[Scores, int]]]:
    """Return the scores of every photo in its label space, with the row of the true name."""
    started = time.monotonic()
    scored: list[tuple[Scores, int]] = []
    for example in examples:
        scored.append((recogniser.score(example.encoding, example.space, likelihoods=True), example.truth))
        yield count_progress(len(scored), len(examples), started)
    return scored


def _ranking(weights: Tensor) -> Calibration:
    return Calibration(**{f"{score}_weight": w for score, w in zip(SCORES, weights.tolist(), strict=True)})


def _ranking_weights(scored: list[tuple[Tensor, int]]) -> Tensor:
    """Return the weights [5] of the scores; that of the likelihood is 0 where it is not worth its time."""
    weights = fit_weights(scored, START)
    similarities = fit_weights([(scores[:-1], truth) for scores, truth in scored], START[:-1])
    without = torch.cat([similarities, torch.zeros(1)])
    gain = (_cross_entropy(without, scored) - _cross_entropy(weights, scored)).item()
    log.info("the likelihood of the names lowers the cross-entropy by %.4f", gain)
    return weights if gain >= LIKELIHOOD_GAIN else without


def _cross_entropy(weights: Tensor, scored: list[tuple[Tensor, int]]) -> Tensor:
    return torch.stack([F.cross_entropy(weights @ s, torch.tensor(truth)) for s, truth in scored]).mean()


def fit_weights(scored: list[tuple[Tensor, int]], start: list[float]) -> Tensor:
    """Return the positive weights [K] of scores [K, N] that minimise the mean cross-entropy of the truth (L-BFGS).

    A score that is the same for all names of every photo has the weight 0.
    """
    raw = torch.tensor(start).expm1().log().requires_grad_()  # the inverse of softplus
    optimizer = torch.optim.LBFGS([raw], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = _cross_entropy(F.softplus(raw), scored)
        value.backward()
        return value

    optimizer.step(loss)
    tells = torch.stack([scores.amax(dim=1) > scores.amin(dim=1) for scores, _ in scored]).any(dim=0)
    return F.softplus(raw).detach() * tells


def _candidates_needed(weights: Tensor, compared: list[tuple[Tensor, int]]) -> int:
    """Return how many names must be kept so that the truth is among them for 95 % of the photos, at least 5."""
    ranks = []
    for similarities, truth in compared:
        logits = weights @ similarities
        ranks.append(float((logits > logits[truth]).sum() + 1))
    return max(5, round(torch.tensor(ranks).quantile(0.95).item()))
