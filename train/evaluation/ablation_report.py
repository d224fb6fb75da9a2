"""Write what an ablation has measured: means over seeds, paired tests between variants, and budgets."""

import statistics
from dataclasses import dataclass, fields, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

from core.storage.files import csv_text, write_atomically
from core.taxonomy.prompts import LETTERS
from train.evaluation.paired_tests import holm, mcnemar

MEASURES = {
    "open": "free answer",
    "letter": "letter, by log-probability",
    "likelihood": "likelihood of the name",
    "name": "name similarity",
    "description": "description similarity",
    "ranking": "ranking, calibrated",
}
BUDGET = {
    "photos": "training photos",
    "warmup": "warm-up: photos",
    "align": "stage I: photos",
    "align_descriptions": "stage I: descriptions to write",
    "open": "stage II: open questions",
    "closed": "stage II: closed questions",
    "instruct_descriptions": "stage II: descriptions to write",
    "instruct_aligned": "stage II: photos aligned",
}
MEANS_NOTE = (
    "Per cent of the test photos that are named rightly: the unweighted mean of the data sets, then the mean over seeds "
    "± half their range. Each measure is taken alone. Names are chosen from those of the photo's data set; the letter "
    "is that of one of four options, the three look-alikes among these names beside the true one. The rows *chance* "
    "say what a guess among these names is worth. A free answer chooses from no list."
)
BUDGETS_NOTE = (
    "What a run goes through in all its steps. The variants of one seed share their warm-up, and draw the same photos "
    "and questions in stage II (finetune-longer: further ones, too)."
)
TESTS_NOTE = (
    "McNemar's exact test on the test photos of all data sets together: how many only the first variant names rightly : "
    "how many only the second, and in brackets the two-sided p-value after Holm's adjustment for all tests of the arm "
    "(every measure, pair and seed in its table). Several arms are not adjusted for. The seeds are separate trainings "
    "whose models name the same photos."
)


@dataclass(frozen=True)
class PairedTest:
    """Two variants compared on the same photos, by one measure and with one seed."""

    arm: str
    condition: str
    measure: str
    first: str
    second: str
    seed: int
    photos: int
    first_only: int
    second_only: int
    p: float
    p_holm: float  # adjusted for all tests of the arm


def write_report(runs: list[dict], folder: Path) -> str:
    """Write `ablation.md`, `accuracy.csv` and `tests.csv`; return the Markdown. `runs` are the results of `ablate`."""
    tests = [test for group in _by(runs, "arm").values() for test in paired_tests(group)]
    text = markdown(runs, tests)
    accuracies = [
        (run["condition"], run["variant"], run["seed"], measure, data_set, len(right), right.count("1") / len(right))
        for run in runs
        for measure, sets in run["right"].items()
        for data_set, right in sets.items()
    ]
    columns = ("condition", "variant", "seed", "measure", "data_set", "photos", "accuracy")
    rows = [tuple(vars(test).values()) for test in tests]
    write_atomically(folder / "accuracy.csv", csv_text(columns, accuracies).encode())
    write_atomically(folder / "tests.csv", csv_text([field.name for field in fields(PairedTest)], rows).encode())
    write_atomically(folder / "ablation.md", f"{text}\n".encode())
    return text


def markdown(runs: list[dict], tests: list[PairedTest]) -> str:
    """Return the tables of means, budgets and paired tests, each with what its numbers are."""
    parts = ["# Ablation", MEANS_NOTE, means_table(runs), "## Budgets", BUDGETS_NOTE, budgets_table(runs)]
    if tests:
        parts += ["## Paired tests", TESTS_NOTE]
    for arm in dict.fromkeys(test.arm for test in tests):
        own = [test for test in tests if test.arm == arm]
        parts += [f"### {arm} ({len(own)} tests)", pairs_table(own)]
    return "\n\n".join(parts)


