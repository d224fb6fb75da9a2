"""What a training step computes: the connector's warm-up, stage I (alignment) and stage II (questions)."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserError
from core.knowledge import WORDINGS, Category, describe, find_category, words_of
from core.mllm import Mllm, VisionFeatures
from core.prompts import LETTERS, closed_question, description_question, open_question
from core.scoring import word_similarity
from core.similarity import most_similar
from train.data import Record
from train.features import FeatureCache
from train.losses import TripleBatch, attribute_category, category_category, object_attribute, object_category
from train.recipe import Recipe

WORD_NORM = 0.118  # RMSNorm weight at which image tokens are as long as the text model's word embeddings
LABEL_SMOOTHING = 0.1
NEIGHBOURS = 12  # look-alikes from which the options of closed-set questions are drawn


def known_categories(records: list[Record]) -> list[Category]:
    """The records' categories, sorted by name. Raises `UserError` for one whose attributes are not known."""
    known = []
    for name in sorted({record.category for record in records}):
        category = find_category(name)
        if category is None:
            raise UserError(f"No attributes are known for {name!r}: add it to a table in assets/attributes.")
        known.append(category)
    return known


@dataclass
class TrainingSet:
    """The photos, their cached features, and their categories with look-alikes."""

    records: list[Record]
    features: FeatureCache
    categories: list[Category]
    look_alikes: list[list[int]]  # per category: indices of the others of its super-category, most similar first
    members: list[list[int]]  # per category: indices of its records

    @classmethod
    def build(cls, records: list[Record], features: FeatureCache) -> "TrainingSet":
        """Raises `UserError` for a category whose attributes are not known."""
        categories = known_categories(records)
        names = [category.name for category in categories]
        position = {name: i for i, name in enumerate(names)}
        members: list[list[int]] = [[] for _ in names]
        for row, record in enumerate(records):
            members[position[record.category]].append(row)
        ranked = most_similar(names, len(names) - 1)
        groups = [category.super_category for category in categories]
        look_alikes = [[j for j in row if groups[j] == groups[i]] for i, row in enumerate(ranked)]
        return cls(records, features, categories, look_alikes, members)


def initialise_connector(mllm: Mllm, seed: int) -> None:
    """A fresh connector whose latents differ (Idefics2 starts them all equal) and speak at the words' loudness."""
    torch.manual_seed(seed)
    connector = mllm.model.model.connector
    for module in connector.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
        elif module.__class__.__name__.endswith("RMSNorm"):
            nn.init.ones_(module.weight)
    nn.init.normal_(connector.perceiver_resampler.latents)
    nn.init.constant_(connector.perceiver_resampler.norm.weight, WORD_NORM)


