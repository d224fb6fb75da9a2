"""From the photos of a step to a batch: which texts and questions go with them.

Everything that is drawn depends on the seed, the stage, the step and the place in the step's batch alone. A run that
was cut off therefore goes on with the same data, and the batch of one process is that of several put together.
"""

import random
from dataclasses import replace
from functools import lru_cache
from itertools import chain

import torch
from torch import Tensor

from core.data.images import read_photo
from core.models.vlm import VisionLanguageModel
from core.taxonomy.descriptions import WORDINGS
from core.taxonomy.prompts import LETTERS, closed_question, description_question, open_question
from train.data.batch import Batch, Question
from train.data.training_set import TrainingSet
from train.recipe import Recipe

NEIGHBOURS = 12  # look-alikes from which the options of closed-set questions are drawn


class Collator:
    """Turns slots of one step into a `Batch`, for one stage."""

    def __init__(
        self, stage: str, mllm: VisionLanguageModel, data: TrainingSet, recipe: Recipe, distinct: bool = True
    ) -> None:
        """`distinct=False` repeats a text for every photo that it goes with (to measure what that costs).

        Raises `UserError` if the recipe teaches descriptions and a photo has none.
        """
        if recipe.variant == "full":
            data.check_described()
        self.stage, self.mllm, self.data, self.recipe, self.distinct = stage, mllm, data, recipe, distinct
        self.photos_per_step = getattr(recipe, stage).photos
        self.category_of = {row: i for i, rows in enumerate(data.members) for row in rows}
        self.rows = lru_cache(maxsize=4)(self._rows)
        self._order = lru_cache(maxsize=2)(self._epoch)
        self._step_questions = lru_cache(maxsize=2)(self._all_questions)

    def _rng(self, *place: object) -> random.Random:
        return random.Random(" ".join(map(str, (self.recipe.seed, self.stage, *place))))

    # Which photos -----------------------------------------------------------------------------------------------

    def _rows(self, step: int) -> list[int]:
        """The photos of a step, over all processes."""
        rng = self._rng(step)
        if self.stage == "align" and self.recipe.groups_per_batch:
            return self._grouped_rows(rng)
        if self.recipe.balance != 1:
            return [self._balanced_row(rng) for _ in range(self.photos_per_step)]
        count = len(self.data.records)
        places = range(step * self.photos_per_step, (step + 1) * self.photos_per_step)
        return [self._order(place // count)[place % count] for place in places]

    def _epoch(self, epoch: int) -> list[int]:
        order = list(range(len(self.data.records)))
        self._rng("epoch", epoch).shuffle(order)
        return order

    def _balanced_row(self, rng: random.Random) -> int:
        """A photo of a category drawn by size to the power of `balance`: rare ones are seen more than their share."""
        weights = [len(rows) ** self.recipe.balance for rows in self.data.members]
        return rng.choice(self.data.members[rng.choices(range(len(weights)), weights)[0]])

    def _grouped_rows(self, rng: random.Random) -> list[int]:
        """Photos of a few categories and their look-alikes: hard negatives as well as easy ones in one batch."""
        chosen: list[int] = []
        for _ in range(self.recipe.groups_per_batch):
            seed = self.category_of[self._balanced_row(rng)]
            near = self.data.look_alikes[seed][: self.recipe.categories_per_group]
            chosen += [seed, *rng.sample(near, min(self.recipe.categories_per_group - 1, len(near)))]
        distinct = list(dict.fromkeys(chosen))[: self.photos_per_step]
        each, more = divmod(self.photos_per_step, len(distinct))
        counts = [each + (i < more) for i in range(len(distinct))]
        return [row for c, k in zip(distinct, counts, strict=True) for row in rng.choices(self.data.members[c], k=k)]

    # What goes with them ----------------------------------------------------------------------------------------

    def __call__(self, slots: list[tuple[int, int]]) -> dict[str, Batch]:
        """The batch of these slots, which belong to one step (in the dictionary that a trainer hands to a model)."""
        step = slots[0][0]
        places = [place for _, place in slots]
        rows = [self.rows(step)[place] for place in places]
        batch = self._photos(step, places, rows)
        if self.stage == "align":
            self._add_texts(batch, rows)
        if self.stage != "warmup":
            asked = self._step_questions(step)
            batch.questions = [replace(q, photo=i) for i, place in enumerate(places) for q in asked[place]]
            passes = self.photos_per_step / len(slots)
            for question in chain(*asked):
                tokens = batch.answer_tokens.get(question.kind, 0.0)
                batch.answer_tokens[question.kind] = tokens + len(question.answer) / passes
        return {"batch": batch}

    def _photos(self, step: int, places: list[int], rows: list[int]) -> Batch:
        own = torch.tensor([self.category_of[row] for row in rows])
        names = [str(self.data.records[row].image) for row in rows]
        if self.data.features is None:
            photos = [read_photo(self.data.records[row].image).image for row in rows]
            return Batch(step, names, *self.mllm.pixels(photos), own)
        rngs = [self._rng(step, place, "photo") for place in places]
        states = self._patches(rows, rngs)
        batch = Batch(step, names, states, torch.ones(states.shape[:2], dtype=torch.bool), own)
        if self.stage == "warmup" and self._rng(step, "mix").random() < self.recipe.mixed_share:
            others = [self._balanced_row(rng) for rng in rngs]
            kept = torch.stack([_random(rng, states.shape[1]) < rng.random() for rng in rngs])  # [b, P]
            batch.states = torch.where(kept[..., None], states, self._patches(others, rngs))
            batch.second = torch.tensor([self.category_of[row] for row in others])
            batch.share = kept.float().mean(dim=1)
        return batch

    def _patches(self, rows: list[int], rngs: list[random.Random]) -> Tensor:
        """[b, P', D] a random part of the patches of random views of the photos: the connector sees no others."""
        features = self.data.features
        assert features is not None
        states = features.get(rows, [rng.randrange(features.views) for rng in rngs], torch.device("cpu")).states
        kept = round((1 - self.recipe.patch_dropout) * states.shape[1])
        chosen = torch.stack([_random(rng, states.shape[1]).argsort()[:kept] for rng in rngs])
        return states.gather(1, chosen[..., None].expand(-1, -1, states.shape[-1]))

    def _add_texts(self, batch: Batch, rows: list[int]) -> None:
        step, place_of = batch.step, {}

        def place(text: str) -> int:
            if not self.distinct or text not in place_of:
                place_of[text] = len(batch.texts)
                batch.texts.append(self.mllm.text_ids(text))
            return place_of[text]

        own = batch.categories.tolist()
        batch.descriptions = torch.tensor(
            [place(self._own_description(step, c, row)) for c, row in zip(own, rows, strict=True)]
        )
        batch.names = torch.tensor([place(self.data.categories[c].name) for c in own])
        hard = [self.hard_negatives(c) for c in own]
        batch.negatives = torch.tensor(hard)
        batch.negative_names = torch.tensor([[place(self.data.categories[c].name) for c in row] for row in hard])
        if not self.recipe.has_memory:
            batch.negative_descriptions = torch.tensor(
                [[place(self._description(step, c)) for c in row] for row in hard]
            )

    def hard_negatives(self, category: int) -> list[int]:
        """The category's closest look-alikes; where there are too few, itself, which the losses mask."""
        near = self.data.look_alikes[category][: self.recipe.hard_negatives]
        return near + [category] * (self.recipe.hard_negatives - len(near))

    def _own_description(self, step: int, category: int, row: int) -> str:
        """The photo's own description, where there is one, or its category's."""
        own = self.data.descriptions.get(self.data.records[row].sha256)
        return own if own and self.recipe.variant == "full" else self._description(step, category)

    def _description(self, step: int, category: int) -> str:
        """A category's description: of one of its photos, or from its table in a wording; the same in all of a step.

        The variant without descriptions has the name in its place, which no loss of it looks at.
        """
        if self.recipe.variant == "object-category":
            return self.data.categories[category].name
        rng = self._rng(step, "description", category)
        row = rng.choice(self.data.members[category])
        return self.data.description(category, row, rng.randrange(WORDINGS))

    def _all_questions(self, step: int) -> list[list[Question]]:
        """The questions at every place of a step, over all processes."""
        return [self._questions(step, place, row) for place, row in enumerate(self.rows(step))]

    def _questions(self, step: int, place: int, row: int) -> list[Question]:
        recipe, own = self.recipe, self.category_of[row]
        category = self.data.categories[own]
        group = category.super_category

        def question(kind: str, text: str, answer: str) -> Question:
            return Question(place, kind, self.mllm.question_ids(text), self.mllm.answer_ids(answer))

        share = recipe.described_share if self.stage == "align" else recipe.rehearsed_share
        description = []
        if recipe.variant == "full" and _every(place, share):
            description = [question("description", description_question(group), self.data.description(own, row))]
        if self.stage == "align":
            return description
        rng = self._rng(step, place, "question")
        asked = [question("open", open_question(group if rng.random() < 0.5 else None), category.name)]
        if _every(place, recipe.closed_share):
            near = self.data.look_alikes[own][:NEIGHBOURS]
            options = [own, *rng.sample(near, min(3, len(near)))]
            rng.shuffle(options)
            names = [self.data.categories[option].name for option in options]
            asked.append(question("closed", closed_question(group, names), LETTERS[names.index(category.name)]))
        return [*asked, *description]


def _every(place: int, share: float) -> bool:
    """Whether a place is one of an even `share` of all."""
    return int((place + 1) * share + 1e-9) > int(place * share + 1e-9)


def _random(rng: random.Random, count: int) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(rng.getrandbits(62)))
