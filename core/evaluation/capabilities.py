"""Measure the three capabilities that naming a photo takes, each separately (see `core.evaluation.diagnosis`).

(a) Object information: a linear probe on the LLM's features of `[BOS, image tokens, EOS]`, against one on the vision
encoder's. "Last" is the state at EOS, "Avg." the mean over the image tokens; of the encoder, "Avg." is the mean over
patches. None of the encoders here (EfficientNet, SigLIP inside Idefics2 and Idefics3) has a CLS token.

(b) Category knowledge: the same probe on the LLM's features of category *descriptions*, tested on a wording and on
choices of clauses that it was not fitted to. This measures whether the LLM's features distinguish descriptions, as the
published protocol does with generated descriptions; it does not measure whether the LLM could generate them.
Descriptions of one category share words, so the same probe is fitted to these words alone (TF-IDF), too.

(c) Object-category alignment: how close photos are to their names, and how questions about the photos are answered.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import combinations, cycle, islice
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from core.data.images import open_photo
from core.data.photo_sets import LabelledPhoto
from core.embeddings.compute import readable_photos
from core.embeddings.embedding_set import EmbeddingSet
from core.embeddings.metrics import alignment_numbers
from core.errors import UserError
from core.evaluation.asked_capabilities import measure_asked
from core.evaluation.diagnosis import ENCODER, KNOWLEDGE, LLM, OBJECT, WORDS, Diagnosis, Measured, ProbeKey, Questions
from core.evaluation.linear_probe import FOLDS, ProbeResult, probe
from core.evaluation.outcomes import EvaluationPhoto, Outcome, measure
from core.models.checkpoint import read_manifest
from core.models.scoring import pooled_features
from core.models.vlm import VisionFeatures, VisionLanguageModel, eos_states
from core.progress import Progress, part
from core.recognition.asked_model import AskedModel
from core.recognition.label_space import LabelSpace
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import Recogniser
from core.taxonomy.categories import Category, find_category
from core.taxonomy.descriptions import WORDINGS, describe
from core.zoo.registry import zoo

BATCH = 16  # descriptions that go through the model together
DESCRIPTIONS = 3 * WORDINGS  # of each category
PHOTOS_SHARE = 0.6  # of the progress bar; the rest is for the probes


@dataclass(frozen=True)
class PhotoFeatures:
    """Features of one photo, without its augmented views, from the parts of the model."""

    encoder: Tensor  # [D] mean over patches
    last: Tensor  # [H] LLM's state at EOS
    average: Tensor  # [H] mean of the LLM's states over the image tokens


def diagnose(
    photos: list[LabelledPhoto], model: Recogniser | AskedModel, seed: int = 0
) -> Generator[Progress, None, Diagnosis]:
    """Return the `Diagnosis` of a model on the labelled photos of a set.

    Photos that cannot be read, are there twice, or have no label are skipped and counted. Closing the generator stops
    the work after the current photo, or the current fold of a probe. Raises `UserError` if there are too few labelled
    photos, or if the model gives no hidden states.
    """
    if not any(photo.label for photo in photos):
        raise UserError("The photos have no true names: put them into class folders, or add a CSV of labels.")
    yield Progress(0.0, "Opening the photos ...")
    readable = readable_photos(photos)
    labelled = [photo for photo in readable if photo.category]
    truth = [photo.category for photo in labelled]
    large = [name for name, count in Counter(truth).items() if count >= FOLDS]
    if len(large) < 2:
        raise UserError(
            f"A diagnosis needs at least two categories with {FOLDS} readable photos each: there are {len(large)}."
        )
    space = model.label_space(sorted(set(truth)))
    descriptions = Descriptions.of(space.categories, seed)
    if isinstance(model, AskedModel):
        measuring = measure_asked(model, labelled, space, descriptions.texts if descriptions else [], seed)
    else:
        measuring = _measure(model, labelled, cast("LabelSpace", space), descriptions, seed)
    measured = yield from part(measuring, 0, PHOTOS_SHARE)
    probes = yield from part(_probe_all(measured.features, truth, descriptions, seed), PHOTOS_SHARE, 1)
    learned = photos_learned(model.name)
    digest = hashlib.sha256(" ".join(sorted(photo.sha256 + photo.category for photo in labelled)).encode()).hexdigest()
    return Diagnosis(
        model.name,
        probes,
        alignment_numbers(measured.embeddings),
        measured.questions,
        photos=len(labelled),
        categories=len(space.labels),
        skipped=len(photos) - len(readable),
        without_label=len(readable) - len(labelled),
        trained_on=sum(photo.sha256.startswith(learned) for photo in labelled) if learned else 0,
        provenance={"seed": seed, "date": datetime.now(UTC).date().isoformat(), "photos_sha256": digest},
    )


def _open(photo: LabelledPhoto) -> Image.Image:
    return open_photo(photo.read()).image


def _measure(
    recogniser: Recogniser,
    labelled: list[LabelledPhoto],
    space: LabelSpace,
    descriptions: "Descriptions | None",
    seed: int,
) -> Generator[Progress, None, Measured]:
    """Return what is measured of photos and descriptions by a model of the method's architecture."""
    tested = [EvaluationPhoto(partial(_open, photo), photo.category) for photo in labelled]
    outcomes = yield from measure(recogniser, tested, space, partial(photo_features, recogniser.mllm), seed)
    yield Progress(1.0, "Reading the descriptions ...")
    photos = [outcome.detail for outcome in outcomes]
    features = {
        (OBJECT, ENCODER, "Avg."): _stacked([one.encoder for one in photos]),
        (OBJECT, LLM, "Last"): _stacked([one.last for one in photos]),
        (OBJECT, LLM, "Avg."): _stacked([one.average for one in photos]),
    }
    if descriptions:
        features |= descriptions.features(recogniser.mllm)
    truth = [photo.category for photo in labelled]
    return Measured(features, _embedding_set(recogniser, labelled, truth, space, photos), _questions(outcomes))


