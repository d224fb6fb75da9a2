"""A person with a browser: one photo, two models, and what is typed stays text."""

import re

import pytest
from chat_server import chunk
from playwright.sync_api import expect

from demo.components.models import example_photos

KEY = "sk-very-secret-key-0123456789"


@pytest.fixture
def tab(browser, address, request):
    context = browser.new_context(viewport={"width": getattr(request, "param", 1280), "height": 1600})
    page = context.new_page()
    page.goto(address)
    page.get_by_role("tab", name="Compare").click()
    cat = next(path for path in example_photos() if "chelsea" in path)
    page.locator("#pair input[type=file]").set_input_files(cat)
    expect(page.locator("#pair img")).to_be_visible(timeout=30_000)
    yield page
    context.close()


@pytest.mark.parametrize("tab", [1280, 390], indirect=True, ids=["desktop", "phone"])
def test_two_models_side_by_side(tab, tmp_path):
    tab.get_by_label("Its true name").fill("Egyptian Mau")
    tab.locator("#compare").click()
    expect(tab.locator("#verdict textarea")).to_have_value(re.compile("Asked to choose.*Right:"), timeout=120_000)
    for side, name in (("left", "idefics2-tiny"), ("right", "finedefics-tiny")):
        assert tab.locator(f"#status-{side} textarea").input_value().startswith(name)
        expect(tab.locator(f"#species-{side}")).to_contain_text("%")
        expect(tab.locator(f"#choice-{side}")).to_contain_text("Egyptian Mau")
        assert tab.locator(f"#answer-{side} textarea").input_value()
        expect(tab.locator(f"#attributes-{side}")).to_contain_text("coat")
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
    tab.screenshot(path=tmp_path / "compare.png", full_page=True)


def test_markup_stays_text_and_an_endpoint_answers(tab, chat_server):
    markup = "<img src=x onerror=window.hit=1>"
    chat_server.answer = [chunk(markup), chunk("", "stop")]
    tab.get_by_text("Endpoint", exact=True).click()
    tab.get_by_label("Address").fill(chat_server.url)
    tab.get_by_label("Name of the model there").fill("m")
    tab.get_by_label("API key").fill(KEY)
    tab.locator("#use-endpoint").click()
    expect(tab.locator("#endpoint-in-use textarea")).to_have_value(f"m at {chat_server.url[7:-3]}", timeout=30_000)
    expect(tab.get_by_label("API key")).to_have_value("")
    tab.locator("#model-right input").click()
    tab.get_by_role("option", name="endpoint").click()
    tab.get_by_label("Its true name").fill(markup)
    tab.locator("#compare").click()
    expect(tab.locator("#answer-right textarea")).to_have_value(markup, timeout=120_000)
    expect(tab.locator("#species-left")).to_contain_text("%", timeout=120_000)
    expect(tab.locator("#verdict textarea")).to_have_value(re.compile("Right: m at"), timeout=120_000)
    assert tab.evaluate("window.hit") is None
    assert KEY not in tab.content()


def test_a_wrong_address_is_said(tab):
    tab.get_by_text("Endpoint", exact=True).click()
    tab.get_by_label("Address").fill("localhost")
    tab.get_by_label("Name of the model there").fill("m")
    tab.locator("#use-endpoint").click()
    expect(tab.get_by_text("The address of the endpoint must look like http://localhost:8000/v1.")).to_be_visible(
        timeout=30_000
    )
