from measured_results import result

from core.evaluation.foci_results import Counted
from core.evaluation.leaderboard import SETS, leaderboard
from demo.leaderboard.charts import bar_chart, heat_map
from demo.leaderboard.table import HEAD, MEASURED_ALONE, PUBLISHED_ALONE, RUN_HEAD, Selection, run_rows, table

WRITTEN, RANKED = "generated letter", "ranking"
HOSTILE = "<img src=x onerror=hit()>"


def test_one_column_is_shown_and_no_other():
    lines = leaderboard([result(), result("pet-37", 53, 3669, HOSTILE)])
    for column in (WRITTEN, "generated letter, FOCI's rule", "letter by log-probability", RANKED):
        assert {line.column for line in Selection(column).of(lines)} == {column}
    assert len(Selection(WRITTEN).of(lines)) == 15
    assert [line.model for line in Selection(RANKED, PUBLISHED_ALONE).of(lines)] == [
        "SigLIP-SO400M (contrastive, 4-way)"
    ]
    assert [line.model for line in Selection(WRITTEN, MEASURED_ALONE).of(lines)] == ["idefics2-8b", HOSTILE]


def test_models_and_data_sets_are_filtered():
    lines = leaderboard([result(), result("mushrooms", 10, 10)])
    selection = Selection(WRITTEN, models=["Finedefics", "idefics2-8b"], data_sets=["mushrooms", "mean"])
    found = selection.of(lines)
    assert [(line.model, list(line.cells)) for line in found] == [
        ("idefics2-8b", ["mushrooms"]),
        ("Finedefics", ["mean"]),
    ]
    assert selection.columns(lines) == ["mushrooms", "mean"]
    assert Selection(WRITTEN).columns(lines) == [*SETS, "mushrooms", "mean"]


def test_numbers_are_sorted_by_and_texts_shown_that_say_of_how_many_questions():
    low = result("pet-37", 50, 3669, "low", correct={"generated_letter": 4})
    high = result("pet-37", 50, 50, "high", correct={"generated_letter": 50})
    lines = leaderboard([low, high])
    value = table(Selection(WRITTEN, MEASURED_ALONE).of(lines), ["pet-37", "mean"])
    assert value["headers"] == [*HEAD, "pet-37", "mean"]
    assert value["data"] == [
        ["low", "", "measured here, seed 0", 8, None],
        ["high", "", "measured here, seed 0", 100, None],
    ]
    shown = [row[3:] for row in value["metadata"]["display_value"]]
    assert shown == [["8.00 ± 3.84 (50 of 3669)", ""], ["100.00 ± 0.00", ""]]
    published = table(Selection(WRITTEN, models=["Finedefics"]).of(lines), ["pet-37"])
    assert published["metadata"]["display_value"] == [["Finedefics", "8B", "published, arXiv 2501.15140", "92.18"]]


def test_every_measured_number_has_its_run():
    (row,) = run_rows(Selection(WRITTEN).of(leaderboard([result(n=592, seen=7)])))
    run = dict(zip(RUN_HEAD, row, strict=True))
    assert (run["accuracy"], run["standard error"], run["questions"]) == ("50.00", "2.05", "592")
    assert (run["of all questions"], run["seen in training"], run["seed"]) == ("part of 8580", "7", "0")
    assert (run["date"], run["command"]) == ("2026-01-02", "python -m train evaluate --x a_b")
    assert (run["with a grey photo"], run["with another category's photo"]) == ("", "")
    (whole,) = run_rows(Selection(RANKED).of(leaderboard([result()])))
    assert dict(zip(RUN_HEAD, whole, strict=True))["of all questions"] == "all 8580"


def test_controls_stand_beside_the_letter_that_they_are_of():
    counted = {
        "grey": Counted(n=16, correct={"generated_letter": 4}),
        "other": Counted(n=9, correct={"letter_logprob": 3}),
    }
    lines = leaderboard([result(controls=counted)])
    for column, shown in (
        (WRITTEN, ("25.00 ± 10.83 (16)", "")),
        ("letter by log-probability", ("", "33.33 ± 15.71 (9)")),
        (RANKED, ("", "")),
    ):
        (row,) = run_rows(Selection(column, MEASURED_ALONE).of(lines))
        run = dict(zip(RUN_HEAD, row, strict=True))
        assert (run["with a grey photo"], run["with another category's photo"]) == shown


def test_charts_have_every_line_in_order_and_no_markup():
    lines = Selection(WRITTEN).of(leaderboard([result("pet-37", 40, 3669, HOSTILE)]))
    bars = bar_chart(lines, "pet-37", WRITTEN)
    labels = bars.layout.yaxis.ticktext
    assert len(labels) == 14
    assert labels[-1] == "Finedefics 8B"
    published, measured = bars.data
    assert len(published.x) == 13
    assert list(measured.x) == [50]
    assert labels[measured.y[0]] == "&lt;img src=x onerror=hit()&gt;, measured"
    assert "40 questions, seed 0" in measured.hovertext[0]
    heat = heat_map(lines, ["pet-37", "mean"], WRITTEN)
    assert heat.layout.yaxis.ticktext[-1] == "LLaVA 1.5 7B"
    assert list(heat.data[0].z[0]) == [50, None]
    for figure in (bars, heat):
        assert "<img" not in figure.to_json().replace("\\u003c", "<")
    assert bar_chart(lines, "mushrooms", WRITTEN) is None
    assert heat_map([], ["mean"], WRITTEN) is None