def _probe_all(
    features: dict[ProbeKey, np.ndarray], truth: list[str], descriptions: "Descriptions | None", seed: int
) -> Generator[Progress, None, dict[ProbeKey, ProbeResult]]:
    """Return the probes on the features of photos and, where there are some, on those of category descriptions."""
    if descriptions:
        features = features | {(KNOWLEDGE, WORDS, "TF-IDF"): descriptions.words()}
    results: dict[ProbeKey, ProbeResult] = {}
    for i, (key, rows) in enumerate(features.items()):
        labels, groups = truth, None
        if descriptions and key[0] == KNOWLEDGE:
            labels, groups = descriptions.categories, descriptions.wordings
        start, end = i / len(features), (i + 1) / len(features)
        what = f"Probing {key[0]} ({key[1]}, {key[2]}), {i + 1} of {len(features)} probes"
        yield Progress(start, f"{what} ...")
        results[key] = yield from part(probe(rows, labels, seed=seed, groups=groups), start, end, f"{what}: ")
    return results


def photos_learned(model: str) -> tuple[str, ...]:
    """Return the beginning of the SHA-256 of every photo that a model was trained on; () if it is not known."""
    entry = zoo().get(model)
    if entry is None or entry.hub:
        return ()
    return tuple(read_manifest(entry.checkpoint).data.seen)


def photo_features(mllm: VisionLanguageModel, encoding: PhotoEncoding) -> PhotoFeatures:
    """Return the features of an encoded photo."""
    own = VisionFeatures(encoding.vision.states[:1], encoding.vision.mask[:1])
    last, average = object_features(mllm, encoding.tokens)
    return PhotoFeatures(pooled_features(own)[0].cpu(), last[0], average[0])


def object_features(mllm: VisionLanguageModel, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return ("Last" [B, H], "Avg." [B, H]) of photos given as image tokens [B, L, H]; see `pooled_states`."""
    return pooled_states(mllm, [mllm.object_ids()] * len(image_tokens), image_tokens)


@torch.no_grad()
def pooled_states(
    mllm: VisionLanguageModel, sequences: list[list[int]], image_tokens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the LLM's last state at EOS, and the mean of its last states between BOS (if any) and EOS, of B sequences.

    Both are [B, H] float32, L2-normalised, on the CPU.
    """
    states = mllm.hidden_states(sequences, image_tokens).float()  # [B, T, H]
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=states.device)
    positions = torch.arange(states.shape[1], device=states.device)
    first = torch.tensor([int(sequence[0] == mllm.tokenizer.bos_token_id) for sequence in sequences])
    between = (positions >= first.to(positions.device)[:, None]) & (positions < lengths[:, None] - 1)  # [B, T]
    average = (states * between[..., None]).sum(dim=1) / between.sum(dim=1, keepdim=True)
    return eos_states(states, sequences).cpu(), F.normalize(average, dim=-1).cpu()