class Steps:
    """The losses of one step of each stage, for a model and a training set."""

    def __init__(self, mllm: Mllm, data: TrainingSet, recipe: Recipe, rehearse: bool = True) -> None:
        self.mllm, self.data, self.recipe, self.rehearse = mllm, data, recipe, rehearse
        self.words = mllm.word_embeddings(mllm.word_ids([words_of(c.name) for c in data.categories]))  # [C, L, H]
        self.centre = self.words.mean(dim=(0, 1))
        self.bank: Tensor | None = None
        self.category_of = {row: i for i, rows in enumerate(data.members) for row in rows}

    def _patches(self, rows: list[int], rng: random.Random) -> Tensor:
        """[B, P', D] a random part of the patches of random views of the photos: the connector sees no others."""
        views = [rng.randrange(self.data.features.views) for _ in rows]
        states = self.data.features.get(rows, views, self.mllm.device).states
        kept = round((1 - self.recipe.patch_dropout) * states.shape[1])
        chosen = torch.rand(states.shape[:2], device=states.device).argsort(dim=1)[:, :kept]
        return states.gather(1, chosen[..., None].expand(-1, -1, states.shape[-1]))

    def _image_tokens(self, patches: Tensor) -> Tensor:
        """[B, L, H] from patches [B, P', D], with features dropped."""
        mask = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        return self.mllm.image_tokens(VisionFeatures(F.dropout(patches, self.recipe.feature_dropout), mask))

    def _photos(self, rows: list[int], rng: random.Random) -> Tensor:
        """Image tokens [B, L, H] of the photos, with patches and features dropped."""
        return self._image_tokens(self._patches(rows, rng))

    def _names(self, rows: list[int]) -> list[str]:
        return [str(self.data.records[row].image) for row in rows]

    def _balanced_rows(self, count: int, rng: random.Random) -> list[int]:
        """Photos drawn so that rare categories are seen more often than their share, but not as often as common ones."""
        weights = [len(rows) ** 0.5 for rows in self.data.members]
        chosen = rng.choices(range(len(weights)), weights, k=count)
        return [rng.choice(self.data.members[category]) for category in chosen]

    def warm_up(self, rng: random.Random) -> tuple[dict[str, Tensor], list[str]]:
        """The connector alone, without the text model.

        In a share of the steps every photo has some of its patches replaced by another's, and both are its truth, in
        proportion: without that the connector learns the photos by heart.
        """
        rows = self._balanced_rows(self.recipe.warmup.photos, rng)
        patches = self._patches(rows, rng)
        own = [self.category_of[row] for row in rows]
        if rng.random() >= self.recipe.mixed_share:
            return self._anchor(self._image_tokens(patches), own), self._names(rows)
        other = torch.randperm(len(rows), device=patches.device)
        share = torch.rand(len(rows), 1, device=patches.device)
        kept = torch.rand(patches.shape[:2], device=patches.device) < share  # [B, P']
        similarity = self._word_similarity(self._image_tokens(torch.where(kept[..., None], patches, patches[other])))
        targets = torch.tensor(own, device=patches.device)
        first, second = (
            F.cross_entropy(similarity, truth, label_smoothing=LABEL_SMOOTHING, reduction="none")
            for truth in (targets, targets[other])
        )
        share = kept.float().mean(dim=1)
        return {"mixed_naming": (share * first + (1 - share) * second).mean()}, self._names(rows)

    def _word_similarity(self, image_tokens: Tensor) -> Tensor:
        """[B, C] logits of image tokens [B, L, H] over the categories' words."""
        return word_similarity(image_tokens, self.words, self.centre) / self.recipe.temperature

    def _anchor(self, image_tokens: Tensor, categories: list[int]) -> dict[str, Tensor]:
        """Image tokens are drawn to their category's words, in direction and length, away from every other's."""
        targets = torch.tensor(categories, device=image_tokens.device)
        naming = F.cross_entropy(self._word_similarity(image_tokens), targets, label_smoothing=LABEL_SMOOTHING)
        apart = (image_tokens.float() - self.words[targets]).pow(2).sum(-1).mean()
        distance = apart / self.words.pow(2).sum(-1).mean()
        return {"naming": naming, "distance": distance}

    def _description_loss(self, categories: list[int], image_tokens: Tensor) -> Tensor:
        """L_gen of the descriptions of photos [B, L, H]."""
        about = [self.data.categories[c] for c in categories]
        return self.mllm.generation_loss(
            [self.mllm.question_ids(description_question(c.super_category)) for c in about],
            [self.mllm.answer_ids(describe(c)) for c in about],
            image_tokens,
        )

    def _hard_negatives(self, category: int) -> list[int]:
        """The category's closest look-alikes; where there are too few, itself, which the losses mask."""
        near = self.data.look_alikes[category][: self.recipe.hard_negatives]
        return near + [category] * (self.recipe.hard_negatives - len(near))

    def _grouped_rows(self, rng: random.Random) -> list[int]:
        """Photos of a few categories and their look-alikes: hard negatives as well as easy ones in one batch."""
        chosen: list[int] = []
        for row in self._balanced_rows(self.recipe.groups_per_batch, rng):
            seed = self.category_of[row]
            near = self.data.look_alikes[seed][: self.recipe.categories_per_group]
            chosen += [seed, *rng.sample(near, min(self.recipe.categories_per_group - 1, len(near)))]
        distinct = list(dict.fromkeys(chosen))
        share = self.recipe.stage1.photos // len(distinct)
        return [row for c in distinct for row in rng.choices(self.data.members[c], k=share)]

    def encode_bank(self) -> None:
        """Encode every category's name and description: the hard negatives of `align`, free of gradients.

        `align` replaces those that it encodes itself; calling this now and then keeps the others from growing stale.
        """
        categories = self.data.categories
        self.bank = torch.stack(
            [
                self.mllm.embed_texts([category.name for category in categories]),
                self.mllm.embed_texts([describe(category) for category in categories]),
            ]
        )  # [2, C, H]

    def align(self, rng: random.Random) -> tuple[dict[str, Tensor], list[str]]:
        """Stage I: u L_gen(description) + (L_OAC + L_ACC + v L_CCC + w L_OC) / 2, every distinct text encoded once.

        The batch's texts carry gradients; the hard negatives come from the bank of all categories' embeddings. The
        warm-up's losses stay on: without them the connector forgets categories while the adapter is still learning.
        """
        recipe, mllm = self.recipe, self.mllm
        if self.bank is None:
            self.encode_bank()
        assert self.bank is not None
        rows = self._grouped_rows(rng)
        own = [self.category_of[row] for row in rows]
        involved = sorted(set(own))
        image_tokens = self._photos(rows, rng)
        objects = mllm.embed_photos(image_tokens)
        texts = [describe(self.data.categories[c], rng.randrange(WORDINGS)) for c in involved]
        descriptions = mllm.embed([mllm.text_ids(text) for text in texts])
        names = mllm.embed([mllm.text_ids(self.data.categories[c].name) for c in involved])
        hard = torch.tensor([self._hard_negatives(category) for category in own], device=objects.device)
        bank = self.bank
        own_index = torch.tensor([involved.index(c) for c in own])
        batch = TripleBatch(
            objects,
            descriptions[own_index],
            names[own_index],
            torch.tensor(own, device=objects.device),
            bank[1, hard],
            bank[0, hard],
            hard,
        )
        self.bank = bank.clone()
        self.bank[:, involved] = torch.stack([names, descriptions]).detach()
        described = rng.sample(range(len(rows)), recipe.described_photos)
        generation = self._description_loss([own[i] for i in described], image_tokens[described])
        return {
            "generation": recipe.generation_weight * generation,
            "object_attribute": object_attribute(batch, recipe.temperature) / 2,
            "attribute_category": attribute_category(batch, recipe.temperature) / 2,
            "category_category": recipe.category_category_weight * category_category(batch, recipe.temperature) / 2,
            "object_category": recipe.object_category_weight * object_category(batch, recipe.temperature) / 2,
            **self._anchor(image_tokens, own),
        }, self._names(rows)

    def instruct(self, rng: random.Random) -> tuple[dict[str, Tensor], list[str]]:
        """Stage II: L_gen on an open-set question per photo and a closed-set one for some of them.

        With `rehearse`, some photos carry stage I's description too, which is forgotten otherwise: a small model
        takes to answering every question with a name. It draws nothing, so the questions are the same without it.
        """
        recipe, mllm = self.recipe, self.mllm
        rows = self._balanced_rows(recipe.stage2.photos, rng)
        own = [self.category_of[row] for row in rows]
        image_tokens = self._photos(rows, rng)
        questions, answers = [], []
        for category in (self.data.categories[c] for c in own):
            questions.append(open_question(category.super_category if rng.random() < 0.5 else None))
            answers.append(category.name)
        for c in own[: recipe.closed_photos]:
            near = self.data.look_alikes[c][:NEIGHBOURS]
            options = [c, *rng.sample(near, min(3, len(near)))]
            rng.shuffle(options)
            names = [self.data.categories[option].name for option in options]
            questions.append(closed_question(self.data.categories[c].super_category, names))
            answers.append(LETTERS[options.index(c)])
        count = recipe.closed_photos
        split = len(rows)
        losses = {}
        for kind, part, photos in (
            ("open", slice(None, split), image_tokens),
            ("closed", slice(split, None), image_tokens[:count]),
        ):
            losses[kind] = mllm.generation_loss(
                [mllm.question_ids(q) for q in questions[part]], [mllm.answer_ids(a) for a in answers[part]], photos
            )
        if self.rehearse:
            described = slice(len(rows) - recipe.rehearsed_photos, None)
            losses["description"] = self._description_loss(own[described], image_tokens[described])
        return losses, self._names(rows)
