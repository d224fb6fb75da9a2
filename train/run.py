"""Train the two embedded checkpoints: warm-up, stage I, stage II, calibration.

`finedefics-tiny` goes through all of it, `idefics2-tiny` skips stage I; both start from one warmed-up connector
and see the same stage II steps in the same order.
"""

import hashlib
import json
import logging
from collections import Counter
from pathlib import Path

from core.checkpoints import adapter_config, save_checkpoint
from core.errors import UserError
from core.knowledge import describe, words_of
from core.mllm import Mllm
from core.models import load_mllm
from core.weights import base_fingerprint
from train.calibrate import calibrate, label_embeddings
from train.data import Record, manifest_hash, short_hash, split_calibration
from train.features import FeatureCache, cache_features
from train.loop import run_stage
from train.recipe import Recipe
from train.stages import Steps, TrainingSet, initialise_connector, known_categories

log = logging.getLogger(__name__)

VARIANTS = {"finedefics-tiny": ("stage1", "stage2"), "idefics2-tiny": ("stage2",)}


def train(records: list[Record], recipe: Recipe, folder: Path, out: Path, data_name: str) -> None:
    """Train every variant with `folder` for its progress (resumable) and write the checkpoints into `out`.

    Raises `UserError` if the photos do not suffice, or if `folder` holds another run.
    """
    fitted, held = split_calibration(records)
    check_enough(fitted, held)
    folder.mkdir(parents=True, exist_ok=True)
    told = [(words_of(c.name), describe(c)) for c in known_categories(records)]
    knowledge = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    origin = {"data": manifest_hash(records), "knowledge": knowledge, "base": base_fingerprint()}
    settings = json.dumps({**recipe.as_dict(), **origin}, indent=1)
    log.info("recipe: %s", settings)
    recorded = folder / "recipe.json"
    if recorded.exists() and recorded.read_text() != settings:
        raise UserError(f"{folder} holds a run on other data or by another recipe: name another folder with --work.")
    recorded.write_text(settings)
    features = cache_features(load_mllm(), records, recipe.views, recipe.seed)
    log.info("%d photos to train on, %d to calibrate with", len(fitted), len(held))
    for name, stages in VARIANTS.items():
        mllm = train_variant(name, stages, fitted, features.of(records, fitted), recipe, folder)
        labels = label_embeddings(mllm, fitted, features.of(records, fitted))
        calibration = calibrate(name, mllm, labels, held)
        facts = {
            "name": name,
            "training": recipe.as_dict(),
            "stages": ["warmup", *stages],
            "data": {
                "name": data_name,
                "sets": sorted({record.data_set for record in records}),
                "photos": len(fitted),
                "calibration_photos": len(held),
                "hash": manifest_hash(records),
                "seen": sorted({short_hash(record) for record in records}),
            },
        }
        save_checkpoint(out / name, mllm, labels, calibration, facts)
        log.info("%s: saved, %s", name, calibration)


def check_enough(fitted: list[Record], held: list[Record]) -> None:
    """Raises `UserError` if these photos cannot be trained on or calibrated with."""
    if not held:
        raise UserError("No category has 8 photos: the probabilities could not be calibrated.")
    groups = Counter(category.super_category.name for category in known_categories(fitted))
    if lonely := [group for group, count in groups.items() if count < 2]:
        raise UserError(f"There is only one kind of {lonely[0]}: at least two are needed to learn the difference.")


def train_variant(
    name: str, stages: tuple[str, ...], records: list[Record], features: FeatureCache, recipe: Recipe, folder: Path
) -> Mllm:
    """One variant, trained from the base; stages that `folder` holds already are loaded."""
    mllm = load_mllm()
    data = TrainingSet.build(records, features)
    initialise_connector(mllm, recipe.seed)
    steps = Steps(mllm, data, recipe, rehearse="stage1" in stages)
    run_stage("warmup", mllm, recipe.warmup, recipe.seed, folder, steps.warm_up)
    mllm.model.add_adapter(adapter_config(recipe.lora_rank, recipe.lora_alpha, recipe.lora_dropout))
    if "stage1" in stages:
        run_stage("stage1", mllm, recipe.stage1, recipe.seed, folder / name, steps.align, steps.encode_bank)
    run_stage("stage2", mllm, recipe.stage2, recipe.seed, folder / name, steps.instruct)
    return mllm
