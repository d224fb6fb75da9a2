"""A person with a browser who keeps identifications: correct one, export it, delete it; nobody else sees it."""

import zipfile

from browser_steps import finished, upload
from playwright.sync_api import expect


def open_tab(tab, name):
    tab.get_by_role("tab", name=name).click()


def test_keep_correct_export_delete(tab, browser, address, tmp_path):
    tab.get_by_label("Keep my identifications on this machine").check()
    upload(tab)
    finished(tab)

    tab.reload()  # the key is the browser's, not the page's
    open_tab(tab, "History")
    expect(tab.locator("#kept")).to_contain_text("finedefics-tiny", timeout=60_000)
    thumbnail = tab.locator("#kept img:visible").first  # the table has a hidden copy, to measure its rows
    expect(thumbnail).to_be_visible()
    assert thumbnail.evaluate("image => image.complete && image.naturalWidth") == 160

    tab.locator("#kept").get_by_text("finedefics-tiny").locator("visible=true").first.click()
    expect(tab.locator("#chosen textarea")).not_to_have_value("", timeout=60_000)
    tab.get_by_label("True name").fill("=<b>Chelsea</b>")
    tab.get_by_role("button", name="Save correction").click()
    expect(tab.locator("#kept")).to_contain_text("=<b>Chelsea</b>", timeout=60_000)
    tab.screenshot(path=tmp_path / "history.png", full_page=True)

    tab.get_by_role("button", name="Export corrections").click()
    expect(tab.locator("#corrections")).to_be_enabled(timeout=60_000)
    with tab.expect_download() as download:
        tab.locator("#corrections").click()
    download.value.save_as(tmp_path / "corrections.zip")
    with zipfile.ZipFile(tmp_path / "corrections.zip") as archive:
        assert archive.read("train.csv").decode().splitlines()[1].endswith(",_=<b>Chelsea</b>")

    other = browser.new_context().new_page()
    other.goto(address)
    open_tab(other, "History")
    other.wait_for_timeout(2_000)
    expect(other.locator("#kept")).not_to_contain_text("finedefics-tiny")
    other.context.close()

    tab.get_by_role("button", name="Delete", exact=True).click()
    expect(tab.locator("#kept")).not_to_contain_text("finedefics-tiny", timeout=60_000)


def test_two_windows_of_one_browser_share_their_rows(tab):
    has_key = "localStorage.getItem('finedefics-history')"
    tab.wait_for_function(has_key)  # made when the browser opens its first window
    other = tab.context.new_page()  # opened before anything is kept
    other.goto(tab.url)
    for window in (tab, other):
        expect(window.get_by_label("Keep my identifications on this machine")).to_be_visible(timeout=60_000)
        window.wait_for_function(has_key)
        window.get_by_label("Keep my identifications on this machine").check()
    upload(tab)
    finished(tab)
    other.reload()
    open_tab(other, "History")
    expect(other.locator("#kept")).to_contain_text("finedefics-tiny", timeout=60_000)


def test_the_models_tab_tells_what_can_run(tab):
    open_tab(tab, "Models")
    expect(tab.locator("#models")).to_contain_text("idefics2-8b", timeout=60_000)
    expect(tab.locator("#models")).to_contain_text("python -m core download HuggingFaceM4/idefics2-8b")
