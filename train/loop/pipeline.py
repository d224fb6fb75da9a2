"""From labelled photos to a checkpoint: features, the stages of a recipe, calibration, and the checkpoint's card."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import UserError
from core.models.base_models import base_id, open_base
from core.models.calibration import Calibration, LabelBank
from core.models.checkpoint import TrainingData, TrainingRecord, save_checkpoint
from core.models.vlm import VisionLanguageModel
from core.storage.files import write_atomically
from core.taxonomy.descriptions import describe, words_of
from train.data.feature_cache import FeatureCache, cache_features, mean_features
from train.data.hard_negatives import hard_negatives
from train.data.records import Record, manifest_hash, short_hash, split_calibration
from train.data.training_set import TrainingSet, categories_of
from train.loop.calibration import calibrate, label_embeddings
from train.loop.trainer import dtype_of, run_stage
from train.objectives.stage_model import initialise_connector, processes
from train.publish.model_card import write_card
from train.recipe import Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photos:
    """The photos of a run, in a part to train on and one to calibrate with, and descriptions of single photos."""

    name: str  # of the data, for the model card
    fitted: list[Record]
    held: list[Record]
    descriptions: dict[str, str]  # by content hash; empty: the categories' own

    @classmethod
    def of(cls, name: str, records: list[Record], descriptions: dict[str, str] | None = None) -> "Photos":
        """Raises `UserError` if the photos do not suffice."""
        fitted, held = split_calibration(records)
        if not held:
            raise UserError("No category has 8 photos: the probabilities could not be calibrated.")
        return cls(name, fitted, held, descriptions or {})

    @property
    def records(self) -> list[Record]:
        """All of them."""
        return [*self.fitted, *self.held]


def check_name(name: str) -> None:
    """Raises `UserError` for a name that cannot be that of a folder and a model."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(f"{name!r} cannot name a checkpoint: use letters, digits, dots, hyphens and underscores.")


def run_facts(photos: Photos, recipe: Recipe) -> dict:
    """What a run depends on: two runs whose facts are equal may share a folder (variants share one, too)."""
    told = [(words_of(c.name), describe(c)) for c in categories_of(photos.records)]
    knowledge = hashlib.sha256(json.dumps([told, photos.descriptions], sort_keys=True).encode()).hexdigest()[:16]
    settings = {k: v for k, v in recipe.as_dict().items() if k != "variant"}
    return {**settings, "data": manifest_hash(photos.records), "knowledge": knowledge, "base_id": base_id(recipe.base)}


def open_work(folder: Path, facts: dict) -> None:
    """Make a run's folder. Raises `UserError` if it holds another run."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.dumps(facts, indent=1)
    recorded = folder / "recipe.json"
    with FileLock(folder / "recipe.lock"):
        if recorded.exists() and json.loads(recorded.read_text()) != json.loads(settings):
            raise UserError(f"{folder} holds a run on other data or by another recipe: name another folder with --work.")
        write_atomically(recorded, settings.encode())


def train(name: str, photos: Photos, recipe: Recipe, work: Path, out: Path) -> None:
    """Train one checkpoint with `work` for its progress (resumable) and write it to `out`/`name`.

    Raises `UserError` if the photos do not suffice, or if `work` holds another run.
    """
    check_name(name)
    process = processes()  # known before anything is put on a device
    log.info("recipe: %s", json.dumps(recipe.as_dict(), indent=1))
    open_work(work, run_facts(photos, recipe))
    mllm, features = train_variant(photos, recipe, work)
    if not process.is_main_process:
        return
    labels, calibration = finish(name, mllm, photos, features)
    save_checkpoint(out / name, mllm, labels, calibration, training_record(name, photos, recipe))
    write_card(out / name)
    log.info("%s: saved in %s, %s", name, out / name, calibration)


def train_variant(photos: Photos, recipe: Recipe, work: Path) -> tuple[VisionLanguageModel, FeatureCache | None]:
    """The model after all stages of the recipe's variant, and the kept features of all photos.

    Finished stages are loaded from `work` (see `open_work`), where variants share the warm-up.
    """
    with in_use(work):
        return _train_variant(photos, recipe, work)


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Hold a run's folder. Raises `UserError` if another run does."""
    lock = FileLock(folder / "run.lock")
    try:
        if processes().is_main_process:
            lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"Another run is training in {folder}: wait for it, or name another folder.") from error
    try:
        yield
    finally:
        lock.release()


def _train_variant(photos: Photos, recipe: Recipe, work: Path) -> tuple[VisionLanguageModel, FeatureCache | None]:
    mllm = open_base(recipe.base, recipe.quantised, dtype_of(recipe))
    features = cache_features(mllm, photos.records, recipe.views, recipe.seed) if recipe.views else None
    fitted = features.of(photos.records, photos.fitted) if features else None
    data = TrainingSet.build(
        photos.fitted, fitted, photos.descriptions, look_alikes_by(mllm, recipe, photos.fitted, fitted)
    )
    log.info("%d photos to train on, %d to calibrate with", len(photos.fitted), len(photos.held))
    if recipe.warmup:
        initialise_connector(mllm, recipe.seed)
    for stage in recipe.stages():
        folder = work if stage == "warmup" else work / recipe.variant
        folder.mkdir(parents=True, exist_ok=True)
        run_stage(stage, mllm, data, recipe, folder)
    return mllm, features


def look_alikes_by(
    mllm: VisionLanguageModel, recipe: Recipe, records: list[Record], features: FeatureCache | None
) -> Callable[[list[str], list[str]], list[list[int]]]:
    """How hard negatives are ranked: a function of category names and groups, for `TrainingSet.build`."""

    def rank(names: list[str], groups: list[str]) -> list[list[int]]:
        by = recipe.negatives_by
        means = None if by == "descriptions" else mean_features(mllm, records, features, names).cpu().numpy()
        return hard_negatives(names, groups, len(names), by, means)

    return rank


def finish(
    name: str, mllm: VisionLanguageModel, photos: Photos, features: FeatureCache | None
) -> tuple[LabelBank, Calibration]:
    """The label embeddings and the calibration of a trained model."""
    fitted = features.of(photos.records, photos.fitted) if features else None
    labels = label_embeddings(mllm, photos.fitted, fitted)
    return labels, calibrate(name, mllm, labels, photos.held)


def training_record(name: str, photos: Photos, recipe: Recipe) -> TrainingRecord:
    """Return what the checkpoint's manifest records of its training."""
    return TrainingRecord(
        name=name,
        training=recipe.as_dict(),
        stages=list(recipe.stages()),
        data=TrainingData(
            name=photos.name,
            sets=sorted({record.data_set for record in photos.records}),
            photos=len(photos.fitted),
            calibration_photos=len(photos.held),
            hash=manifest_hash(photos.records),
            seen=sorted({short_hash(record) for record in photos.records}),
        ),
    )
