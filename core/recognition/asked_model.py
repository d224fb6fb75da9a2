"""A model of the hub that is only asked questions, as pages and commands use it beside a `Recogniser`.

It has no checkpoint: nothing of it is calibrated, and it rejects no photo as unknown. What it cannot do is left empty,
and said in the note of its results.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from core.data.images import load_photo
from core.errors import UserError
from core.models.contrastive import CAPTION, ContrastiveModel
from core.models.general import GeneralModel
from core.recognition.conclusion import Species
from core.recognition.crops import Box, Crop, checked_box, cut
from core.recognition.generation import ANSWER_TOKENS
from core.recognition.label_space import Names, check_labels, distinct_labels
from core.recognition.results import Identification
from core.taxonomy.categories import canonical_name, categories, find_category, in_super_category
from core.taxonomy.prompts import (
    LETTERS,
    NAME_ONLY,
    closed_question,
    description_question,
    open_question,
    question_subject,
)
from core.taxonomy.replies import read_letter

MAX_RANKED = 48  # names that a model ranks which has to read each of them as an answer: two batches
DESCRIPTION_TOKENS = 96
BY_LIKELIHOOD = (
    "It ranks names by their likelihood as answers and gives no table of attributes; its probabilities are not "
    "calibrated, and it never rejects a photo as unknown."
)
BY_SIMILARITY = (
    "It ranks names by their similarity with the photo and writes nothing; its probabilities, by its own scale, are not "
    "calibrated, and it never rejects a photo as unknown."
)
THINKS = "It ranks no names, since it thinks before it answers, and gives no table of attributes."
NO_ANSWER = "Its answer is empty: it wrote nothing, or did not finish its thought."
TOO_MANY = "It ranks at most {} names, and there are {}: give candidate names, or a kind of thing with fewer."
UNEXPLAINED = "No explanation: the model is only asked questions, and its space is not compared with attributes."
NO_SPACE = "{} gives no hidden states of photos, or none of texts alone: its space is not measured."

NO_SEARCH = "{} does not look for the object by itself: give the part as left,top,width,height, or none."


class AskedModel:
    """A general or a contrastive model under its name in the zoo; `reply_tokens` are needed by one that thinks first."""

    def __init__(self, name: str, model: GeneralModel | ContrastiveModel, reply_tokens: int = 0) -> None:
        self.name = name
        self.model = model
        self._reply_tokens = reply_tokens

    @property
    def writes(self) -> bool:
        """Whether it answers in words."""
        return isinstance(self.model, GeneralModel)

    def label_space(self, labels: list[str] | None = None, super_category: str | None = None) -> Names:
        """Return the names to choose from: given ones, one super-category's, or all of the tables.

        Raises `UserError` for names that cannot be used, as `LabelSpaceBuilder.build`.
        """
        if labels is not None:
            chosen = distinct_labels(labels)
        else:
            chosen = [c.name for c in in_super_category(super_category)] if super_category else list(categories())
        check_labels(chosen)
        canonical = [canonical_name(label) for label in chosen]
        return Names(chosen, canonical, question_subject(canonical))

    def identify(
        self,
        photo: str | Path | bytes | Image.Image,
        space: Names | None = None,
        top: int = 5,
        *,
        labels: list[str] | None = None,
        super_category: str | None = None,
        crop: Crop = "none",
    ) -> Identification:
        """Identify a photo or the part in a box; see `Recogniser.identify`. Raises `UserError` for "auto"."""
        part, box = self.part(load_photo(photo).image, crop)
        *_, last = self.stream(part, space or self.label_space(labels, super_category), top)
        return replace(last, box=box)

    def part(self, photo: Image.Image, crop: Crop) -> tuple[Image.Image, Box | None]:
        """Return the part of a photo that `crop` names, and its box. Raises `UserError` for "auto" and a wrong box."""
        if crop == "auto":
            raise UserError(NO_SEARCH.format(self.name))
        if crop == "none":
            return photo, None
        box = checked_box(crop)
        return cut(photo, box), box

    def stream(self, photo: Image.Image, space: Names, top: int = 5, describe: bool = True) -> Generator[Identification]:
        """Yield growing identifications: first the species if it ranks them, then the answer and the description.

        The description is in the model's own words, without a table of attributes. It is written, unless `describe` is
        False, where the kind of thing is known by the names or by the answer. Closing the iterator stops the work
        within one token.
        """
        started = time.perf_counter()
        species, note = self._ranking(photo, space)
        seconds = {"species": time.perf_counter() - started} if species else {}
        result = Identification(self.name, True, species[:top], seconds=seconds, calibrated=False, note=note)
        yield result
        started = time.perf_counter()
        for text in self.answer(photo, space):
            seconds = {**result.seconds, "answer": time.perf_counter() - started}
            result = replace(result, answer=text, seconds=seconds)
            yield result
        if self.writes and not result.answer:  # of a thought that is not finished, nothing is left
            yield replace(result, note=f"{note} {NO_ANSWER}")
        category = find_category(result.answer.strip(" ."))
        group = space.group or (category.super_category if category else None)
        if not describe or not result.answer or group is None:
            return
        started = time.perf_counter()
        for text in self.reply(photo, description_question(group), DESCRIPTION_TOKENS):
            seconds = {**result.seconds, "description": time.perf_counter() - started}
            yield replace(result, description=text, seconds=seconds)

    def answer(self, photo: Image.Image, space: Names) -> Iterator[str]:
        """Yield the growing answer to the open question; nothing by a model that writes nothing."""
        yield from self.reply(photo, f"{open_question(space.group)} {NAME_ONLY}")

    def reply(self, photo: Image.Image, question: str, limit: int = ANSWER_TOKENS) -> Iterator[str]:
        """Yield a growing reply to a question about a photo; nothing by a model that writes nothing."""
        if isinstance(self.model, GeneralModel):
            yield from self.model.stream(photo, question, max(limit, self._reply_tokens))

    def choose(self, photo: Image.Image, options: Sequence[str]) -> tuple[str, dict[str, float]]:
        """Return the option that the model chooses, and the options' probabilities where it has them.

        It chooses by the log-probabilities of the letters, else by the letter in its reply. Raises `UserError` for a
        reply that chooses none of the options.
        """
        question = closed_question(question_subject(options), options)
        letters = self.model.letter_scores(photo, question, len(options))
        if letters is not None:
            shares = letters.softmax(dim=0).tolist()
            return options[int(letters.argmax())], dict(zip(options, shares, strict=True))
        *_, text = ["", *self.reply(photo, question)]
        letter = read_letter(text, options)
        if letter is None:
            raise UserError(f"{self.name} answers {text[:60]!r}, which is none of the options.")
        return options[LETTERS.index(letter)], {}

    def embed_photos(self, photos: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
        """Return the embeddings [B, H] of photos, and the means [B, D] over the patches of the vision encoder.

        A general model has no such means here: D is 0. Raises `UserError` for a model without hidden states.
        """
        if isinstance(self.model, ContrastiveModel):
            features = self.model.photo_features(photos)
            return features.pooled, features.average
        states = self._measured(self.model.embed_photos(photos))
        return states, torch.empty(len(states), 0)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings [N, H] of texts. Raises `UserError` for a model without hidden states of texts."""
        if isinstance(self.model, ContrastiveModel):
            return self.model.text_features(texts).pooled
        return self._measured(self.model.embed_texts(texts))

    def embed_names(self, names: Sequence[str]) -> Tensor:
        """Return the embeddings [N, H] of names, in a contrastive model those of their captions; see `embed_texts`."""
        contrastive = isinstance(self.model, ContrastiveModel)
        return self.embed_texts([CAPTION.format(name) for name in names] if contrastive else names)

    def _measured(self, states: Tensor | None) -> Tensor:
        if states is None:
            raise UserError(NO_SPACE.format(self.name))
        return states

    def rank(self, photo: Image.Image, space: Names) -> tuple[Tensor | None, str]:
        """Return the scores [N] of the names, None if it does not rank them, and a sentence about the ranking."""
        contrastive = isinstance(self.model, ContrastiveModel)
        if not contrastive and len(space.labels) > MAX_RANKED:
            return None, TOO_MANY.format(MAX_RANKED, len(space.labels))
        scores = self.model.name_scores(photo, f"{open_question(space.group)} {NAME_ONLY}", space.categories)
        if scores is not None and not scores.isfinite().all():
            raise UserError(f"{self.name} computes scores that are not numbers: its files are damaged, get them again.")
        return scores, BY_SIMILARITY if contrastive else BY_LIKELIHOOD if scores is not None else THINKS

    def _ranking(self, photo: Image.Image, space: Names) -> tuple[list[Species], str]:
        """Return the names, the most probable first, none if it does not rank them, and a sentence about the ranking."""
        scores, note = self.rank(photo, space)
        if scores is None:
            return [], note
        probabilities, order = scores.softmax(dim=0).sort(descending=True)
        ranked = zip(order.tolist(), probabilities.tolist(), strict=True)
        return [Species(space.labels[row], probability) for row, probability in ranked], note
