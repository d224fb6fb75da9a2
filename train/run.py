"""Train the two embedded checkpoints: warm-up, stage I, stage II, calibration.

`finedefics-tiny` goes through all of it, `idefics2-tiny` skips stage I; both start from one warmed-up connector
and see the same stage II steps in the same order.
"""

import json
import logging
from pathlib import Path

from core.checkpoints import adapter_config, save_checkpoint
from core.mllm import Mllm
from core.models import CHECKPOINTS, load_mllm
from train.calibrate import calibrate, label_embeddings
from train.data import Record, manifest_hash, split_calibration
from train.features import FeatureCache, cache_features
from train.loop import run_stage
from train.recipe import Recipe
from train.stages import Steps, TrainingSet, initialise_connector

log = logging.getLogger(__name__)

VARIANTS = {"finedefics-tiny": ("stage1", "stage2"), "idefics2-tiny": ("stage2",)}


def train(records: list[Record], recipe: Recipe, folder: Path, data_name: str) -> None:
    """Train every variant into `folder` (resumable) and write the checkpoints to the assets."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.dumps({**recipe.as_dict(), "data": manifest_hash(records)}, indent=1)
    log.info("recipe: %s", settings)
    (folder / "recipe.json").write_text(settings)
    features = cache_features(load_mllm(), records, recipe.views, recipe.seed)
    fitted, held = split_calibration(records)
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
                "photos": len(fitted),
                "calibration_photos": len(held),
                "hash": manifest_hash(records),
            },
        }
        save_checkpoint(CHECKPOINTS / name, mllm, labels, calibration, facts)
        log.info("%s: saved, %s", name, calibration)


def train_variant(
    name: str, stages: tuple[str, ...], records: list[Record], features: FeatureCache, recipe: Recipe, folder: Path
) -> Mllm:
    """One variant, trained from the base; stages that `folder` holds already are loaded."""
    mllm = load_mllm()
    data = TrainingSet.build(records, features)
    initialise_connector(mllm, recipe.seed)
    steps = Steps(mllm, data, recipe)
    run_stage("warmup", mllm, recipe.warmup, recipe.seed, folder, steps.warm_up)
    mllm.model.add_adapter(adapter_config(recipe.lora_rank, recipe.lora_alpha, recipe.lora_dropout))
    if "stage1" in stages:
        run_stage("stage1", mllm, recipe.stage1, recipe.seed, folder / name, steps.align, steps.encode_bank)
    run_stage("stage2", mllm, recipe.stage2, recipe.seed, folder / name, steps.instruct)
    return mllm
