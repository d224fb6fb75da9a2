"""The model card of a checkpoint: what it is, how it was made, what it reaches."""

from pathlib import Path

from core.models.calibration import Calibration
from core.models.checkpoint import MERGED, read_manifest
from core.recognition.recogniser import SCORES
from train.data.records import Record, short_hash

COLUMNS = {  # of a results table, by the key in `evaluate`'s results
    "n": "photos",
    "top1": "top-1",
    "top5": "top-5",
    "closed4": "four options",
    "closed4_letter_alone": "letter alone",
    "open": "free answer",
    "top1_auto": "top-1 of all",
    "refused": "refused",
    "ece": "calibration error",
    "ece_auto": "of all",
}


def seen_photos(folder: Path, records: list[Record]) -> list[Record]:
    """The photos that the checkpoint in `folder` was trained or calibrated with."""
    seen = set(read_manifest(folder).data.seen)
    return [record for record in records if short_hash(record) in seen]


def results_table(results: dict) -> str:
    """Markdown table of `evaluate`'s results: a row per data set and their mean, shares in per cent."""
    columns = [column for column in COLUMNS if column in results["mean"]]
    rows = ["| data set | " + " | ".join(COLUMNS[c] for c in columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, row in {**results["sets"], "**mean**": results["mean"]}.items():
        cells = [
            f"{row[c]:.0f}" if c == "n" else f"{row[c]:.3f}" if c.startswith("ece") else f"{100 * row[c]:.1f}"
            for c in columns
        ]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def scores_table(results: dict, calibration: Calibration) -> str:
    """Markdown table of the ranking's scores: fitted weight, and mean top-1 in per cent of each alone."""
    rows = ["| score | weight | top-1 alone |", "|---|---:|---:|"]
    for score in SCORES:
        alone = results["mean"][f"top1_{score}_alone"]
        rows.append(f"| {score} | {getattr(calibration, f'{score}_weight'):.2f} | {100 * alone:.1f} |")
    return "\n".join(rows)


def write_card(folder: Path, results: dict | None = None) -> None:
    """Write a checkpoint's `README.md`, from its `checkpoint.json` and, if it was measured, `evaluate`'s results."""
    manifest = read_manifest(folder)
    training, data = manifest.training, manifest.data
    stages = "\n".join(f"- {stage}: {_stage_line(training[stage])}" for stage in manifest.stages)
    command = f"python -m train evaluate --model {manifest.name} --data folder"
    if results is None:
        measured = f"Not measured yet: `{command} --csv test.csv --card`."
    else:
        measured = f"""`{command} --csv {results["csv"]}` (seed {results["seed"]}),
photos that were used neither for training nor for calibration:

{results_table(results)}

Labels of one data set are ranked at a time; in columns "of all", everything the model knows. "Four options" are the
truth and its three closest look-alikes, chosen among by the ranking; "letter alone" is what the model answers when it
is asked for A, B, C or D.

What each score of the ranking is worth (mean over the data sets), and the weight that calibration gave it:

{scores_table(results, manifest.calibration)}"""
    whole = manifest.base == MERGED
    what = "A merged model, trained from" if whole else "Adapter and connector on top of"
    (folder / "README.md").write_text(f"""---
license: other
license_name: research-data
library_name: transformers
---

# {manifest.name}

{what} the base `{training["base"]}`{"" if whole else f" ({manifest.base_id})"}.
It names {len(manifest.categories)} categories and writes their field marks.
`checkpoint.json` has every number of the recipe and the fitted calibration.

## Training

Variant `{training["variant"]}`, seed {training["seed"]}. Data: `{data.name}` ({", ".join(data.sets)}):
{data.photos} photos, {data.calibration_photos} more for calibration, manifest `{data.hash}`. Stages:

{stages}

## Results

{measured}

## Limits and licence

It knows its categories and nothing else, and its attributes are what it learned for a kind of object, not measurements
of the photo. The photos it was trained on stay under their owners' copyright, and photo collections of this kind are
mostly for non-commercial research: use these weights for research. The base's licence holds for what is the base's.
""")


def _stage_line(stage: dict) -> str:
    length = f"{stage['steps']} steps" if stage["steps"] else f"{stage['epochs']} epochs"
    return f"{length}, {stage['photos']} photos per step"
