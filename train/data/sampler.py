"""Draw the photos of every training step."""

import random
from functools import lru_cache

from torch.utils.data import Dataset

from train.data.training_set import TrainingSet
from train.recipe import Recipe


class StepIndexDataset(Dataset[tuple[int, int]]):
    """The indices of a stage: element i is (step, position in the step's batch)."""

    def __init__(self, steps: int, photos: int) -> None:
        self.steps, self.photos = steps, photos

    def __len__(self) -> int:
        return self.steps * self.photos

    def __getitem__(self, index: int) -> tuple[int, int]:
        return divmod(index, self.photos)


class StepSampler:
    """Draws the photos of every step of a stage from the seed, the stage and the step alone."""

    def __init__(self, stage: str, data: TrainingSet, recipe: Recipe) -> None:
        self.stage, self.data, self.recipe = stage, data, recipe
        self.photos_per_step = getattr(recipe, stage).photos
        self.category_of = data.category_of
        self.rows = lru_cache(maxsize=4)(self._rows)
        self._order = lru_cache(maxsize=2)(self._epoch)

    def rng(self, *key: object) -> random.Random:
        """Return the random generator of a key, such as a step, or a step and a position in it."""
        return random.Random(" ".join(map(str, (self.recipe.seed, self.stage, *key))))

    def _rows(self, step: int) -> list[int]:
        """Return the rows (indices of records) of a step, over all processes."""
        rng = self.rng(step)
        if self.stage == "align" and self.recipe.groups_per_batch:
            return self._grouped_rows(rng)
        if self.recipe.balance != 1:
            return [self.balanced_row(rng) for _ in range(self.photos_per_step)]
        count = len(self.data.records)
        drawn = range(step * self.photos_per_step, (step + 1) * self.photos_per_step)
        return [self._order(i // count)[i % count] for i in drawn]

    def _epoch(self, epoch: int) -> list[int]:
        order = list(range(len(self.data.records)))
        self.rng("epoch", epoch).shuffle(order)
        return order

    def balanced_row(self, rng: random.Random) -> int:
        """Draw a category with probability proportional to size ** `balance`, then one of its photos."""
        weights = [len(rows) ** self.recipe.balance for rows in self.data.members]
        return rng.choice(self.data.members[rng.choices(range(len(weights)), weights)[0]])

    def _grouped_rows(self, rng: random.Random) -> list[int]:
        """Draw photos of a few categories and of their nearest ones, for hard and easy negatives in one batch."""
        chosen: list[int] = []
        for _ in range(self.recipe.groups_per_batch):
            seed = self.category_of[self.balanced_row(rng)]
            nearest = self.data.nearest_categories[seed][: self.recipe.categories_per_group]
            chosen += [seed, *rng.sample(nearest, min(self.recipe.categories_per_group - 1, len(nearest)))]
        distinct = list(dict.fromkeys(chosen))[: self.photos_per_step]
        each, more = divmod(self.photos_per_step, len(distinct))
        counts = [each + (i < more) for i in range(len(distinct))]
        return [row for c, k in zip(distinct, counts, strict=True) for row in rng.choices(self.data.members[c], k=k)]
