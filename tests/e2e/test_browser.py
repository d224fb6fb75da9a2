"""A person with a browser: upload a photo, read the species."""

import pytest
from PIL import Image
from playwright.sync_api import expect

from core.taxonomy.categories import super_categories
from demo.components.models import example_photos


def upload(tab):
    cat = next(path for path in example_photos() if "chelsea" in path)
    tab.locator("#photo input[type=file]").set_input_files(cat)
    expect(tab.locator("#photo img")).to_be_visible(timeout=30_000)


@pytest.mark.parametrize(
    "tab", [(1280, "light"), (1280, "dark"), (390, "light")], indirect=True, ids=["light", "dark", "phone"]
)
def test_upload_identify_read(tab, tmp_path, request):
    upload(tab)
    tab.get_by_role("button", name="Identify").click()
    expect(tab.locator("#status")).to_contain_text("attributes", timeout=120_000)
    expect(tab.locator("#status")).to_contain_text("Looks like a cat.")
    expect(tab.locator("#species")).to_contain_text("%")
    expect(tab.locator("#download")).to_be_enabled(timeout=60_000)
    assert tab.locator("#answer textarea").input_value()
    assert tab.locator("#description textarea").input_value()
    for attribute in super_categories()["cat"].attributes:
        expect(tab.locator("#attributes")).to_contain_text(attribute)
        expect(tab.locator("#why")).to_contain_text(attribute)
    expect(tab.locator("#why")).to_contain_text("Read off this photo")
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
    tab.screenshot(path=tmp_path / "page.png", full_page=True)


def test_where_in_the_photo(tab, tmp_path):
    upload(tab)
    tab.get_by_role("button", name="Identify").click()
    expect(tab.locator("#download")).to_be_enabled(timeout=120_000)
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
    expect(tab.locator("#photo img")).to_be_visible(timeout=30_000)
    tab.get_by_role("button", name="Identify").click()
    expect(tab.locator("#status")).to_contain_text("I don't know this one", timeout=120_000)
    expect(tab.locator("#species")).to_contain_text("%")
    tab.screenshot(path=tmp_path / "page.png", full_page=True)


def test_markup_is_shown_as_text(tab):
    upload(tab)
    tab.get_by_text("Candidate names, model").click()
    typed = "<img src=x onerror=window.hit=1>"
    tab.get_by_label("Candidate names (optional").fill(f"{typed}\n<b>tabby</b>")
    tab.get_by_role("button", name="Identify").click()
    expect(tab.locator("#species")).to_contain_text(typed, timeout=120_000)
    expect(tab.locator("#species")).to_contain_text("<b>tabby</b>")
    expect(tab.locator("#download")).to_be_enabled(timeout=60_000)
    assert tab.evaluate("window.hit") is None


def test_without_a_photo_the_page_says_so_and_lives_on(tab):
    tab.get_by_role("button", name="Identify").click()
    expect(tab.get_by_text("There is no photo: choose one first.")).to_be_visible(timeout=30_000)
    upload(tab)
    tab.get_by_role("button", name="Identify").click()
    expect(tab.locator("#species")).to_contain_text("%", timeout=120_000)
    expect(tab.locator("#download")).to_be_enabled(timeout=60_000)
