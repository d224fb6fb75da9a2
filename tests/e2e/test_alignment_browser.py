"""A person with a browser in front of a map of photos, descriptions and names."""

import zipfile

import pytest
from PIL import Image
from playwright.sync_api import expect

from demo.components.models import example_photos

HOSTILE = "<img src=x onerror=window.hit=1>"
DRAWN = "document.querySelector('#map .map-plot')?._fullData?.length >= {}"
WHERE = """(kind) => {  // the middle of the first point of a kind, on the screen
  const plot = document.querySelector('#map .map-plot'), {xaxis, yaxis} = plot._fullLayout;
  const trace = plot._fullData.find((trace) => trace.meta.kind === kind), box = plot.getBoundingClientRect();
  return [box.x + xaxis._offset + xaxis.l2p(trace.x[0]), box.y + yaxis._offset + yaxis.l2p(trace.y[0])];
}"""


@pytest.fixture
def photos(tmp_path, encode):
    """Eight parts of two photos in three class folders, one of which has a hostile name."""
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in example_photos()[:2]:
            picture = Image.open(path).convert("RGB")
            label = "Abyssinian" if "chelsea" in path else "sword lily"
            for i in range(4):
                part = picture.crop((i * 15, i * 15, picture.width - 30, picture.height - 30)).resize((224, 224))
                archive.writestr(
                    f"set/{HOSTILE.replace('/', '') if i == 3 else label}/{i}{label}.jpg", encode(part, "JPEG")
                )
    return tmp_path / "photos.zip"


@pytest.fixture
def alignment(tab):
    """The tab, with the map that comes with the default checkpoint."""
    name = tab.get_by_role("tab", name="Alignment")
    if tab.viewport_size["width"] > 1000:
        name.click()
    else:  # in a narrow window it is behind the three dots
        tab.locator(".overflow-menu button").first.click()
        tab.locator(".overflow-dropdown button", has_text="Alignment").click()
    tab.wait_for_function(DRAWN.format(3), timeout=60_000)
    return tab


def test_an_uploaded_set_is_mapped_hovered_clicked_and_joined_by_a_photo(alignment, photos, tmp_path):
    expect(alignment.locator("#alignment-status")).to_contain_text("1241 photos of 138 categories")
    expect(alignment.locator("#alignment-numbers")).to_contain_text("trustworthiness")
    alignment.locator("#alignment-photos").get_by_text("uploaded here").click()
    alignment.locator("#alignment-uploads input[type=file]").set_input_files(photos)
    alignment.wait_for_function("document.querySelector('#alignment-uploads').innerText.includes('.zip')")
    alignment.locator("#alignment-draw").click()
    status = alignment.locator("#alignment-status")
    expect(status).to_contain_text("8 photos of 3 categories", timeout=180_000)
    expect(status).to_contain_text("t-SNE")
    alignment.wait_for_function("document.querySelector('#map .map-plot')._fullData[0].x.length === 8")

    alignment.locator("#alignment-method").get_by_text("PCA").click()
    expect(status).to_contain_text("; PCA", timeout=60_000)
    alignment.wait_for_timeout(1000)  # the new map is drawn
    alignment.locator("#map .map-plot").scroll_into_view_if_needed()
    alignment.mouse.move(*alignment.evaluate(WHERE, "object"))
    tip = alignment.locator("#map .map-tip")
    expect(tip).to_be_visible()
    assert tip.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    expect(tip).to_contain_text(".jpg")
    alignment.mouse.down()
    alignment.mouse.up()
    point = alignment.locator("#alignment-point")
    expect(point.locator("img.large")).to_be_visible(timeout=30_000)
    expect(point).to_contain_text("Nearest names in the space of finedefics-tiny")

    alignment.locator("#alignment-photo input[type=file]").set_input_files(example_photos()[0])
    alignment.locator("#alignment-photo img").wait_for()
    alignment.locator("#alignment-place").click()
    expect(alignment.locator("#alignment-placed")).to_contain_text("Placed exactly", timeout=120_000)
    alignment.wait_for_function(DRAWN.format(4))
    alignment.locator("#map .map-search").fill(HOSTILE)
    expect(alignment.locator("#map .map-status")).to_have_text("1 of 3 categories")
    assert alignment.evaluate("window.hit") is None
    alignment.screenshot(path=tmp_path / "page.png", full_page=True)


@pytest.mark.parametrize("tab", [(390, "dark")], indirect=True)
def test_the_figure_of_three_models_fits_a_phone(alignment):
    alignment.locator("#alignment-view").get_by_text("side by side").click()
    alignment.locator("#alignment-draw").click()
    numbers = alignment.locator("#alignment-numbers")
    for model in ("idefics2-tiny", "object-category-tiny", "finedefics-tiny"):
        expect(numbers).to_contain_text(model, timeout=60_000)
    alignment.wait_for_function(DRAWN.format(9), timeout=60_000)
    assert alignment.evaluate("document.documentElement.scrollWidth") == 390
