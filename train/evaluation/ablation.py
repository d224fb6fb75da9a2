"""Train and measure the variants of the paper's figure alike, to learn what each loss of stage I contributes."""

import gc
import json
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from core.errors import UserError
from core.models.calibration import SCORES, Calibration
from core.models.checkpoint import merge_adapter, save_checkpoint
from core.models.vlm import VisionLanguageModel
from core.recognition.label_space import MAX_LABELS, LabelSpace
from core.recognition.recogniser import Recogniser
from core.storage.cache import fingerprint
from core.storage.files import write_atomically
from train.data.collator import evenly
from train.data.records import manifest_hash, short_hash
from train.data.training_set import TrainingSet
from train.evaluation.accuracy import MeasuredSet, measure_set
from train.evaluation.arms import Arm
from train.loop.calibration import description_embeddings, label_embeddings
from train.loop.pipeline import finish, open_work, run_facts, train_variant, training_record
from train.objectives.stage_model import processes
from train.publish.model_card import write_card
from train.recipe import Recipe

ALONE = ("likelihood", "name", "description")  # of SCORES


def ablate(arm: Arm, recipe: Recipe, work: Path) -> list[dict]:
    """Train and measure one variant with one seed in one arm; return a result per condition of the arm.

    Results that are in `work` already are taken from there, and variants share the warm-up. Raises `UserError` if
    `work` holds runs on other data or by another recipe, or if there are several processes.
    """
    if processes().num_processes > 1:
        raise UserError("The ablation runs in one process: start it without torchrun.")
    folder = work / arm.name / f"seed-{recipe.seed}"
    open_work(folder, run_facts(arm.split, recipe))
    sets = [one for condition in arm.conditions.values() for one in condition.values()]
    test = fingerprint([(manifest_hash(one.photos), one.names) for one in sets])[:16]
    results_file = folder / recipe.variant / f"results.{test}.json"
    with FileLock(folder / f"{recipe.variant}.lock"):
        if results_file.exists():
            return json.loads(results_file.read_text())
        mllm, data = train_variant(arm.split, recipe, folder)
        results = _measured(arm, recipe, work, mllm, data)
        write_atomically(results_file, json.dumps(results).encode())
        del mllm
        gc.collect()
    return results


def _measured(arm: Arm, recipe: Recipe, work: Path, mllm: VisionLanguageModel, data: TrainingSet) -> list[dict]:
    """Measure a trained model under every condition of the arm; save a checkpoint if the arm calibrates it."""
    name = f"{recipe.variant}-{recipe.seed}"
    if arm.calibrated:
        labels, calibration = finish(name, mllm, data, arm.split.held_out, recipe)
        checkpoint = work / "checkpoints" / name
        save_checkpoint(checkpoint, mllm, labels, calibration, training_record(name, arm.split, recipe))
        write_card(checkpoint)
    else:
        labels, calibration = label_embeddings(mllm, data, recipe), Calibration()
    merge_adapter(mllm)  # half as long to evaluate
    # Each score is measured alone, and so the likelihood is that of every name.
    recogniser = Recogniser(name, mllm, labels, replace(calibration, candidates=MAX_LABELS))
    results = []
    for condition, sets in arm.conditions.items():
        measured = {
            data_set: measure_set(recogniser, data_set, one.photos, described_space(recogniser, one.names, data))
            for data_set, one in sets.items()
        }
        results.append(
            {
                "arm": arm.name,
                "condition": condition,
                "variant": recipe.variant,
                "seed": recipe.seed,
                "budget": budget(recipe, len(data.records)),
                "gap": sum(one.gap for one in measured.values()) / len(measured),
                "names": {data_set: len(one.names) for data_set, one in sets.items()},
                "photos": {data_set: [short_hash(photo) for photo in one.photos] for data_set, one in sets.items()},
                "right": _right(measured, arm.calibrated),
            }
        )
    return results


def described_space(recogniser: Recogniser, names: list[str], data: TrainingSet) -> LabelSpace:
    """Return the label space of the names, where those that training has not seen are described, too."""
    space = recogniser.label_space(names)
    seen = {category.name for category in data.categories}
    new = [row for row, category in enumerate(space.categories) if category not in seen]
    if not new:
        return space
    descriptions = space.descriptions.clone()
    descriptions[new] = description_embeddings(recogniser.mllm, [space.categories[row] for row in new])
    return replace(space, descriptions=descriptions)


def _right(measured: dict[str, MeasuredSet], calibrated: bool) -> dict[str, dict[str, str]]:
    """Return measure -> data set -> a character per photo, "1" where it is named rightly."""
    right: dict[str, dict[str, str]] = {}
    for data_set, one in measured.items():
        ways = {"open": [o.open for o in one.outcomes], "letter": [o.closed.letter for o in one.outcomes]}
        ways |= {score: [o.alone[SCORES.index(score)] for o in one.outcomes] for score in ALONE}
        if calibrated:
            ways["ranking"] = [o.rank == 0 for o in one.outcomes]
        for way, answers in ways.items():
            right.setdefault(way, {})[data_set] = "".join("1" if answer else "0" for answer in answers)
    return right


def budget(recipe: Recipe, photos: int) -> dict[str, int]:
    """Return how many photos and texts a run on `photos` training photos goes through, by stage."""
    described = recipe.variant == "full"
    counts = {"photos": photos}
    for name in recipe.stages():
        stage = recipe.stage(name, photos)
        counts[name] = stage.steps * stage.photos
        if name == "align":
            counts["align_descriptions"] = described * stage.steps * evenly(stage.photos, recipe.described_share)
        if name == "instruct":
            at_once = stage.photos_at_once or stage.photos
            aligned = max(1, round(recipe.aligned_share * at_once)) * (stage.photos // at_once)
            counts["open"] = counts[name]
            counts["closed"] = stage.steps * evenly(stage.photos, recipe.closed_share)
            counts["instruct_descriptions"] = described * stage.steps * evenly(stage.photos, recipe.rehearsed_share)
            kept = -(-stage.steps // recipe.aligned_every)  # the first step is one of them
            counts["instruct_aligned"] = recipe.keeps_alignment * kept * aligned
    return counts
