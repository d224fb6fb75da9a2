"""Split the labelled photos of a run into a training part and a held-out part for calibration."""

from dataclasses import dataclass, field, replace

from core.errors import UserError
from core.models.vision_encoder import Encoder
from core.models.vlm import VisionLanguageModel
from train.data.decoded_photos import decoded_photos
from train.data.feature_cache import cache_features
from train.data.records import Record, split_calibration
from train.data.training_set import TrainingSet
from train.recipe import Recipe


@dataclass(frozen=True)
class TrainingSplit:
    """The photos to train on, those held out for calibration, and descriptions of single photos."""

    name: str  # of the data, for the model card
    training: list[Record]
    held_out: list[Record]
    descriptions: dict[str, str]  # by content hash; empty: the categories' own
    left_out: list[Record] = field(default_factory=list)  # others that are kept in one file with those to train on

    @classmethod
    def of(
        cls, name: str, records: list[Record], descriptions: dict[str, str] | None = None, share: float = 0.1
    ) -> "TrainingSplit":
        """Split the records, with `share` of every category held out.

        Raises `UserError` if no category has enough photos to hold one out.
        """
        training, held_out = split_calibration(records, share)
        if not held_out:
            raise UserError("No category has 8 photos: the probabilities could not be calibrated.")
        return cls(name, training, held_out, descriptions or {})

    @property
    def records(self) -> list[Record]:
        """All photos of both parts."""
        return [*self.training, *self.held_out]

    def only(self, training: list[Record], held_out: list[Record]) -> "TrainingSplit":
        """Return a part of the split; all parts of one split read their photos or features from the same file."""
        kept = set(training)
        left_out = [record for record in self.training if record not in kept]
        return replace(self, training=training, held_out=held_out, left_out=left_out)

    def training_set(self, mllm: VisionLanguageModel, recipe: Recipe, encoder: Encoder | None = None) -> TrainingSet:
        """Return the photos to train on, with their vision features if the recipe caches them.

        A fine-tuned `encoder` brings its classifier and mean features, which serve if its categories are these photos'.

        The held-out part has no cached features: calibration encodes it with the recogniser's views, not training's.
        """
        kept = [*self.training, *([] if encoder else self.left_out)]  # row i is photo i of the training part
        features = cache_features(mllm, kept, recipe.views, recipe.seed) if recipe.views else None
        photos = decoded_photos(kept) if recipe.augmented else None
        return TrainingSet.build(self.training, features, self.descriptions, recipe.negatives_by, mllm, photos, encoder)
