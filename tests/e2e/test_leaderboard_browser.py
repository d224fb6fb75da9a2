"""A person with a browser in front of published and measured results, some of them written by somebody hostile."""

import csv

import pytest
from measured_results import answer, save_run
from PIL import Image
from playwright.sync_api import expect

from demo.history_store import History

HOSTILE = "<img src=x onerror=window.hit=1>"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page with the results of two models, and with the photo of one of the questions on which they differ."""
    from demo.page import build, launch

    folder = tmp_path_factory.mktemp("measured")
    (folder / "photos").mkdir()
    Image.new("RGB", (60, 40), "red").save(folder / "photos" / "q1.jpg")
    Image.new("RGB", (60, 40), "red").save(folder / "secret.jpg")
    inside, outside = str(folder / "photos" / "q1.jpg"), str(folder / "photos" / ".." / "secret.jpg")
    first = [answer("q1", photo=inside, reply=f"A {HOSTILE}"), answer("q2", "B", photo=outside), answer("q3")]
    second = [answer("q1", "B", photo=inside), answer("q2", photo=outside), answer("q3")]
    save_run(folder / "results", HOSTILE, first)
    save_run(folder / "results", "my-model", second)
    page = build(History(folder / "history.sqlite"), folder / "photos", folder / "results")
    _, url, _ = launch(page, "127.0.0.1", None, block=False)
    yield url
    page.close()


@pytest.fixture
def leaderboard(tab):
    if tab.viewport_size["width"] > 1000:
        tab.get_by_role("tab", name="Leaderboard").click()
    else:  # in a narrow window it is behind the three dots
        tab.locator(".overflow-menu button").first.click()
        tab.locator(".overflow-dropdown button", has_text="Leaderboard").click()
    expect(tab.locator("#leaderboard")).to_contain_text("Finedefics", timeout=60_000)
    return tab


def choose(tab, control, option):
    tab.locator(f"{control} input").click()
    tab.get_by_role("option", name=option).click()


def visible(tab, table, text):
    """The cell of a table with a text, not that of the hidden copy by which rows are measured."""
    return tab.locator(table).get_by_text(text, exact=True).locator("visible=true").first


def compare(tab):
    choose(tab, "#leaderboard-first", "my-model")
    expect(tab.locator("#leaderboard-first input")).to_have_value("my-model, pet-37, 3 questions, seed 0 (v1)")
    tab.wait_for_timeout(500)  # the second list is being filled
    choose(tab, "#leaderboard-second", HOSTILE)
    expect(tab.locator("#leaderboard-summary")).to_contain_text("they differ on 2", timeout=60_000)


def test_published_beside_measured_one_column_at_a_time_and_where_models_differ(leaderboard, tmp_path):
    table = leaderboard.locator("#leaderboard")
    expect(table).to_contain_text("66.67 ± 27.22 (3 of 3669)")
    expect(table).to_contain_text("92.18")
    expect(leaderboard.locator("#leaderboard-runs")).to_contain_text("python -m train evaluate --x a_b")
    expect(leaderboard.locator("#leaderboard-bars .main-svg").first).to_be_visible(timeout=60_000)
    expect(leaderboard.locator("#leaderboard-heat .main-svg").first).to_be_visible()
    with leaderboard.expect_download() as download:
        leaderboard.locator("#leaderboard-csv").click()
    rows = list(csv.DictReader(download.value.path().open()))
    assert {row["column"] for row in rows if row["model"] == "my-model"} >= {"generated letter", "ranking"}

    leaderboard.locator("#leaderboard-column").get_by_text("ranking", exact=True).click()
    expect(table).to_contain_text("Option chosen by: ranking", timeout=30_000)
    expect(table).not_to_contain_text("Finedefics")
    leaderboard.locator("#leaderboard-column").get_by_text("generated letter", exact=True).click()
    expect(table).to_contain_text("Finedefics", timeout=30_000)

    visible(leaderboard, "#leaderboard", "pet-37").click()
    visible(leaderboard, "#leaderboard", "⋮").click()
    leaderboard.get_by_role("menuitem", name="Sort descending").click()
    best, measured = (leaderboard.locator("#leaderboard").get_by_text(text) for text in ("92.18", "66.67 ± 27.22"))
    places = [one.locator("visible=true").first.bounding_box()["y"] for one in (best, measured)]
    assert places[0] < places[1] < places[0] + 300  # 92.18, 87.82, 81.28, 75.42, 66.67

    compare(leaderboard)
    card = leaderboard.locator("#leaderboard-question")
    visible(leaderboard, "#leaderboard-questions", "q1").click()
    expect(card.locator("img")).to_be_visible(timeout=30_000)
    assert card.locator("img").evaluate("image => image.naturalWidth") == 60
    expect(card).to_contain_text("Which of these pets is shown in the image?")
    expect(card).to_contain_text(f"A {HOSTILE}")
    visible(leaderboard, "#leaderboard-questions", "q2").click()
    expect(card).to_contain_text("The photo is not shown", timeout=30_000)
    expect(card.locator("img")).to_have_count(0)
    assert leaderboard.evaluate("window.hit") is None
    leaderboard.screenshot(path=tmp_path / "page.png", full_page=True)


@pytest.mark.parametrize("tab", [(390, "dark")], indirect=True)
def test_a_phone_has_all_of_it(leaderboard, tmp_path):
    compare(leaderboard)
    visible(leaderboard, "#leaderboard-questions", "q1").click()
    expect(leaderboard.locator("#leaderboard-question img")).to_be_visible(timeout=30_000)
    assert leaderboard.evaluate("document.documentElement.scrollWidth") == 390
    leaderboard.screenshot(path=tmp_path / "page.png", full_page=True)