@dataclass(frozen=True)
class Descriptions:
    """N descriptions of categories, `DESCRIPTIONS` of each."""

    texts: list[str]
    categories: list[str]
    wordings: list[int]  # a probe is fitted to all but one, and tested on that

    @classmethod
    def of(cls, names: list[str], seed: int) -> "Descriptions | None":
        """Return descriptions of the categories that have field marks; None for fewer than two.

        Each has half of the category's clauses. The choices of clauses differ from wording to wording, so that no
        tested text repeats the clauses of a fitted one, and are the same for all categories of a super-category, so
        that the choice of attributes carries no information.
        """
        known = [category for category in map(find_category, names) if category and category.values]
        if len(known) < 2:
            return None
        texts = [(text, c.name, wording) for c in known for text, wording in _partial_descriptions(c, seed)]
        return cls(*map(list, zip(*texts, strict=True)))

    def features(self, mllm: VisionLanguageModel) -> dict[ProbeKey, np.ndarray]:
        """Return the LLM's features [N, H] of the texts, which are probed."""
        ids = [mllm.text_ids(text) for text in self.texts]
        parts = [pooled_states(mllm, ids[start : start + BATCH]) for start in range(0, len(ids), BATCH)]
        last, average = (_stacked([row for part in parts for row in part[kind]]) for kind in (0, 1))
        return {(KNOWLEDGE, LLM, "Last"): last, (KNOWLEDGE, LLM, "Avg."): average}

    def words(self) -> np.ndarray:
        """Return the words of the texts, weighted [N, V]."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer().fit_transform(self.texts).toarray()


def _partial_descriptions(category: Category, seed: int) -> Iterator[tuple[str, int]]:
    """Yield (text, wording) of a category's descriptions by parts of its field marks."""
    group = category.super_category
    choices = list(combinations(group.attributes, (len(group.attributes) + 1) // 2))
    random.Random(f"{seed} {group.name}").shuffle(choices)
    for i, chosen in enumerate(islice(cycle(choices), DESCRIPTIONS)):
        part = replace(
            category,
            super_category=replace(group, attributes=chosen),
            values={attribute: category.values[attribute] for attribute in chosen},
        )
        yield describe(part, i % WORDINGS), i % WORDINGS


def _stacked(rows: list[Tensor]) -> np.ndarray:
    return torch.stack(rows).numpy()


def _embedding_set(
    recogniser: Recogniser,
    photos: list[LabelledPhoto],
    truth: list[str],
    space: LabelSpace,
    features: list[PhotoFeatures],
) -> EmbeddingSet:
    """Return the photos ("Last") and names in the LLM's space. Categories without field marks have no description."""
    known = [find_category(name) for name in space.categories]
    described = np.array([bool(category and category.values) for category in known])
    return EmbeddingSet(
        objects=_stacked([one.last for one in features]),
        vision=_stacked([one.encoder for one in features]),
        names=space.names.cpu().numpy(),
        descriptions=space.descriptions.cpu().numpy() * described[:, None],
        truth=np.array([space.labels.index(name) for name in truth]),
        categories=space.labels,
        groups=[category.super_category.name if category else "" for category in known],
        photos=[photo.name for photo in photos],
        hashes=[photo.sha256 for photo in photos],
        data_sets=[photo.dataset for photo in photos],
        provenance={"model": recogniser.name},
    )


def _questions(outcomes: list[Outcome[PhotoFeatures]]) -> Questions:
    n = len(outcomes)
    return Questions(
        photos=n,
        closed=sum(one.closed.app for one in outcomes) / n,
        ranking=sum(one.closed.ranking for one in outcomes) / n,
        letter=sum(one.closed.letter for one in outcomes) / n,
        open=sum(one.open for one in outcomes) / n,
        chance=sum(1 / one.options for one in outcomes) / n,
    )