def means_table(runs: list[dict]) -> str:
    """Return a table with a row per condition and variant, and one per condition with what a guess is worth."""
    measures = [measure for measure in MEASURES if any(measure in run["right"] for run in runs)]
    rows = []
    for condition, group in _by(runs, "condition").items():
        for variant, own in _by(group, "variant").items():
            cells = [_spread([_accuracy(run, m) for run in own]) if m in own[0]["right"] else "-" for m in measures]
            gap = f"{statistics.mean(run['gap'] for run in own):.2f}"
            rows.append([condition, variant, str(len(own)), *cells, gap])
        guesses = [_chance(group[0], measure) if measure in group[0]["right"] else "-" for measure in measures]
        rows.append([condition, "*chance*", "", *guesses, ""])
    return _table(["arm", "variant", "seeds", *(MEASURES[measure] for measure in measures), "modality gap"], rows)


def _accuracy(run: dict, measure: str) -> float:
    """Return the unweighted mean over data sets of the share of photos that are named rightly."""
    return statistics.mean(right.count("1") / len(right) for right in run["right"][measure].values())


def _spread(values: list[float]) -> str:
    half = f" ± {50 * (max(values) - min(values)):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{half}"


def _chance(run: dict, measure: str) -> str:
    if measure == "open":
        return "-"
    counts = [min(names, len(LETTERS)) if measure == "letter" else names for names in run["names"].values()]
    return f"{100 * statistics.mean(1 / count for count in counts):.1f}"


def budgets_table(runs: list[dict]) -> str:
    """Return a table of how many photos and texts each variant goes through in each arm."""
    rows = []
    for arm, group in _by(runs, "arm").items():
        for variant, own in _by(group, "variant").items():
            counts = [[run["budget"].get(key, 0) for run in own] for key in BUDGET]
            cells = [f"{min(c)}" if min(c) == max(c) else f"{min(c)} to {max(c)}" for c in counts]
            rows.append([arm, variant, *cells])
    return _table(["arm", "variant", *BUDGET.values()], rows)


def paired_tests(runs: list[dict]) -> list[PairedTest]:
    """Return the tests between every two variants of one arm, by every measure, under every condition, per seed."""
    tests = []
    for condition, group in _by(runs, "condition").items():
        variants, seeds = _by(group, "variant"), _by(group, "seed")
        for measure, (first, second), seed in product(MEASURES, combinations(variants, 2), seeds):
            pair = [run for name in (first, second) for run in variants[name] if run["seed"] == seed]
            if len(pair) == 2 and measure in pair[0]["right"]:
                one, other = ("".join(run["right"][measure].values()) for run in pair)
                counts = mcnemar(one, other)
                arm = pair[0]["arm"]
                tests.append(PairedTest(arm, condition, measure, first, second, seed, len(one), *counts, p_holm=1.0))
    adjusted = holm([test.p for test in tests])
    return [replace(test, p_holm=p) for test, p in zip(tests, adjusted, strict=True)]


def pairs_table(tests: list[PairedTest]) -> str:
    """Return a table with a row per measure and pair of variants, and a column per seed."""
    seeds = sorted({test.seed for test in tests})
    rows: dict[tuple[str, str, str], dict[int, str]] = {}
    for test in tests:
        row = test.condition, MEASURES[test.measure], f"{test.first} : {test.second}"
        cell = f"{test.first_only} : {test.second_only} ({test.p_holm:.2g})"
        rows.setdefault(row, {})[test.seed] = cell
    return _table(
        ["arm", "measure", "variants", *(f"seed {seed}" for seed in seeds)],
        [[*row, *(cells.get(seed, "-") for seed in seeds)] for row, cells in rows.items()],
    )


def _by(runs: list[dict], key: str) -> dict[Any, list[dict]]:
    groups: dict[Any, list[dict]] = {}
    for run in runs:
        groups.setdefault(run[key], []).append(run)
    return groups


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
