"""The labelled photos of a run, in a part to train on and one to calibrate with."""

from dataclasses import dataclass

from core.errors import UserError
from core.models.vlm import VisionLanguageModel
from train.data.feature_cache import cache_features
from train.data.records import Record, split_calibration
from train.data.training_set import TrainingSet
from train.recipe import Recipe


@dataclass(frozen=True)
class TrainingSplit:
    """The photos to train on, those held out for calibration, and descriptions of single photos."""

    name: str  # of the data, for the model card
    fitted: list[Record]
    held: list[Record]
    descriptions: dict[str, str]  # by content hash; empty: the categories' own

    @classmethod
    def of(cls, name: str, records: list[Record], descriptions: dict[str, str] | None = None) -> "TrainingSplit":
        """Split the records. Raises `UserError` if no category has enough photos to hold one out."""
        fitted, held = split_calibration(records)
        if not held:
            raise UserError("No category has 8 photos: the probabilities could not be calibrated.")
        return cls(name, fitted, held, descriptions or {})

    @property
    def records(self) -> list[Record]:
        """All photos."""
        return [*self.fitted, *self.held]

    def training_set(self, mllm: VisionLanguageModel, recipe: Recipe) -> TrainingSet:
        """Return the photos to train on, with their vision features where the recipe caches these.

        Those held out have no cached features: calibration sees them in the views of the recogniser, not of training.
        """
        features = cache_features(mllm, self.fitted, recipe.views, recipe.seed) if recipe.views else None
        return TrainingSet.build(self.fitted, features, self.descriptions, recipe.negatives_by, mllm)
