"""Train and evaluate the variants of the paper's figure alike, to measure what each loss of stage I contributes."""

import gc
import json
import logging
import statistics
from pathlib import Path

from filelock import FileLock

from core.errors import UserError
from core.models.checkpoint import merge_adapter, save_checkpoint
from core.recognition.recogniser import Recogniser
from core.storage.files import write_atomically
from train.data.records import Record, manifest_hash
from train.data.training_split import TrainingSplit
from train.evaluation.accuracy import evaluate
from train.loop.pipeline import finish, open_work, run_facts, train_variant, training_record
from train.objectives.stage_model import processes
from train.publish.model_card import write_card
from train.recipe import Recipe

log = logging.getLogger(__name__)

ABLATION_COLUMNS = {
    "top1": "top-1",
    "top1_likelihood_alone": "by likelihood",
    "top1_name_alone": "by name embedding",
    "top1_words_alone": "by words",
    "options4_ranking": "four options, ranking",
    "options4_letter_logprob": "four options, letter by log-probability",
    "open": "free answer",
    "gap": "distribution gap",
}


def ablate(split: TrainingSplit, test: list[Record], csv_name: str, recipe: Recipe, work: Path) -> dict:
    """Train, calibrate and measure one variant with one seed; taken from `work` where it is there already.

    Raises `UserError` if `work` holds runs on other data or by another recipe, or if there are several processes.
    """
    if processes().num_processes > 1:
        raise UserError("The ablation runs in one process: start it without torchrun.")
    folder = work / f"seed-{recipe.seed}"
    open_work(folder, run_facts(split, recipe))
    name = f"{recipe.variant}-{recipe.seed}"
    results_file = work / f"{name}.{manifest_hash(test)}.json"
    with FileLock(work / f"{name}.lock"):
        if results_file.exists():
            return json.loads(results_file.read_text())
        mllm, data = train_variant(split, recipe, folder)
        labels, calibration = finish(name, mllm, data, split.held_out, recipe)
        checkpoint = work / "checkpoints" / name
        save_checkpoint(checkpoint, mllm, labels, calibration, training_record(name, split, recipe))
        merge_adapter(mllm)  # half as long to evaluate
        measured = evaluate(Recogniser(name, mllm, labels, calibration), test, csv_name, among_all=False)
        write_card(checkpoint, measured)
        results = {"variant": recipe.variant, "seed": recipe.seed, **measured}
        del mllm
        gc.collect()
        write_atomically(results_file, json.dumps(results).encode())
    return results


def table(runs: list[dict]) -> str:
    """Return a Markdown table: per variant the mean over its seeds and half their range, in per cent but for the gap."""
    rows = [
        f"| variant | seeds | {' | '.join(ABLATION_COLUMNS.values())} |",
        "|---|---:|" + "---:|" * len(ABLATION_COLUMNS),
    ]
    for variant in dict.fromkeys(run["variant"] for run in runs):
        own = [run for run in runs if run["variant"] == variant]
        cells = [_cell([run["mean"].get(column) for run in own], column) for column in ABLATION_COLUMNS]
        rows.append(f"| {variant} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(measured: list[float | None], column: str) -> str:
    values = [value for value in measured if value is not None]
    if len(values) < len(measured):  # by an earlier version, under another name
        return "-"
    scale, digits = (1, 2) if column == "gap" else (100, 1)
    mean, spread = statistics.mean(values) * scale, (max(values) - min(values)) / 2 * scale
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if len(values) > 1 else "")
