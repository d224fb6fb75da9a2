"""A person with a browser whose photo shows one of several look-alikes."""

from browser_steps import finished, upload
from playwright.sync_api import expect


def test_a_group_is_said_where_no_name_is_sure_enough(tab, tmp_path):
    tab.get_by_text("Settings", exact=True).click()
    tab.get_by_label("How sure must a name be?").click()
    tab.get_by_role("option", name="95 %").click()
    upload(tab)
    finished(tab)
    card = tab.locator("#card")
    expect(card.locator("h2")).to_have_text("A shorthair cat")
    expect(card.locator(".certainty")).to_contain_text("Almost certain (9")
    expect(card).to_contain_text("Perhaps: Bengal (")
    expect(card).to_contain_text("What agrees with Bengal")
    for width in (390, 1280):
        tab.set_viewport_size({"width": width, "height": 1400})
        tab.screenshot(path=tmp_path / f"card-{width}.png", full_page=True)
    tab.get_by_label("How sure must a name be?").click()
    tab.get_by_role("option", name="80 %").click()  # said at once, without another look at the photo
    expect(card.locator("h2")).to_have_text("Bengal")
    expect(card).to_contain_text("Or: Abyssinian (")
