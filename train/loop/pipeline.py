"""From labelled photos to a checkpoint: features, the stages of a recipe, calibration, and the checkpoint's card."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from core.errors import UserError
from core.models.base_models import base_id
from core.models.calibration import Calibration, LabelBank
from core.models.checkpoint import TrainingData, TrainingRecord, save_checkpoint
from core.models.vlm import VisionLanguageModel
from core.storage.cache import sha256_of
from core.storage.files import write_atomically
from core.taxonomy.descriptions import describe, words_of
from train.data.records import Record, manifest_hash, short_hash
from train.data.training_set import TrainingSet, categories_of
from train.data.training_split import TrainingSplit
from train.loop.calibration import calibrate, label_embeddings
from train.loop.encoder import load_encoder, run_encoder_stage
from train.loop.stages import run_stage, start_from
from train.loop.trainable import open_base_for
from train.objectives.stage_model import initialise_connector, processes
from train.publish.model_card import write_card
from train.recipe import Recipe

log = logging.getLogger(__name__)


def check_name(name: str) -> None:
    """Raise `UserError` for a name that cannot be that of a folder and a model."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(f"{name!r} cannot name a checkpoint: use letters, digits, dots, hyphens and underscores.")


def run_facts(split: TrainingSplit, recipe: Recipe) -> dict:
    """Return everything that a run depends on except the variant: runs with equal facts may share a folder."""
    descriptions = [(words_of(c.name), describe(c)) for c in categories_of(split.records)]
    knowledge = hashlib.sha256(json.dumps([descriptions, split.descriptions], sort_keys=True).encode()).hexdigest()[:16]
    settings = {k: v for k, v in recipe.as_dict().items() if k != "variant"}
    facts = {**settings, "data": manifest_hash(split.records), "knowledge": knowledge, "base_id": base_id(recipe.base)}
    for field in ("encoder_file", "start_file"):
        file = Path(getattr(recipe, field))
        if file.is_file():
            facts[field.replace("file", "id")] = sha256_of(file)[:16]
    return facts


def open_work(folder: Path, facts: dict) -> None:
    """Make a run's folder and record its facts there. Raises `UserError` if it contains another run."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.dumps(facts, indent=1)
    recorded = folder / "recipe.json"
    with FileLock(folder / "recipe.lock"):
        if recorded.exists() and _facts_in(recorded) != json.loads(settings):
            raise UserError(
                f"{folder} contains a run with other data or another recipe: name another folder with --work."
            )
        write_atomically(recorded, settings.encode())


def _facts_in(recorded: Path) -> dict | None:
    try:
        return json.loads(recorded.read_text())
    except ValueError:  # damaged
        return None


def train(name: str, split: TrainingSplit, recipe: Recipe, work: Path, out: Path, until: str | None = None) -> None:
    """Train one checkpoint and write it to `out`/`name`; an interrupted run resumes from `work`.

    `until` names the last stage to train: then there is no checkpoint, and another run goes on from there. Raises
    `UserError` if there are too few photos, or if `work` contains another run.
    """
    check_name(name)
    process = processes()  # initialised before anything is moved to a device
    log.info("recipe: %s", json.dumps(recipe.as_dict(), indent=1))
    open_work(work, run_facts(split, recipe))
    mllm, data = train_variant(split, recipe, work, until)
    if until or not process.is_main_process:
        return
    labels, calibration = finish(name, mllm, data, split.held_out, recipe)
    save_checkpoint(out / name, mllm, labels, calibration, training_record(name, split, recipe))
    write_card(out / name)
    log.info("%s: saved in %s, %s", name, out / name, calibration)


def train_variant(
    split: TrainingSplit, recipe: Recipe, work: Path, until: str | None = None
) -> tuple[VisionLanguageModel, TrainingSet]:
    """Return the model after all stages of the recipe's variant (or those up to `until`), and its training set.

    Finished stages are loaded from `work` (see `open_work`), where variants share the warm-up.
    """
    with in_use(work):
        return _train_variant(split, recipe, work, until)


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Lock a run's folder. Raises `UserError` if another run is using it."""
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


def _train_variant(
    split: TrainingSplit, recipe: Recipe, work: Path, until: str | None
) -> tuple[VisionLanguageModel, TrainingSet]:
    mllm = open_base_for(recipe)
    torch.backends.cudnn.benchmark = recipe.augmented or recipe.encoder is not None  # their views have one size
    log.info("%d photos to train on, %d to calibrate with", len(split.training), len(split.held_out))
    encoder = None
    if recipe.encoder_file:
        encoder = load_encoder(mllm, Path(recipe.encoder_file))
    elif recipe.encoder:
        encoder = run_encoder_stage(mllm, split, recipe, work)
    data = split.training_set(mllm, recipe, encoder)
    if until == "encoder":
        return mllm, data
    if recipe.start_file:
        start_from(mllm, recipe)
    elif recipe.warmup:
        initialise_connector(mllm, recipe.seed)
    for stage in recipe.stages():
        folder = work if stage == "warmup" else work / recipe.variant
        folder.mkdir(parents=True, exist_ok=True)
        run_stage(stage, mllm, data, recipe, folder)
        if stage == until:
            break
    return mllm, data


def finish(
    name: str, mllm: VisionLanguageModel, data: TrainingSet, held_out: list[Record], recipe: Recipe
) -> tuple[LabelBank, Calibration]:
    """Return the label embeddings and, fitted on the held-out photos, the calibration of a trained model."""
    labels = label_embeddings(mllm, data, recipe)
    return labels, calibrate(name, mllm, labels, held_out)


def training_record(name: str, split: TrainingSplit, recipe: Recipe) -> TrainingRecord:
    """Return the training record of a checkpoint's manifest."""
    return TrainingRecord(
        name=name,
        training=recipe.as_dict(),
        stages=list(recipe.stages()),
        data=TrainingData(
            name=split.name,
            sets=sorted({record.data_set for record in split.records}),
            photos=len(split.training),
            calibration_photos=len(split.held_out),
            hash=manifest_hash(split.records),
            seen=sorted({short_hash(record) for record in split.records}),
        ),
    )
