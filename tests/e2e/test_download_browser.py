"""A person with a browser who downloads a model: licence, progress, Stop, on from there; the page stays usable."""

import re
import threading

import pytest
from hub_server import CHUNK
from playwright.sync_api import expect

from demo.history_store import History


@pytest.fixture
def page_with_downloads(local_hub, tmp_path):
    from demo.page import build, launch

    local_hub.files["model.safetensors"] += b"\0" * 2 * CHUNK
    page = build(History(tmp_path / "history.sqlite"), downloads=True)
    _, url, _ = launch(page, "127.0.0.1", None, block=False)
    yield url
    page.close()


def test_a_model_is_downloaded_stopped_and_goes_on(browser, page_with_downloads, local_hub, tmp_path):
    tab = browser.new_page(viewport={"width": 1280, "height": 1400})
    tab.goto(page_with_downloads)
    tab.get_by_role("tab", name="Models").click()
    expect(tab.locator("#models")).to_contain_text("python -m core download owner/reduced", timeout=60_000)

    tab.locator("#to-download input").click()
    tab.get_by_role("option", name="reduced").click()
    licence = tab.get_by_label("I accept the licence of reduced: MIT")
    expect(licence).not_to_be_checked(timeout=60_000)
    expect(tab.locator("#about-download")).to_contain_text("0.1 GB from owner/reduced;")
    start = tab.get_by_role("button", name="Download", exact=True)
    start.click()
    expect(tab.get_by_text("The licence of reduced is not accepted: tick it first.")).to_be_visible(timeout=60_000)

    licence.check()
    local_hub.hold = threading.Event()
    start.click()
    said = tab.locator("#downloading textarea")
    expect(said).to_have_value(re.compile(r"^\d+%: 0\.01 of 0\.02 GB, about"), timeout=60_000)
    for width in (390, 1280):
        tab.set_viewport_size({"width": width, "height": 1400})
        tab.screenshot(path=tmp_path / f"download-{width}.png", full_page=True)
    tab.get_by_role("button", name="Stop the download").click()
    expect(said).to_have_value("Stopped. What is here already is kept: Download goes on from there.", timeout=60_000)
    held, local_hub.hold = local_hub.hold, None  # the first download gets nothing more, whenever its process ends

    start.click()
    expect(said).to_have_value(re.compile("^reduced is here, at commit c0c0"), timeout=60_000)
    held.set()
    assert any(part for part in local_hub.ranges("model.safetensors"))
    expect(tab.locator("#models")).to_contain_text("ready")
    tab.screenshot(path=tmp_path / "downloaded.png", full_page=True)
    tab.close()
