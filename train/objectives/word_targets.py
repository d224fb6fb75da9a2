"""Draw image tokens to the words of their categories: the connector's warm-up, and its anchor in later stages."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from core.errors import UserError
from core.models.scoring import word_similarity
from core.models.vlm import VisionFeatures, VisionLanguageModel
from train.data.batch import Batch
from train.data.category_words import category_words
from train.data.training_set import TrainingSet
from train.recipe import Recipe

LABEL_SMOOTHING = 0.1


@dataclass(frozen=True)
class EncodedPhotos:
    """Photos as image tokens, and the categories whose words these are drawn to."""

    tokens: Tensor  # [b, L, H]
    categories: Tensor  # [b]
    targets: Tensor  # [b, C] rows sum to 1
    mixed: bool  # each is made of two photos


class WordTargets:
    """The input embeddings of every category's words, and the losses of image tokens that should be near them."""

    def __init__(self, mllm: VisionLanguageModel, data: TrainingSet, recipe: Recipe) -> None:
        names = [category.name for category in data.categories]
        self._words = mllm.word_embeddings(category_words(mllm, names, recipe))  # [C, L, H]
        self._centre = self._words.mean(dim=(0, 1))
        self._temperature, self._answered = recipe.temperature, recipe.encoder_answers
        if recipe.encoder_answers:
            if data.encoder is None:
                raise UserError("The vision encoder was fine-tuned on other categories: leave encoder_answers out.")
            self._classifier = {name: tensor.to(mllm.device) for name, tensor in data.encoder.classifier.items()}

    def targets(self, batch: Batch, vision: VisionFeatures) -> Tensor:
        """Return shares of the categories [b, C] as targets: labels, smoothed, and the fine-tuned encoder's answers."""
        count = len(self._words)
        targets = F.one_hot(batch.categories, count).float()
        if batch.second is not None and batch.share is not None:
            share = batch.share[:, None]
            targets = share * targets + (1 - share) * F.one_hot(batch.second, count).float()
        targets = (1 - LABEL_SMOOTHING) * targets + LABEL_SMOOTHING / count
        if self._answered:
            features = vision.states.float().mean(dim=1)
            logits = F.linear(features, self._classifier["weight"], self._classifier["bias"])
            targets = (1 - self._answered) * targets + self._answered * logits.float().softmax(dim=-1)
        return targets

    def losses(self, photos: EncodedPhotos) -> dict[str, Tensor]:
        """Return losses that pull image tokens to their category's words and away from those of others.

        They train the connector alone, without the text model. A mixed photo is near the words of neither category.
        """
        similarity = word_similarity(photos.tokens, self._words, self._centre) / self._temperature  # [b, C]
        naming = F.cross_entropy(similarity, photos.targets)
        if photos.mixed:
            return {"mixed_naming": naming}
        distance = (photos.tokens.float() - self._words[photos.categories]).pow(2).sum(-1).mean()
        return {"naming": naming, "distance": distance / self._words.pow(2).sum(-1).mean()}
