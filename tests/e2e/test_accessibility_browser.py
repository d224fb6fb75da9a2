"""What axe-core finds on every tab, and a person with a keyboard alone."""

from pathlib import Path

import pytest
import yaml
from browser_steps import finished, upload, violations
from playwright.sync_api import expect

GRADIO = yaml.safe_load(Path(__file__).with_name("gradio_violations.yaml").read_text(encoding="utf-8"))
TABS = ["Identify", "Compare", "Case study", "Alignment", "Diagnose", "Leaderboard", "History", "Models"]
both_schemes = pytest.mark.parametrize("tab", [(1280, "light"), (1280, "dark")], indirect=True, ids=["light", "dark"])


@both_schemes
def test_every_tab(tab):
    expect(tab.locator("#photo")).to_be_visible(timeout=60_000)
    assert [name.strip() for name in tab.get_by_role("tab").all_inner_texts()] == TABS
    for name in TABS:
        tab.get_by_role("tab", name=name, exact=True).click()
        tab.wait_for_timeout(1_500)  # until it has faded in: before, nothing has its contrast
        found = violations(tab)
        assert sorted(found) == GRADIO.get(name, []), (name, found)


@both_schemes
def test_a_card_with_all_that_is_folded_away(tab):
    upload(tab)
    finished(tab)
    for title in ("Settings", "Where in the photo?", "Other names", "Attributes compared"):
        tab.get_by_text(title, exact=True).click()
    tab.wait_for_timeout(1_000)
    assert violations(tab) == {}
    tab.emulate_media(reduced_motion="reduce")
    longest = (
        "Math.max(...[...document.querySelectorAll('*')].map(e => parseFloat(getComputedStyle(e).animationDuration)))"
    )
    assert tab.evaluate(longest) < 0.001


def test_the_keyboard_alone(tab, tmp_path):
    expect(tab.locator("#examples button").first).to_have_attribute("aria-label", "Example 1", timeout=60_000)
    reached(tab, "Example 1")
    tab.keyboard.press("Enter")
    finished(tab)
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.locator("#identify").focus()
    order = ["Stop", "Several photos", "Other names", "Attributes compared", "Save to History", "Copy text"]
    places = [reached(tab, name) for name in order]
    assert all(places)
    tab.locator("#card summary").first.focus()
    tab.keyboard.press("Enter")
    expect(tab.locator("#card meter").first).to_be_visible()
    tab.locator("#others input").first.focus()
    tab.keyboard.press("Space")
    expect(tab.locator("#card")).to_contain_text("Your correction.", timeout=30_000)
    tab.screenshot(path=tmp_path / "page.png", full_page=True)


def reached(tab, name):
    """How many times Tab is pressed until an element with this name has the focus."""
    label = "(e => e.getAttribute('aria-label') ?? e.innerText)(document.activeElement)"
    for presses in range(1, 60):
        tab.keyboard.press("Tab")
        if (tab.evaluate(label) or "").strip() == name:
            return presses
    raise AssertionError(f"Tab does not reach {name!r}.")
