"""Group the training photos by category, with descriptions and nearest categories."""

from collections import Counter
from dataclasses import dataclass, field

from torch import Tensor

from core.errors import UserError
from core.models.vision_encoder import Encoder
from core.models.vlm import VisionLanguageModel
from core.taxonomy.categories import Category, SuperCategory, find_category, super_categories
from core.taxonomy.data_sets import data_sets
from core.taxonomy.descriptions import describe
from train.choices import NegativesBy
from train.data.decoded_photos import DecodedPhotos
from train.data.feature_cache import FeatureCache, mean_features
from train.data.hard_negatives import hard_negatives
from train.data.records import Record


def categories_of(records: list[Record]) -> list[Category]:
    """Return the categories by name; those in no knowledge table get their data set's super-category."""
    kinds = {record.category: record.data_set for record in records}
    return [find_category(name) or Category(name, _kind_of(kinds[name]), (), {}) for name in sorted(kinds)]


def _kind_of(data_set: str) -> SuperCategory:
    row = data_sets().get(data_set)
    return super_categories().get(row.noun if row else "") or SuperCategory(data_set, "object", "kind", ())


@dataclass
class TrainingSet:
    """The photos, their cached features (if any), and their categories with the nearest ones of each."""

    records: list[Record]
    features: FeatureCache | None
    categories: list[Category]
    nearest_categories: list[list[int]]  # per category: indices of the others of its super-category, most similar first
    members: list[list[int]]  # per category: indices of its records
    descriptions: dict[str, str] = field(default_factory=dict)  # of single photos, by content hash
    photos: DecodedPhotos | None = None  # where views are drawn at every step
    means: Tensor | None = None  # [C, D] mean vision feature of every category, where it is known already
    encoder: Encoder | None = None  # fine-tuned on these categories, if it was
    category_of: list[int] = field(init=False)  # per record

    def __post_init__(self) -> None:
        """Look up the category of every record."""
        self.category_of = [0] * len(self.records)
        for category, rows in enumerate(self.members):
            for row in rows:
                self.category_of[row] = category

    @classmethod
    def build(
        cls,
        records: list[Record],
        features: FeatureCache | None,
        descriptions: dict[str, str] | None = None,
        negatives_by: NegativesBy = "descriptions",
        mllm: VisionLanguageModel | None = None,
        photos: DecodedPhotos | None = None,
        encoder: Encoder | None = None,
    ) -> "TrainingSet":
        """Group the records by category and rank the others of its super-category by similarity.

        Similarity is that of descriptions, of mean vision features of the photos (those of `encoder`, if it was
        fine-tuned on these categories, else computed with `mllm`), or both. Raises `UserError` for a category that is
        the only one of its kind.
        """
        categories = categories_of(records)
        counts = Counter(category.super_category.name for category in categories)
        if lonely := [group for group, count in counts.items() if count < 2]:
            raise UserError(f"There is only one kind of {lonely[0]}: at least two are needed to learn the difference.")
        names = [category.name for category in categories]
        position = {name: i for i, name in enumerate(names)}
        members: list[list[int]] = [[] for _ in names]
        for row, record in enumerate(records):
            members[position[record.category]].append(row)
        groups = [category.super_category.name for category in categories]
        if encoder and encoder.facts["categories"] != names:
            encoder = None
        means = encoder.means if encoder else None
        if negatives_by != "descriptions" and means is None:
            assert mllm is not None
            means = mean_features(mllm, records, features, names).cpu()
        compared = means.numpy() if means is not None and negatives_by != "descriptions" else None
        ranked = hard_negatives(names, groups, len(names), negatives_by, compared)
        return cls(records, features, categories, ranked, members, descriptions or {}, photos, means, encoder)

    def description(self, category: int, row: int, wording: int = 0) -> str:
        """Return the description of a photo, else its category's, else the category's name."""
        known = self.categories[category]
        own = self.descriptions.get(self.records[row].sha256)
        return own or describe(known, wording) or known.name

    def check_described(self) -> None:
        """Raise `UserError` for a photo without a description of its own or of its category."""
        for category, rows in zip(self.categories, self.members, strict=True):
            if not category.values and any(self.records[row].sha256 not in self.descriptions for row in rows):
                raise UserError(
                    f"No attributes are known for {category.name!r}: describe them by `train attributes`, or train "
                    "with --variant finetune, which needs none."
                )
