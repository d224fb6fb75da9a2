"""A person with a browser and a ZIP of photos."""

import json
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import expect

from demo.components.models import example_photos

HOSTILE = "<img src=x onerror=window.hit=1>${window.hit=1}{{window.hit}}"


@pytest.fixture
def photos(tmp_path, encode):
    """Twelve parts of two photos, one of them with a hostile label."""
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in example_photos():
            picture = Image.open(path).convert("RGB")
            label = "Abyssinian" if "chelsea" in path else "sword lily"
            for i in range(6):
                part = picture.crop((i * 10, i * 10, picture.width - 20, picture.height - 20)).resize((224, 224))
                name = HOSTILE.replace("/", "") if i == 5 else label
                archive.writestr(f"{name}/{label} {i}.jpg", encode(part, "JPEG"))
    return tmp_path / "photos.zip"


def test_a_zip_of_twelve_photos(tab, photos, tmp_path):
    tab.get_by_role("tab", name="Case study").click()
    tab.locator("#study-photos input[type=file]").set_input_files(photos)
    expect(tab.locator("#study-photos")).to_contain_text("photos", timeout=30_000)
    tab.wait_for_function("document.querySelector('#study-photos').innerText.includes('.zip')")
    tab.get_by_role("button", name="Compare the models").click()
    expect(tab.locator("#study-status")).to_contain_text("Done: 12 of 12 photos.", timeout=300_000)
    expect(tab.locator("#study-table tr")).to_have_count(13)
    expect(tab.locator("#study-table img")).to_have_count(12)
    assert tab.evaluate("[...document.querySelectorAll('#study-table img')].every(i => i.naturalWidth > 0)")
    expect(tab.locator("#study-accuracy")).to_contain_text("cat")
    expect(tab.locator("#study-table")).to_contain_text(HOSTILE)
    assert tab.evaluate("window.hit") is None
    tab.screenshot(path=tmp_path / "page.png", full_page=True)

    with tab.expect_download() as download:
        tab.locator("#study-files a[download]").filter(has_text="json").or_(
            tab.locator("#study-files a[download$='.json']")
        ).first.click()
    rows = json.loads(download.value.path().read_text())["photos"]
    differ = sum(len({verdict["species"] for verdict in row["verdicts"].values()}) > 1 for row in rows)
    tab.locator("#study-filter").get_by_text("differ", exact=True).click()
    expect(tab.locator("#study-table tr")).to_have_count(differ + 1 if differ else 0)


def test_stop_keeps_what_is_done(tab, photos):
    tab.get_by_role("tab", name="Case study").click()
    tab.locator("#study-photos input[type=file]").set_input_files(photos)
    tab.wait_for_function("document.querySelector('#study-photos').innerText.includes('.zip')")
    tab.get_by_role("button", name="Compare the models").click()
    expect(tab.locator("#study-table img").first).to_be_visible(timeout=120_000)
    tab.locator("#study-stop").click()
    expect(tab.locator("#study-status")).to_contain_text("Stopped:", timeout=30_000)
    expect(tab.locator("#study-table img").first).to_be_visible()
    expect(tab.locator("#study-files")).to_be_visible()
