import csv
import io

import pytest
from measured_results import result

from core.evaluation.foci_results import Counted
from core.evaluation.leaderboard import SETS, as_csv, as_latex, as_markdown, as_text, leaderboard


def test_measured_lines_stand_beneath_the_published_one_of_their_model():
    lines = leaderboard([result(), result(model="my-model")])
    names = [(line.model, line.source, line.column) for line in lines]
    at = names.index(("Idefics2", "published, arXiv 2501.15140", "generated letter"))
    columns = ["generated letter", "generated letter, FOCI's rule", "letter by log-probability", "ranking"]
    assert names[at + 1 : at + 5] == [("idefics2-8b", "measured here", column) for column in columns]
    assert names[-4:] == [("my-model", "measured here", column) for column in columns]


def test_published_numbers_are_those_of_the_table():
    by_model = {line.model: line for line in leaderboard([])}
    assert len(by_model) == 14
    assert by_model["Finedefics"].cells["mean"].accuracy == 76.84
    for line in by_model.values():
        if "mean" in line.cells:
            numbers = [line.cells[name].accuracy for name in SETS]
            assert line.cells["mean"].accuracy == pytest.approx(sum(numbers) / 6, abs=0.011)


def test_a_cell_with_fewer_photos_than_the_official_test_set_says_so():
    text = as_text(leaderboard([result(n=592, seen=7)]))
    assert "50.00 ± 2.05 (592 of 8580) [1]" in text
    assert "[1] idefics2-8b, dog-120: 592 of the 8580 questions about the official test set (7 about photos of" in text
    assert "seed 0, 2026-01-02, replies of at most 10 tokens, 3 of which choose no option (wrong): python -m" in text
    assert "(8580 of" not in as_text(leaderboard([result()]))


def test_a_mean_needs_all_six_sets_of_one_seed_and_the_same_weights():
    five = [result(name, 100, 200) for name in SETS[:5]]
    *_, line = leaderboard([*five, result(SETS[5], 100, 200, seed=1), result(SETS[5], 100, 200, weights="v2")])
    assert all("mean" not in line.cells for line in leaderboard(five) if line.source == "measured here")
    assert "mean" not in line.cells
    lines = leaderboard([*five, result(SETS[5], 100, 200)])
    mean = next(line for line in lines if line.source == "measured here").cells["mean"]
    assert (mean.accuracy, mean.n, mean.official) == (50, 600, 1200)
    assert mean.standard_error == pytest.approx(5 / 6**0.5)


def test_the_csv_has_everything_of_every_number():
    rows = list(csv.DictReader(io.StringIO(as_csv(leaderboard([result(n=592)])))))
    row = next(row for row in rows if row["source"] == "measured here")
    assert (row["accuracy"], row["standard_error"], row["n"], row["official"]) == ("50.00", "2.05", "592", "8580")
    assert (row["seed"], row["date"], row["failures"], row["reply_tokens"]) == ("0", "2026-01-02", "3", "10")
    assert row["command"] == "python -m train evaluate --x a_b"
    assert rows[0]["source"] == "published, arXiv 2501.15140"


def test_controls_are_told_with_their_run():
    counted = {
        "grey": Counted(n=16, correct={"generated_letter": 4, "letter_logprob": 8}),
        "other": Counted(n=9, correct={"generated_letter": 3}),
    }
    lines = leaderboard([result(controls=counted)])
    assert as_text(lines).endswith(
        ": python -m train evaluate --x a_b; generated letter with a grey photo 25.00 ± 10.83 (16), with another "
        "category's photo 33.33 ± 15.71 (9); letter by log-probability with a grey photo 50.00 ± 12.50 (16)"
    )
    rows = [row for row in csv.DictReader(io.StringIO(as_csv(lines))) if row["source"] == "measured here"]
    assert [(row["column"], row["grey"]) for row in rows][2:] == [
        ("letter by log-probability", "50.00 ± 12.50 (16)"),
        ("ranking", ""),
    ]


def test_markdown_and_latex_are_well_formed():
    lines = leaderboard([result(model="a_b|c")])
    table = [line for line in as_markdown(lines).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    latex = as_latex(lines)
    assert r"a\_b|c" in latex
    assert r"$\pm$" in latex
    assert r"a\textasciitilde{}b\textasciicircum{}\textbackslash{}c" in as_latex(leaderboard([result(model="a~b^\\c")]))
    body = latex[latex.index(r"\midrule") : latex.index(r"\bottomrule")].splitlines()[1:]
    assert {line.count(" & ") for line in body} == {10}
