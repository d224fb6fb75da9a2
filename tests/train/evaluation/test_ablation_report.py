import csv
import json

import pytest

from train.evaluation.ablation_report import budgets_table, means_table, paired_tests, pairs_table, write_report


def run(variant, seed, right, photos=20):
    return {
        "arm": "all",
        "condition": "all",
        "variant": variant,
        "seed": seed,
        "budget": {"photos": photos, "open": 64},
        "gap": 0.25,
        "names": {"dog": 2, "bird": 10},
        "right": right,
    }


def answers(dogs, birds):
    """Which of ten dogs and ten birds are named rightly: the first ones."""
    return {"dog": "1" * dogs + "0" * (10 - dogs), "bird": "1" * birds + "0" * (10 - birds)}


RUNS = [
    run("finetune", 0, {"open": answers(4, 6), "letter": answers(5, 5)}),
    run("finetune", 1, {"open": answers(6, 6), "letter": answers(5, 5)}),
    run("full", 0, {"open": answers(10, 10), "letter": answers(5, 5)}),
]


def test_means_are_over_data_sets_then_seeds_with_their_spread():
    rows = means_table(RUNS).splitlines()
    assert rows[0] == "| arm | variant | seeds | free answer | letter, by log-probability | modality gap |"
    assert rows[2] == "| all | finetune | 2 | 55.0 ± 5.0 | 50.0 ± 0.0 | 0.25 |"
    assert rows[3] == "| all | full | 1 | 100.0 | 50.0 | 0.25 |"
    assert rows[4] == "| all | *chance* |  | - | 37.5 |  |"  # one of two dogs, one of four options for birds


def test_only_runs_of_one_seed_are_paired():
    tests = paired_tests(RUNS)
    assert [(t.measure, t.first, t.second, t.seed, t.photos) for t in tests] == [
        ("open", "finetune", "full", 0, 20),
        ("letter", "finetune", "full", 0, 20),
    ]
    assert (tests[0].first_only, tests[0].second_only) == (0, 10)
    assert tests[0].p == pytest.approx(2 / 1024)
    assert [test.p_holm for test in tests] == pytest.approx([4 / 1024, 1])
    assert pairs_table(tests).splitlines()[2] == "| all | free answer | finetune : full | 0 : 10 (0.0039) |"


def test_budgets_that_differ_between_seeds_are_a_range():
    table = budgets_table([run("full", 0, {}), run("full", 1, {}, photos=24)])
    assert table.splitlines()[2].startswith("| all | full | 20 to 24 | 0 |")


def test_a_report_is_markdown_and_two_tables(tmp_path):
    text = write_report([json.loads(json.dumps(one)) for one in RUNS], tmp_path)
    assert (tmp_path / "ablation.md").read_text() == f"{text}\n"
    assert "### all (2 tests)" in text
    with (tmp_path / "accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2
    assert [rows[0][key] for key in ("measure", "data_set", "photos", "accuracy")] == ["open", "dog", "10", "0.4"]
    with (tmp_path / "tests.csv").open() as file:
        assert [row["second_only"] for row in csv.DictReader(file)] == ["10", "0"]


def test_one_variant_is_compared_with_none(tmp_path):
    assert "Paired tests" not in write_report(RUNS[:2], tmp_path)
