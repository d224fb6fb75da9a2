"""A person with several photos: drop them, paste one, stop, correct, and share a card."""

import base64
import json
import re
from pathlib import Path

import pytest
from browser_steps import finished, upload
from PIL import Image
from playwright.sync_api import expect

from demo.components.models import example_photos

TRANSFER = """const transfer = new DataTransfer();
for (const [name, data] of files) {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const types = { png: "image/png", jpg: "image/jpeg", HEIC: "" }; // of the last, most systems know no type
  transfer.items.add(new File([bytes], name, { type: types[name.split(".").pop()] }));
}"""
DROP = f"(files) => {{ {TRANSFER} return transfer; }}"
PASTE = f"""(files) => {{ {TRANSFER}
  document.body.dispatchEvent(new ClipboardEvent("paste", {{ clipboardData: transfer, bubbles: true }})); }}"""
CAT = next(Path(path) for path in example_photos() if "chelsea" in path)


@pytest.fixture
def grey(tmp_path):
    Image.new("RGB", (300, 300), "grey").save(tmp_path / "grey.png")
    return tmp_path / "grey.png"


@pytest.fixture
def diary(tmp_path):
    (tmp_path / "diary.jpg").write_bytes(b"Dear diary")
    return tmp_path / "diary.jpg"


def sent(*paths):
    return [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]


def drop(tab, *paths):
    expect(tab.locator("#photo")).to_be_visible(timeout=60_000)
    tab.dispatch_event("#photo", "drop", {"dataTransfer": tab.evaluate_handle(DROP, sent(*paths))})


def test_a_pasted_photo_and_one_dropped_over_it_are_identified_at_once(tab, grey):
    expect(tab.locator("#photo input[type=file]")).to_be_attached(timeout=60_000)
    tab.evaluate(PASTE, sent(CAT))
    expect(tab.locator("#card h2")).to_have_text("Bengal", timeout=120_000)
    finished(tab)
    drop(tab, grey)
    expect(tab.locator("#card h2")).to_have_text("Unknown", timeout=120_000)


@pytest.mark.parametrize("way", ["dropped", "chosen"])
def test_a_heic_photo_is_identified_and_a_sentence_stands_for_what_the_browser_cannot_show(tab, encode, tmp_path, way):
    photo = tmp_path / "IMG_1.HEIC"
    photo.write_bytes(encode(Image.open(CAT).convert("RGB"), "HEIF"))
    if way == "dropped":
        drop(tab, photo)
    else:
        tab.locator("#photo input[type=file]").set_input_files(photo)
    expect(tab.locator("#card h2")).to_have_text("Bengal", timeout=120_000)
    expect(tab.locator("#photo img")).to_have_attribute("alt", re.compile("browser cannot show this format"))
    assert tab.evaluate("document.querySelector('#card img').naturalWidth") > 100
    finished(tab)
    drop(tab, CAT)
    expect(tab.locator("#photo img")).to_have_attribute("alt", "", timeout=60_000)


def test_several_photos_are_a_list_and_each_line_opens_its_card(tab, grey, diary, tmp_path):
    drop(tab, CAT, diary, grey)
    lines = tab.locator("#photos label")
    expect(lines).to_have_count(3, timeout=180_000)
    expect(tab.locator("#status")).to_contain_text("Done: 3 of 3 photos.")
    expect(lines.nth(0)).to_contain_text("chelsea.jpg: Bengal")
    expect(lines.nth(1)).to_contain_text("diary.jpg: This is not a readable image")
    expect(tab.locator("#card h2")).to_have_text("Bengal")
    tab.get_by_role("radio", name="grey.png").check()
    expect(tab.locator("#card h2")).to_have_text("Unknown", timeout=30_000)
    tab.screenshot(path=tmp_path / "page.png", full_page=True)


def test_stop_keeps_the_photos_that_are_done(tab, grey):
    drop(tab, *[CAT, grey] * 4)
    expect(tab.locator("#photos label").first).to_be_visible(timeout=120_000)
    tab.get_by_role("button", name="Stop").click()
    expect(tab.locator("#status")).to_contain_text("Stopped:", timeout=30_000)
    expect(tab.locator("#card h2")).to_have_text("Bengal")
    done = tab.locator("#photos label").count()
    tab.wait_for_timeout(4_000)
    assert tab.locator("#photos label").count() == done < 8


def test_a_correction_is_in_the_history(tab, tmp_path):
    upload(tab)
    finished(tab)
    tab.get_by_role("radio", name="Egyptian Mau").check()
    expect(tab.locator("#card h2")).to_have_text("Egyptian Mau", timeout=30_000)
    tab.get_by_label("Or type its name").fill("<b>Chelsea</b>")
    tab.keyboard.press("Enter")
    expect(tab.locator("#card h2")).to_have_text("<b>Chelsea</b>", timeout=30_000)
    expect(tab.get_by_role("button", name="In History")).to_be_disabled()
    tab.screenshot(path=tmp_path / "page.png", full_page=True)
    tab.get_by_role("tab", name="History").click()
    expect(tab.locator("#kept")).to_contain_text("<b>Chelsea</b>", timeout=60_000)


def test_a_card_is_copied_and_shared(tab, tmp_path):
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    upload(tab)
    finished(tab)
    tab.get_by_role("button", name="Copy text").click()
    tab.wait_for_function("navigator.clipboard.readText().then(text => text.startsWith('Bengal'))")
    files = {}
    for name in ("Picture (PNG)", "Page (HTML)", "Data (JSON)"):
        with tab.expect_download() as download:
            tab.get_by_text(name).click()
        files[name] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[name])
    picture = Image.open(files["Picture (PNG)"]).convert("RGB")
    assert picture.width == 1520
    assert len(set(picture.resize((60, 60)).getdata())) > 500  # the photo is in it
    assert json.loads(files["Data (JSON)"].read_text())["species"][0]["name"] == "Bengal"
    page = tab.context.new_page()
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    page.goto(files["Page (HTML)"].as_uri())
    expect(page.locator("h2")).to_have_text("Bengal")
    assert page.evaluate("document.images[0].naturalWidth") > 100
    assert problems == []
    page.screenshot(path=tmp_path / "shared.png", full_page=True)
