"""Build batches: draw the photos of a step, and add views, texts and questions.

Every draw depends only on the seed, the stage, the step and the position in the step's batch. A resumed run therefore
continues with the same data, and the batch of one process is the concatenation of those of several processes.
"""

import random
from dataclasses import replace
from functools import lru_cache
from itertools import chain

import torch
from torch import Tensor

from core.data.images import read_photo
from core.models.vlm import VisionLanguageModel
from core.taxonomy.categories import SuperCategory
from core.taxonomy.descriptions import WORDINGS
from core.taxonomy.prompts import LETTERS, PET_KINDS, PETS, closed_question, description_question, open_question
from train.data.augmentation import kept_patches
from train.data.batch import Batch, Question
from train.data.sampler import StepSampler
from train.data.training_set import TrainingSet
from train.recipe import Recipe


class Collator:
    """Turns indices (step, position) of one step into a `Batch`, for one stage."""

    def __init__(
        self, stage: str, mllm: VisionLanguageModel, data: TrainingSet, recipe: Recipe, distinct: bool = True
    ) -> None:
        """`distinct=False` repeats a text for every photo that it belongs to (to measure the cost).

        Raises `UserError` if the recipe trains on descriptions and a photo has none.
        """
        if recipe.variant == "full" and stage != "encoder":
            data.check_described()
        self.stage, self.mllm, self.data, self.recipe, self.distinct = stage, mllm, data, recipe, distinct
        self.photos_per_step = getattr(recipe, stage).photos
        self.sampler = StepSampler(stage, data, recipe)
        self.rows, self.category_of, self._rng = self.sampler.rows, self.sampler.category_of, self.sampler.rng
        self._step_questions = lru_cache(maxsize=2)(self._all_questions)

    def __call__(self, indices: list[tuple[int, int]]) -> dict[str, Batch]:
        """Return {"batch": batch} for (step, position) indices of one step."""
        step = indices[0][0]
        positions = [position for _, position in indices]
        rows = [self.rows(step)[position] for position in positions]
        batch = self._photos(step, positions, rows)
        if self.stage == "align":
            self._add_texts(batch, rows)
        if self.stage == "instruct" and self.recipe.keeps_alignment and step % self.recipe.aligned_every == 0:
            self._add_texts(batch, rows[: max(1, round(self.recipe.aligned_share * len(rows)))])
        if self.stage in ("align", "instruct"):
            questions = self._step_questions(step)
            batch.questions = [replace(q, photo=i) for i, position in enumerate(positions) for q in questions[position]]
            passes = self.photos_per_step / len(indices)
            for question in chain(*questions):
                tokens = batch.answer_tokens.get(question.kind, 0.0)
                batch.answer_tokens[question.kind] = tokens + len(question.answer) / passes
        return {"batch": batch}

    def _photos(self, step: int, positions: list[int], rows: list[int]) -> Batch:
        own = torch.tensor([self.category_of[row] for row in rows])
        names = [str(self.data.records[row].image) for row in rows]
        if self.data.photos is not None:
            states = self.data.photos.get(rows)
            return Batch(step, names, states, torch.ones(len(rows), 1, dtype=torch.bool), own)
        if self.data.features is None:
            photos = [read_photo(self.data.records[row].image).image for row in rows]
            return Batch(step, names, *self.mllm.pixels(photos), own)
        rngs = [self._rng(step, position, "photo") for position in positions]
        states = self._patches(rows, rngs)
        batch = Batch(step, names, states, torch.ones(states.shape[:2], dtype=torch.bool), own)
        if self.stage == "warmup" and self._rng(step, "mix").random() < self.recipe.mixed_share:
            others = [self.sampler.balanced_row(rng) for rng in rngs]
            own_patch = torch.stack([_random(rng, states.shape[1]) < rng.random() for rng in rngs])  # [b, P]
            batch.states = torch.where(own_patch[..., None], states, self._patches(others, rngs))
            batch.second = torch.tensor([self.category_of[row] for row in others])
            batch.share = own_patch.float().mean(dim=1)
        return batch

    def _patches(self, rows: list[int], rngs: list[random.Random]) -> Tensor:
        """Return features [b, P', D] of random patches of a random view of each photo (patch dropout)."""
        features = self.data.features
        assert features is not None
        states = features.get(rows, [rng.randrange(features.views) for rng in rngs], torch.device("cpu")).states
        noise = torch.stack([_random(rng, states.shape[1]) for rng in rngs])
        return kept_patches(states, noise, self.recipe.patch_dropout)

    def _add_texts(self, batch: Batch, rows: list[int]) -> None:
        step, index_of = batch.step, {}

        def index(text: str) -> int:
            if not self.distinct or text not in index_of:
                index_of[text] = len(batch.texts)
                batch.texts.append(self.mllm.text_ids(text))
            return index_of[text]

        own = batch.categories[: len(rows)].tolist()
        batch.descriptions = torch.tensor(
            [index(self._own_description(step, c, row)) for c, row in zip(own, rows, strict=True)]
        )
        batch.names = torch.tensor([index(self.data.categories[c].name) for c in own])
        hard = [self.hard_negatives(c) for c in own]
        batch.negatives = torch.tensor(hard)
        batch.negative_names = torch.tensor([[index(self.data.categories[c].name) for c in row] for row in hard])
        if not self.recipe.has_memory:
            batch.negative_descriptions = torch.tensor(
                [[index(self._description(step, c)) for c in row] for row in hard]
            )

    def hard_negatives(self, category: int) -> list[int]:
        """Return the nearest categories, padded with the category itself, which the losses mask."""
        nearest = self.data.nearest_categories[category][: self.recipe.hard_negatives]
        return nearest + [category] * (self.recipe.hard_negatives - len(nearest))

    def _own_description(self, step: int, category: int, row: int) -> str:
        """Return the photo's own description if there is one, else its category's."""
        own = self.data.descriptions.get(self.data.records[row].sha256)
        return own if own and self.recipe.variant == "full" else self._description(step, category)

    def _description(self, step: int, category: int) -> str:
        """Return a category's description, constant within a step: that of one of its photos, or of its knowledge table.

        The variant object-category gets the name instead, because none of its losses uses descriptions.
        """
        if self.recipe.variant == "object-category":
            return self.data.categories[category].name
        rng = self._rng(step, "description", category)
        row = rng.choice(self.data.members[category])
        return self.data.description(category, row, rng.randrange(WORDINGS))

    def _all_questions(self, step: int) -> list[list[Question]]:
        """Return the questions at every position of a step, over all processes."""
        return [self._questions(step, position, row) for position, row in enumerate(self.rows(step))]

    def _questions(self, step: int, position: int, row: int) -> list[Question]:
        recipe, own = self.recipe, self.category_of[row]
        category = self.data.categories[own]
        group = category.super_category

        def question(kind: str, text: str, answer: str) -> Question:
            return Question(position, kind, self.mllm.question_ids(text), self.mllm.answer_ids(answer))

        share = recipe.described_share if self.stage == "align" else recipe.rehearsed_share
        description = []
        if recipe.variant == "full" and _every(position, share):
            description = [question("description", description_question(group), self.data.description(own, row))]
        if self.stage == "align":
            return description
        rng = self._rng(step, position, "question")
        subject = self._subject(row)
        open_text = open_question(subject if rng.random() < 0.5 else None)
        questions = [question("open", open_text, category.name)]
        if _every(position, recipe.closed_share):
            options = self._options(own, step + position, rng)
            letter = next(letter for letter, option in options.items() if option[0] == own)
            answer = letter if recipe.closed_answer == "letter" else f"{letter}. {options[letter][1]}"
            names = [name for _, name in options.values()]
            questions.append(question("closed", closed_question(subject, names), answer))
        return [*questions, *description]

    def _subject(self, row: int) -> SuperCategory:
        """Return what a photo is asked about: its super-category, or pets in a data set of pets."""
        own = self.data.categories[self.category_of[row]].super_category
        of_pets = self.data.records[row].data_set.partition("-")[0] == PETS.name  # pet-37, or a part of it
        return PETS if of_pets and own.name in PET_KINDS else own

    def _options(self, own: int, turn: int, rng: random.Random) -> dict[str, tuple[int, str]]:
        """Return letter -> (category, spelling): the own category, among look-alikes in random order.

        Its letter is the next one at every `turn`, and so every letter is right equally often.
        Half of the questions with spellings other than the first have one of these, as other data sets write them.
        """
        pool = rng.choice(self.recipe.option_pools)
        nearest = self.data.nearest_categories[own][:pool]
        others = rng.sample(nearest, min(len(LETTERS) - 1, len(nearest)))
        others.insert(turn % (len(others) + 1), own)
        return {letter: (c, self._spelling(c, rng)) for letter, c in zip(LETTERS, others, strict=False)}

    def _spelling(self, category: int, rng: random.Random) -> str:
        known = self.data.categories[category]
        if self.recipe.closed_answer == "letter" or not known.aliases or rng.random() < 0.5:
            return known.name
        return " ".join(rng.choice(known.aliases).replace("_", " ").split())


def _every(position: int, share: float) -> bool:
    """Return True for an evenly spaced fraction `share` of all positions."""
    return evenly(position + 1, share) > evenly(position, share)


def evenly(positions: int, share: float) -> int:
    """Return how many of the first positions are among an evenly spaced fraction `share` of all."""
    return int(positions * share + 1e-9)


def _random(rng: random.Random, count: int) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(rng.getrandbits(62)))
