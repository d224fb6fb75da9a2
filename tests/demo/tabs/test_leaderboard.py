"""The Leaderboard tab through the page's own events."""

from pathlib import Path

import gradio as gr
import pytest
from gradio_client.exceptions import AppError
from measured_results import answer, save_run
from served_tab import ServedTab, event_of, text_of

from core.evaluation.foci_results import GENERATED, RANKING, read_results
from core.evaluation.leaderboard import FORMATS, MEAN, leaderboard
from demo.tabs.leaderboard import EXPORTS, MEASURE, LeaderboardTab

HOSTILE = "<img src=x onerror=hit()>"
FIRST, SECOND = "_img_src_x_onerror_hit_/pet-37-seed0.json", "two/pet-37-seed0.json"


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def served(results):
    """The tab alone; `opener` is the name of the tab, which a visitor clicks."""

    def build(page):
        with gr.Tab("Leaderboard") as opener:
            tab = LeaderboardTab(results, None, opener)
        tab.opener = opener
        return tab

    served = ServedTab(build, [])
    yield served
    served.page.close()


def choices(tab, column=GENERATED, source="published and measured", models=(), sets=(), data_set=MEAN):
    values = {tab.column: column, tab.source: source, tab.models: list(models), tab.sets: list(sets)}
    return {**values, tab.data_set: data_set}


def opened(served):
    return served.result(served.tab.opener, choices(served.tab), "select")


def test_without_results_the_published_table_is_shown_and_the_command_told(served):
    done, tab = opened(served), served.tab
    assert text_of(done[tab.status]) == MEASURE
    table = text_of(done[tab.table])
    assert table["headers"][3:5] == ["dog-120", "bird-200"]
    assert len(table["data"]) == 13
    assert not any(cell for row in done[tab.runs]["data"] for cell in row)
    assert done[tab.first]["choices"] == []


def test_measured_results_are_shown_filtered_and_exported(served, results):
    save_run(results, HOSTILE, [answer(), answer("q2", "B")])
    done, tab = opened(served), served.tab
    assert not text_of(done[tab.status])
    assert done[tab.data_set]["value"] == "pet-37"  # what was measured, not the mean that was not
    assert text_of(done[tab.table])["data"][-1][:3] == [HOSTILE, "", "measured here, seed 0"]
    lines = leaderboard(read_results(results))
    for name, button in tab.files.items():
        path = Path(text_of(done[button]))
        assert path.name == EXPORTS[name]
        assert path.read_text() == f"{FORMATS[name](lines)}\n"

    shown = served.result(tab.column, choices(tab, RANKING, "measured here", [HOSTILE], ["pet-37"], "pet-37"), "input")
    assert text_of(shown[tab.table])["headers"][3:] == ["pet-37"]
    assert [row[3] for row in text_of(shown[tab.table])["data"]] == [100]
    texts = text_of(shown[tab.table])["metadata"]["display_value"]
    assert [row[3] for row in texts] == ["100.00 ± 0.00 (2 of 3669)"]
    assert shown[tab.table]["label"] == "Option chosen by: ranking"
    assert "These numbers do not compare with generated letters" in text_of(shown[tab.chosen_by])
    assert "<img" not in shown[tab.bars]["plot"]


def test_damaged_results_are_one_sentence_beside_the_published_table(served, results):
    results.mkdir()
    (results / "<b>.json").write_text("{}")
    done, tab = opened(served), served.tab
    assert r"&lt;b&gt;\.json holds no results" in text_of(done[tab.status])
    assert len(text_of(done[tab.table])["data"]) == 13


def test_two_models_are_compared_and_a_file_that_is_none_is_refused(served, results):
    save_run(results, HOSTILE, [answer(), answer("q2", "B", reply=HOSTILE)])
    save_run(results, "two", [answer(letter="B"), answer("q2", "B")])
    opened(served)
    tab = served.tab
    offered = served.result(tab.first, {tab.first: FIRST}, "input")
    assert [name for _, name in offered[tab.second]["choices"]] == [SECOND]
    pair = {tab.column: GENERATED, tab.first: FIRST, tab.second: SECOND, tab.filter: "all"}
    compared = served.result(tab.second, pair, "input")
    assert r"they differ on 1: &lt;img src=x onerror=hit\(\)&gt; alone is right on 1" in text_of(compared[tab.summary])
    assert [row[0] for row in compared[tab.questions]["data"]] == ["q1"]
    none = served.result(tab.filter, {**pair, tab.filter: "both are wrong"}, "input")
    assert "q1" not in str(none[tab.questions]["data"])
    with pytest.raises(AppError):
        served.result(tab.second, {**pair, tab.second: "../secret.json"}, "input")


def test_a_click_shows_the_question(served, results, monkeypatch):
    save_run(results, HOSTILE, [answer(reply=HOSTILE)])
    save_run(results, "two", [answer(letter="B")])
    tab = served.tab
    pair = {tab.column: GENERATED, tab.first: FIRST, tab.second: SECOND, tab.filter: "all"}
    assert event_of(served.page, tab.questions, "select").fn == tab.show_question
    card = tab.show_question(pair, gr.SelectData(None, {"index": [0, 0], "value": "q1", "row_value": ["q1"]}))
    assert card.count("&lt;img src=x onerror=hit()&gt;") == 2  # the model's name, and its reply
    assert "start the page with --photos" in card
    with pytest.raises(gr.Error, match="no longer there"):
        tab.show_question(pair, gr.SelectData(None, {"index": [0, 0], "value": "q9", "row_value": ["q9"]}))


def test_the_page_has_the_tab():
    from demo.page import build

    tabs = [block.label for block in build().blocks.values() if isinstance(block, gr.Tab)]
    assert tabs[-3:] == ["Leaderboard", "History", "Models"]
