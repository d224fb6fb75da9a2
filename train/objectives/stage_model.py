"""Compute the losses of the connector's warm-up, of stage I (alignment) and of stage II (questions)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserError
from core.models.scoring import generation_losses
from core.models.vision_encoder import encoder_input
from core.models.vlm import VisionFeatures, VisionLanguageModel, by_length
from train.data.augmentation import Augmentation, kept_patches, mix_patches
from train.data.batch import Batch, Question
from train.data.training_set import TrainingSet
from train.objectives.contrastive import (
    Temperature,
    TripleBatch,
    attribute_category,
    category_category,
    gather_columns,
    object_attribute,
    object_category,
)
from train.objectives.word_targets import EncodedPhotos, WordTargets
from train.recipe import Recipe

WORD_NORM = 0.118  # RMSNorm weight at which image tokens have the norm of the text model's word embeddings
QUESTION_GROWTH = 2.0  # of lengths in a pass: closed questions are long, and padding open ones to them takes memory


def initialise_connector(mllm: VisionLanguageModel, seed: int) -> None:
    """Initialise the connector: distinct latents (Idefics2 starts them equal), outputs with the norm of word embeddings.

    Raises `UserError` if the base has a connector of another kind.
    """
    torch.manual_seed(seed)
    connector = mllm.model.model.connector
    if not hasattr(connector, "perceiver_resampler"):
        raise UserError(f"The connector of {mllm.base} is trained already: leave the warm-up out of the preset.")
    for module in connector.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
        elif module.__class__.__name__.endswith("RMSNorm"):
            nn.init.ones_(module.weight)
    nn.init.normal_(connector.perceiver_resampler.latents)
    nn.init.constant_(connector.perceiver_resampler.norm.weight, WORD_NORM)


def processes() -> PartialState:
    """Return the state of this process among those of the run (see `torchrun` and `accelerate launch`)."""
    return PartialState(cpu=not torch.cuda.is_available())


@dataclass(frozen=True)
class Part:
    """Photos or texts of a batch that are encoded together."""

    kind: str  # photos | texts
    rows: slice


def parts_of(batch: Batch, chunk: int) -> list[Part]:
    """Cut a batch into chunks: texts, then photos (the last chunk reaches every trained parameter)."""

    def chunks(kind: str, count: int) -> Iterator[Part]:
        for start in range(0, count, chunk):
            yield Part(kind, slice(start, min(start + chunk, count)))

    return [*chunks("texts", len(batch.texts)), *chunks("photos", len(batch.photos))]


class StageModel(nn.Module):
    """A model in one stage of its training: `forward` returns the named losses of a batch, whose sum is minimised.

    Several processes average their losses and gradients (as DDP does); every loss is normalised so that this is the
    loss of the whole batch.
    """

    def __init__(self, stage: str, mllm: VisionLanguageModel, data: TrainingSet, recipe: Recipe) -> None:
        super().__init__()
        self.stage, self.mllm, self.data, self.recipe = stage, mllm, data, recipe
        self.network = mllm.model
        self.temperature = Temperature(recipe.temperature, recipe.learned_temperature and stage == "align")
        self.temperature.to(mllm.device)
        self.memory: Tensor | None = None  # [C, H] embeddings of all descriptions
        self.words = WordTargets(mllm, data, recipe)

    def train(self, mode: bool = True) -> "StageModel":
        """Set training mode for everything except the frozen vision encoder."""
        super().train(mode)
        self.network.model.vision_model.eval()
        return self

    def forward(self, batch: Batch, part: Part | None = None, gradients: Tensor | None = None) -> dict[str, Tensor]:
        """Return the named losses of a batch.

        Gradient caching in stage I passes a `part` and the `gradients` of the alignment loss by its embeddings; the
        sum of the losses then has the part's share of the batch's gradient.
        """
        if part is not None and gradients is not None:
            return self._share(batch, part, gradients)
        photos = self._encode_photos(batch)
        if self.stage == "warmup":
            return self.words.losses(photos)
        losses = self._answers(batch, photos.tokens) | self._anchored(photos)
        if batch.descriptions is not None:
            objects = self.mllm.embed_photos(photos.tokens[: len(batch.descriptions)])
            losses |= self.alignment(batch, torch.cat([self.mllm.embed(batch.texts), objects]), self.temperature())
        return losses

    def saved_tensors(self) -> dict[str, Tensor]:
        """Return everything that changes in training, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    # Photos -------------------------------------------------------------------------------------------------------

    def _encode_photos(self, batch: Batch) -> EncodedPhotos:
        """Return image tokens from cached features or from pixels, with feature dropout, and their targets.

        Some warm-up steps train on photos mixed from the patches of two, which keeps the connector from memorising the
        photos. The targets of a mixed photo are those of both, in proportion.
        """
        if batch.is_photos:
            vision = self._augmented(batch.states)
            if self.stage == "warmup" and torch.rand(()).item() < self.recipe.mixed_share:
                states, others, share = mix_patches(vision.states)
                vision = VisionFeatures(states, vision.mask)
                batch = replace(batch, second=batch.categories[others], share=share)
        elif batch.is_pixels:
            vision = self.mllm.encode_vision(batch.states, batch.mask)
        else:
            vision = VisionFeatures(batch.states, batch.mask)
        targets = self.words.targets(batch, vision)
        if batch.is_photos:
            noise = torch.rand(vision.mask.shape, device=vision.states.device)
            states = kept_patches(vision.states, noise, self.recipe.patch_dropout)
            vision = VisionFeatures(states, vision.mask[:, : states.shape[1]])
        states = F.dropout(vision.states, self.recipe.feature_dropout, self.training)
        tokens = self.mllm.image_tokens(VisionFeatures(states, vision.mask))
        return EncodedPhotos(tokens, batch.categories, targets, batch.second is not None)

    def _augmented(self, photos: Tensor) -> VisionFeatures:
        """Return the features of an augmented view of each photo."""
        views = Augmentation(self.recipe.least_area)(photos, self.mllm.processor.image_processor.size["height"])
        inputs = encoder_input(self.mllm, views)
        states = self.mllm.encode_vision(inputs, torch.ones(len(inputs), 1, dtype=torch.bool)).states
        return VisionFeatures(states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device))

    def _anchored(self, photos: EncodedPhotos) -> dict[str, Tensor]:
        """Return the warm-up's losses in stage I or II, against forgetting in the connector, if the recipe has them."""
        weight = float(self.recipe.anchor) if self.stage == "align" else self.recipe.instruct_anchor
        if not weight:
            return {}
        return {name: weight * loss for name, loss in self.words.losses(photos).items()}

    # Answers ------------------------------------------------------------------------------------------------------

    def _answers(self, batch: Batch, tokens: Tensor) -> dict[str, Tensor]:
        """Return L_gen by kind of question: the mean over the tokens of all answers of the step."""
        if not batch.questions:
            return {}
        letter = self.recipe.closed_letter_weight

        def losses(questions: list[Question]) -> Tensor:
            return generation_losses(
                self.mllm,
                [q.prompt for q in questions],
                [q.answer for q in questions],
                tokens[[q.photo for q in questions]],
                [letter if q.kind == "closed" else 1.0 for q in questions],
            )

        sums = by_length(batch.questions, losses, growth=min(self.mllm.max_growth, QUESTION_GROWTH))
        means = {}
        for kind in dict.fromkeys(question.kind for question in batch.questions):
            rows = [row for row, question in enumerate(batch.questions) if question.kind == kind]
            weight = self.recipe.generation_weight if self.stage == "align" else 1.0
            weight = self.recipe.open_weight if kind == "open" else weight
            means[kind] = weight * sums[rows].sum() / batch.answer_tokens[kind]
        return means

    # Alignment ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def refresh_memory(self) -> None:
        """Encode every category's description again, without dropout, as hard negatives without gradients.

        `alignment` updates the descriptions of its batch; a refresh every few steps updates the others.
        """
        mode = self.training
        self.eval()
        descriptions = [self.data.description(i, rows[0]) for i, rows in enumerate(self.data.members)]
        self.memory = self.mllm.embed_texts(descriptions)
        self.train(mode)

    def alignment(self, batch: Batch, embeddings: Tensor, temperature: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of (L_OAC + L_ACC + L_CCC) / 2, from embeddings of all texts, then all photos."""
        texts, objects = embeddings[: len(batch.texts)], embeddings[len(batch.texts) :]
        assert batch.descriptions is not None
        assert batch.names is not None
        assert batch.negatives is not None
        assert batch.negative_names is not None
        descriptions, names = texts[batch.descriptions], texts[batch.names]
        if batch.negative_descriptions is not None:
            negative_descriptions = texts[batch.negative_descriptions]
        else:
            if self.memory is None:
                self.refresh_memory()
            assert self.memory is not None
            negative_descriptions = self.memory[batch.negatives]
        hard = negative_descriptions, texts[batch.negative_names]
        categories = batch.categories[: len(objects)]
        others = gather_columns(objects, descriptions, names, categories)
        triples = TripleBatch(objects, descriptions, names, categories, *hard, batch.negatives, others)
        if self.recipe.shared_negatives:
            triples = triples.shared()
        if self.memory is not None:
            columns = triples.columns
            self.memory = self.memory.clone()
            self.memory[columns.categories] = columns.descriptions.detach()
        recipe, alone = self.recipe, self.recipe.variant == "object-category"
        weighted = {
            object_attribute: 0.0 if alone else recipe.object_attribute_weight,
            attribute_category: 0.0 if alone else recipe.attribute_category_weight,
            category_category: 0.0 if alone else recipe.category_category_weight,
            object_category: 1.0 if alone else recipe.object_category_weight,
        }
        kept = recipe.aligned_weight if self.stage == "instruct" else 1.0
        return {loss.__name__: kept * w * loss(triples, temperature) / 2 for loss, w in weighted.items() if w}

    def encode(self, batch: Batch, part: Part) -> Tensor:
        """Return the embeddings [n, H] of a part's texts or photos."""
        if part.kind == "texts":
            return self.mllm.embed(batch.texts[part.rows])
        return self.mllm.embed_photos(self._encode_photos(batch.photo_part(part.rows)).tokens)

    def _share(self, batch: Batch, part: Part, gradients: Tensor) -> dict[str, Tensor]:
        if part.kind == "texts":
            return {"alignment": (self.mllm.embed(batch.texts[part.rows]) * gradients).sum()}
        own = batch.photo_part(part.rows)
        photos = self._encode_photos(own)
        share = len(own.photos) / len(batch.photos)
        direct = {name: share * loss for name, loss in self._anchored(photos).items()}
        return {
            "alignment": (self.mllm.embed_photos(photos.tokens) * gradients).sum(),
            **direct,
            **self._answers(own, photos.tokens),
        }
