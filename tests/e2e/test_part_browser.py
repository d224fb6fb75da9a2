"""A person whose photo shows more than one thing: find the object, draw a box, use the whole photo again."""

import json

import pytest
from browser_steps import finished, violations
from PIL import Image
from playwright.sync_api import expect
from skimage import data as pictures

SIZE = (640, 480)
CAT = (300, 200, 270, 180)  # left, top, width, height in pixels
SHARES = pytest.approx([300 / 640, 200 / 480, 270 / 640, 180 / 480], abs=0.01)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A photo of gravel with a cat in it."""
    picture = Image.fromarray(pictures.gravel()).convert("RGB").resize(SIZE)
    picture.paste(Image.fromarray(pictures.chelsea()).resize(CAT[2:]), CAT[:2])
    path = tmp_path_factory.mktemp("scene") / "scene.png"
    picture.save(path)
    return path


def give(tab, path):
    expect(tab.locator("#photo")).to_be_visible(timeout=60_000)
    tab.locator("#photo input[type=file]").set_input_files(path)
    finished(tab)


def button(tab, name):
    return tab.get_by_role("button", name=name, exact=True)


def named(tab, from_part, name):
    """Wait until the card is of a part of the photo, or of all of it, and has this name."""
    expect(button(tab, "Use the whole photo")).to_have_count(int(from_part), timeout=60_000)
    expect(tab.locator("#card .tools")).to_be_visible(timeout=60_000)
    expect(tab.locator("#card h2")).to_have_text(name)
    finished(tab)


def box_in_json(tab, path):
    with tab.expect_download() as download:
        tab.get_by_text("Data (JSON)").click()
    download.value.save_as(path)
    return json.loads(path.read_text()).get("box")


def place(tab, left, top):
    """Return where in the window a pixel of the scene is."""
    tab.locator("#card .photo").scroll_into_view_if_needed()
    shown = tab.locator("#card .photo img").bounding_box()
    scale = min(shown["width"] / SIZE[0], shown["height"] / SIZE[1])
    x = shown["x"] + (shown["width"] - scale * SIZE[0]) / 2 + scale * left
    return x, shown["y"] + (shown["height"] - scale * SIZE[1]) / 2 + scale * top


def test_the_object_is_found_and_the_whole_photo_is_one_click_away(tab, scene, tmp_path):
    tab.get_by_text("Settings", exact=True).click(timeout=60_000)
    tab.get_by_label("Look for the object").check()
    give(tab, scene)
    named(tab, True, "Bengal")
    expect(tab.locator("#card")).to_contain_text("Named from this part.")
    found = box_in_json(tab, tmp_path / "found.json")
    tab.screenshot(path=tmp_path / "found.png", full_page=True)
    button(tab, "Use the whole photo").click()
    named(tab, False, "Unknown")
    expect(button(tab, "Choose a part")).to_be_focused(timeout=30_000)
    assert box_in_json(tab, tmp_path / "whole.json") is None
    assert violations(tab) == {}
    tab.get_by_role("button", name="1. Bengal").click()
    named(tab, True, "Bengal")
    assert box_in_json(tab, tmp_path / "again.json") == found


def test_a_box_is_drawn_by_mouse_and_is_in_the_picture(tab, scene, tmp_path):
    give(tab, scene)
    named(tab, False, "Unknown")
    left, top, width, height = CAT
    tab.mouse.move(*place(tab, left + width, top + height))
    tab.mouse.down()
    tab.mouse.move(*place(tab, left + 50, top + 50))
    tab.mouse.move(*place(tab, left, top))
    tab.mouse.up()
    named(tab, True, "Bengal")
    assert box_in_json(tab, tmp_path / "drawn.json") == SHARES
    with tab.expect_download() as download:
        tab.get_by_text("Picture (PNG)").click()
    download.value.save_as(tmp_path / "card.png")
    with tab.expect_download() as download:
        tab.get_by_text("Page (HTML)").click()
    download.value.save_as(tmp_path / "card.html")
    page = tab.context.new_page()
    page.goto((tmp_path / "card.html").as_uri())
    expect(page.locator("rect.named")).to_have_count(2)
    assert page.locator("button").count() == 0
    page.screenshot(path=tmp_path / "shared.png", full_page=True)


@pytest.mark.parametrize("tab", [(1280, "dark")], indirect=True, ids=["dark"])
def test_a_box_is_drawn_by_the_keyboard_alone(tab, scene, tmp_path):
    give(tab, scene)
    button(tab, "Choose a part").focus()
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("application", name="Part of the photo")).to_be_focused()
    tab.screenshot(path=tmp_path / "choosing.png", full_page=True)
    assert violations(tab) == {}
    tab.keyboard.press("Escape")
    expect(button(tab, "Choose a part")).to_be_focused()
    tab.keyboard.press("Enter")
    for keys in (["ArrowRight"] * 11, ["ArrowDown"] * 8, ["Shift+ArrowLeft"] * 4, ["Shift+ArrowUp"] * 6):
        for key in keys:
            tab.keyboard.press(key)
    expect(tab.locator("#card .tools [role=status]")).to_have_text("Box: left 47 %, top 41 %, width 42 %, height 38 %.")
    tab.keyboard.press("Enter")
    named(tab, True, "Bengal")
    expect(button(tab, "Use the whole photo")).to_be_focused(timeout=30_000)
    assert box_in_json(tab, tmp_path / "box.json") == [0.47, 0.41, 0.42, 0.38]


def test_a_finger_draws_only_after_the_button(browser, address, scene, tmp_path):
    context = browser.new_context(viewport={"width": 390, "height": 900}, color_scheme="dark", has_touch=True)
    phone = context.new_page()
    phone.goto(address)
    give(phone, scene)
    left, top, width, height = CAT
    swipe(phone, place(phone, left, top), place(phone, left + width, top + height))
    phone.wait_for_timeout(1_000)
    assert phone.locator("#status").inner_text() == "Done."
    button(phone, "Choose a part").tap()
    phone.screenshot(path=tmp_path / "choosing.png", full_page=True)
    phone.touchscreen.tap(*place(phone, 320, 240))
    expect(phone.locator("#card .tools [role=status]")).to_contain_text("left 25 %, top 25 %")
    swipe(phone, place(phone, left, top), place(phone, left + width, top + height))
    named(phone, True, "Bengal")
    assert phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
    assert box_in_json(phone, tmp_path / "box.json") == SHARES
    phone.screenshot(path=tmp_path / "page.png", full_page=True)
    context.close()


def swipe(page, start, end):
    """Drag a finger from one place in the window to another."""
    devices = page.context.new_cdp_session(page)
    middle = [(a + b) / 2 for a, b in zip(start, end, strict=True)]
    for kind, (x, y) in (("touchStart", start), ("touchMove", middle), ("touchMove", end)):
        devices.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    devices.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_box_is_not_applied_to_the_photo_that_came_after(tab, scene):
    give(tab, scene)
    tab.evaluate("document.querySelector('#card .tools').dataset.photo = 'of-another-photo'")
    button(tab, "Choose a part").click()
    button(tab, "Identify this part").click()
    expect(tab.get_by_text("This photo is no longer the one that is shown")).to_be_visible(timeout=30_000)
    named(tab, False, "Unknown")
