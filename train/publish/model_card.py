"""Write the model card of a checkpoint, with its training and its results."""

import json
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from core.models.calibration import SCORES, Calibration
from core.models.checkpoint import MERGED, CheckpointManifest, base_name, read_manifest
from core.models.embedded import EMBEDDED
from core.storage.files import write_atomically
from train.data.records import Record, short_hash
from train.evaluation.conclusions import conclusions_text

TEMPLATE = Path(__file__).with_name("model_card.md")
RESULTS = "results.json"  # in a checkpoint's folder: what `evaluate` measured
EMBEDDED_BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"  # its vision encoder, EfficientNet-Lite2, is no model of the hub
OWN_LIBRARY = "finedefics-app"  # the classes of this repository open the embedded models
REPORTED = ("top1", "top5", "options4_ranking", "open")  # to the hub
RESULT_COLUMNS = {  # of a results table, by the key in `evaluate`'s results
    "n": "photos",
    "top1": "top-1",
    "top5": "top-5",
    "options4_ranking": "four options, ranking",
    "options4_letter_logprob": "four options, letter by log-probability",
    "open": "free answer",
    "top1_auto": "top-1 of all",
    "refused": "refused",
    "ece": "calibration error",
    "ece_auto": "of all",
}


def seen_photos(folder: Path, records: list[Record]) -> list[Record]:
    """Return the photos that the checkpoint in `folder` was trained or calibrated with."""
    seen = set(read_manifest(folder).data.seen)
    return [record for record in records if short_hash(record) in seen]


def results_table(results: dict) -> str:
    """Return a Markdown table of `evaluate`'s results: a row per data set and their mean, shares in per cent."""
    columns = [column for column in RESULT_COLUMNS if column in results["mean"]]
    rows = ["| data set | " + " | ".join(RESULT_COLUMNS[c] for c in columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, row in {**results["sets"], "**mean**": results["mean"]}.items():
        cells = [
            f"{row[c]:.0f}" if c == "n" else f"{row[c]:.3f}" if c.startswith("ece") else f"{100 * row[c]:.1f}"
            for c in columns
        ]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def scores_table(results: dict, calibration: Calibration) -> str:
    """Return a Markdown table of the ranking's scores: fitted weight, and mean top-1 in per cent of each alone."""
    rows = ["| score | weight | top-1 alone |", "|---|---:|---:|"]
    for score in SCORES:
        alone, weight = results["mean"].get(f"top1_{score}_alone", 0.0), getattr(calibration, f"{score}_weight")
        if alone or weight:
            rows.append(f"| {score} | {weight:.2f} | {100 * alone:.1f} |")
    return "\n".join(rows)


def write_card(folder: Path, results: dict | None = None) -> None:
    """Write a checkpoint's `README.md`, from its `checkpoint.json` and `evaluate`'s results.

    New `results` are saved in its `results.json`; without them, the saved ones are reported.
    """
    if results:
        write_atomically(folder / RESULTS, json.dumps(results, indent=1).encode())
    elif (folder / RESULTS).exists():
        results = json.loads((folder / RESULTS).read_text())
    manifest = read_manifest(folder)
    base = manifest.training["base"]
    card = ModelCard.from_template(
        _card_data(manifest, results),
        template_path=str(TEMPLATE),
        manifest=manifest,
        merged=manifest.base == MERGED,
        embedded=base == EMBEDDED,
        base=base,
        command=f"python -m train evaluate --model {manifest.name} --data folder",
        results=results,
        results_table=results_table(results) if results else "",
        scores_table=scores_table(results, manifest.calibration) if results else "",
        conclusions=conclusions_text(results["conclusions"]) if results and "conclusions" in results else "",
    )
    write_atomically(folder / "README.md", f"{str(card).rstrip()}\n".encode())


def _card_data(manifest: CheckpointManifest, results: dict | None) -> ModelCardData:
    """Return the metadata that the hub reads."""
    base, merged = manifest.training["base"], manifest.base == MERGED
    library = OWN_LIBRARY if base == EMBEDDED else "transformers" if merged else "peft"
    return ModelCardData(
        model_name=manifest.name,
        base_model=EMBEDDED_BASE if base == EMBEDDED else base_name(base),
        datasets=[manifest.data.name],
        eval_results=_eval_results(manifest, results) if results else None,
        language="en",
        library_name=library,
        license="other",
        license_name="research-data",
        license_link="README.md#limits-and-licence",
        pipeline_tag="image-text-to-text",
        tags=["fine-grained-recognition"],
    )


def _eval_results(manifest: CheckpointManifest, results: dict) -> list[EvalResult]:
    """Return the shares of photos that are named rightly, per data set."""
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=manifest.data.name,
            dataset_name=manifest.data.name,
            dataset_config=name,
            dataset_split=Path(results["csv"]).stem,
            metric_type="accuracy",
            metric_name=RESULT_COLUMNS[column],
            metric_value=row[column],
        )
        for name, row in {**results["sets"], "mean": results["mean"]}.items()
        for column in REPORTED
        if column in row
    ]
