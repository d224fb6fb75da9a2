"""What a person does on the Identify tab, for tests in a browser."""

import pytest
from playwright.sync_api import Page, expect

from demo.components.models import example_photos


def upload(tab: Page) -> None:
    """Choose the photo of a cat."""
    cat = next(path for path in example_photos() if "chelsea" in path)
    tab.locator("#photo input[type=file]").set_input_files(cat)
    expect(tab.locator("#photo img")).to_be_visible(timeout=30_000)


def finished(tab: Page) -> None:
    """Wait until the card is complete."""
    expect(tab.locator("#download")).to_be_visible(timeout=180_000)


def violations(tab: Page) -> dict[str, list[str]]:
    """Return the rules of axe-core that are broken, with the elements that break them."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="make e2e installs axe-playwright-python")
    found = axe.Axe().run(tab).response["violations"]
    return {rule["id"]: [node["html"][:200] for node in rule["nodes"]] for rule in found}
