"""A person with a browser: give a photo, read its card."""

import pytest
from browser_steps import finished, upload
from PIL import Image
from playwright.sync_api import expect

from core.taxonomy.categories import super_categories


@pytest.mark.parametrize(
    "tab",
    [(1280, "light"), (1280, "dark"), (820, "light"), (390, "light"), (390, "dark")],
    indirect=True,
    ids=["light", "dark", "tablet", "phone", "dark phone"],
)
def test_upload_and_read_the_card(tab, tmp_path):
    expect(tab.locator("#photo")).to_be_visible(timeout=60_000)
    assert not tab.locator("#result").is_visible()
    upload(tab)
    finished(tab)
    card = tab.locator("#card")
    expect(card.locator("h2")).to_have_text("Bengal")
    expect(card.locator(".certainty")).to_contain_text("cat")
    expect(card).to_contain_text("What agrees")
    card.get_by_text("Attributes compared").click()
    card.get_by_text("Other names").click()
    for attribute in super_categories()["cat"].attributes:
        expect(card.locator("dl")).to_contain_text(attribute)
        expect(card.locator(".why")).to_contain_text(attribute)
    expect(card).to_contain_text("Read off this photo")
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
    tops = [tab.locator(part).bounding_box()["y"] for part in ("#photo", "#identify", "#card", "#examples")]
    if tab.viewport_size["width"] < 900:
        assert tops == sorted(tops)
    tab.screenshot(path=tmp_path / "page.png", full_page=True)


def test_where_in_the_photo(tab, tmp_path):
    upload(tab)
    finished(tab)
    tab.get_by_text("Where in the photo?").click()
    tab.locator("#show-where").click()
    expect(tab.locator("#where-status")).to_contain_text("6 of 6 rows", timeout=120_000)
    picture = tab.locator("#where-map img")
    before = picture.get_attribute("src")
    tab.locator("#opacity input[type=range]").focus()
    tab.keyboard.press("Home")
    expect(picture).not_to_have_attribute("src", before, timeout=30_000)
    tab.screenshot(path=tmp_path / "page.png", full_page=True)


def test_a_picture_of_nothing_is_unknown(tab, tmp_path):
    Image.new("RGB", (300, 300), "grey").save(tmp_path / "grey.png")
    tab.locator("#photo input[type=file]").set_input_files(tmp_path / "grey.png")
    expect(tab.locator("#card h2")).to_have_text("Unknown", timeout=120_000)
    expect(tab.locator("#card")).to_contain_text("I don't know this one")
    finished(tab)
    expect(tab.locator("#where")).not_to_be_visible()
    tab.screenshot(path=tmp_path / "page.png", full_page=True)


def test_markup_is_shown_as_text_and_the_setting_waits_for_the_button(tab):
    tab.get_by_text("Settings", exact=True).click()
    tab.get_by_label("Identify a photo as soon as it is there").uncheck()
    typed = "<img src=x onerror=window.hit=1>"
    tab.get_by_label("Choose only from these names").fill(f"{typed}\n<b>tabby</b>")
    upload(tab)
    tab.wait_for_timeout(2_000)
    assert not tab.locator("#card").is_visible()
    tab.get_by_role("button", name="Identify", exact=True).click()
    finished(tab)
    tab.get_by_text("Other names").click()
    expect(tab.locator("#card ol")).to_contain_text(typed)
    expect(tab.locator("#card ol")).to_contain_text("<b>tabby</b>")
    assert tab.evaluate("window.hit") is None


def test_without_a_photo_the_page_says_so_and_lives_on(tab):
    tab.get_by_role("button", name="Identify", exact=True).click()
    expect(tab.get_by_text("There is no photo: choose one first.")).to_be_visible(timeout=30_000)
    upload(tab)
    finished(tab)
