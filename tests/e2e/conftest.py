"""A page that is served, and a browser in front of it. Without Chromium these tests are skipped."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from demo.history_store import History

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    from demo.page import build, launch

    page = build(History(tmp_path_factory.mktemp("history") / "history.sqlite"))
    _, url, _ = launch(page, "127.0.0.1", None, block=False)
    yield url
    page.close()


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser, address, request):
    width, scheme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 1400}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()
