"""Measure the capabilities of a model that is only asked questions (see `core.evaluation.capabilities`).

A contrastive model has a vision and a text encoder: "CLS" is the pooled state of the space that they share, "Avg." the
mean over patches or words. Of a general model, the last hidden state at the end of photo or text is read.
"""

import random
import time
from collections.abc import Generator

import numpy as np

from core.data.images import open_photo
from core.data.photo_sets import LabelledPhoto
from core.embeddings.compute import description_of, embed_set
from core.embeddings.embedding_set import EmbeddingSet
from core.evaluation.diagnosis import ENCODER, KNOWLEDGE, LLM, OBJECT, TEXT_ENCODER, Measured, ProbeKey, Questions
from core.models.contrastive import ContrastiveModel
from core.progress import Progress, count_progress, part
from core.recognition.asked_model import AskedModel
from core.recognition.label_space import Names
from core.recognition.multiple_choice import Options
from core.taxonomy.categories import same_category
from core.taxonomy.prompts import closed_question

EMBEDDING_SHARE = 0.3  # of the progress


def measure_asked(
    model: AskedModel, photos: list[LabelledPhoto], space: Names, texts: list[str], seed: int
) -> Generator[Progress, None, Measured]:
    """Return what is measured of the labelled photos, and of descriptions `texts`.

    Raises `UserError` for a model that gives no hidden states.
    """
    described = [description_of(name) for name in space.categories]
    embedding = embed_set(model, photos, space.labels, described)
    embeddings = yield from part(embedding, 0, EMBEDDING_SHARE)
    questions = yield from part(_ask_all(model, photos, space, seed), EMBEDDING_SHARE, 1)
    yield Progress(1.0, "Reading the descriptions ...")
    return Measured(_features(model, embeddings, texts), embeddings, questions)


def _features(model: AskedModel, embeddings: EmbeddingSet, texts: list[str]) -> dict[ProbeKey, np.ndarray]:
    """Return what is probed: the features of the photos and, if there are some, of the texts."""
    if isinstance(model.model, ContrastiveModel):
        photos = {(OBJECT, ENCODER, "CLS"): embeddings.objects, (OBJECT, ENCODER, "Avg."): embeddings.vision}
        if not texts:
            return photos
        read = model.model.text_features(texts)
        pooled, average = read.pooled.numpy(), read.average.numpy()
        return photos | {(KNOWLEDGE, TEXT_ENCODER, "CLS"): pooled, (KNOWLEDGE, TEXT_ENCODER, "Avg."): average}
    last = {(OBJECT, LLM, "Last"): embeddings.objects}
    return last | {(KNOWLEDGE, LLM, "Last"): model.embed_texts(texts).numpy()} if texts else last


def _ask_all(
    model: AskedModel, photos: list[LabelledPhoto], space: Names, seed: int
) -> Generator[Progress, None, Questions]:
    """Return the shares of questions that are answered correctly, in each way that the model has."""
    rng, started = random.Random(seed), time.monotonic()
    ranked: list[bool | None] = []
    lettered: list[bool | None] = []
    answered: list[bool | None] = []
    chance = 0.0
    for done, labelled in enumerate(photos, start=1):
        photo = open_photo(labelled.read()).image
        options = Options.with_distractors(labelled.category, space.labels, rng)
        chance += 1 / len(options.names) / len(photos)
        scores, _ = model.rank(photo, model.label_space(options.names))
        ranked.append(None if scores is None else options.is_correct(scores))
        letters = None
        if model.writes:
            letters = model.model.letter_scores(photo, closed_question(space.group, options.names), len(options.names))
            *_, answer = model.answer(photo, space)
            answered.append(same_category(answer.strip(" ."), labelled.category))
        lettered.append(None if letters is None else options.is_correct(letters))
        yield count_progress(done, len(photos), started)
    return Questions(len(photos), None, _share(ranked), _share(lettered), _share(answered), chance)


def _share(correct: list[bool | None]) -> float | None:
    """Return the share of questions that are answered correctly; None if one was not answered in this way."""
    counted = [one for one in correct if one is not None]
    return sum(counted) / len(counted) if counted and len(counted) == len(correct) else None
