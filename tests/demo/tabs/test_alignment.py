"""The Alignment tab's maps, details and files, of small made-up spaces; no model is loaded."""

import base64
import csv
import hashlib
import io
import json
import re

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from core.embeddings.bundled import MAP, bundle, bundled_embeddings, bundled_map, with_embeddings
from core.embeddings.embedding_set import EmbeddingSet
from core.embeddings.projection import ProjectionConfig
from core.errors import UserError
from core.progress import run
from demo.alignment import export as alignment_export
from demo.alignment import map_view
from demo.alignment.figure import NEAREST_IS_RIGHT
from demo.alignment.photos import Folder, photo_at, thumbnails
from demo.alignment.request import BEFORE_AFTER, ONE, OWN, SHIPPED, MapRequest
from demo.alignment.view_model import (
    MapView,
    _laid_over,
    chosen_rows,
    numbers_table,
    place_photo,
    point_html,
    project_all,
)
from tests.demo.alignment.test_figure import HOSTILE, made

PCA = ProjectionConfig(method="pca")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path / "cache"))


def maps(*spaces, vision=False):
    return run(project_all(spaces, PCA, vision))


def wish(**changes):
    usual = {"photos": SHIPPED, "view": ONE, "model": "a", "after": None, "models": [], "space": OWN, "method": "PCA"}
    settings = {"dimensions": 2, "seed": 0, "perplexity": 30, "neighbours": 15, "min_dist": 0.1, "colour": "category"}
    return MapRequest(**{**usual, **settings, **changes})


def test_the_page_has_the_tab():
    from demo.page import build

    tabs = [block.label for block in build().blocks.values() if isinstance(block, gr.Tab)]
    assert tabs.index("Alignment") == tabs.index("Case study") + 1


def test_maps_are_laid_over_the_first_and_other_photos_refused():
    one, two = maps(made(), made(seed=1))
    assert one.numbers["retrieval_1"] is not None
    moved = [_laid_over(two, place) for place in two.projection.coordinates[:3]]
    np.testing.assert_allclose(moved, two.coordinates[:3], atol=1e-3)
    with pytest.raises(UserError, match="different photos"):
        maps(made(), made(photos=41))


def test_the_vision_space_has_photos_alone():
    (drawn,) = maps(made(), vision=True)
    assert set(drawn.points.kinds) == {"object"}
    assert {name for name, value in drawn.numbers.items() if value is not None} == {"silhouette"}


def test_what_is_told_of_a_point_is_escaped():
    shown = MapView(maps(made()))
    for index in (0, len(shown.maps[0].points.kinds) - 4):
        told = point_html(shown, 0, index)
        assert "&lt;img" in told
        assert "<img src=x" not in told
    assert "<img" not in numbers_table(shown)
    rows = chosen_rows(shown, 0, range(len(shown.maps[0].points.kinds)))
    assert len(rows) == 40  # texts are no photos
    assert rows[0][:2] == [f"{HOSTILE}0.jpg", HOSTILE]


def test_a_photo_is_placed_in_every_map(monkeypatch):
    space = made()
    shown = MapView(maps(space, space), moving=True)
    monkeypatch.setattr("demo.alignment.view_model.embed_photos", lambda *_: (space.objects[:1], space.vision[:1]))
    models = type("ModelPool", (), {"prepare": lambda *_: (None, None)})()
    shown.placed = place_photo(shown, Image.new("RGB", (50, 50)), models)
    for place in shown.placed.places:
        np.testing.assert_allclose(place, shown.maps[0].coordinates[0], atol=1e-3)
    assert '"your photo"' in shown.json()
    assert "Placed exactly" in point_html(shown, 0, len(space.points.kinds))


def test_a_photo_that_differs_or_lies_elsewhere_is_not_shown(tmp_path, encode):
    data = encode(Image.new("RGB", (200, 100), "red"))
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png", "../c.png"):
        (tmp_path / "photos" / name).write_bytes(data)
    told = hashlib.sha256(data).hexdigest()
    space = made(photos=3, categories=2)
    space = EmbeddingSet(**{**vars(space), "photos": ["a.png", "b.png", "../c.png"], "hashes": [told, "0" * 64, told]})
    folder = Folder(tmp_path / "photos")
    assert photo_at(space, 0, folder).size == (200, 100)
    assert photo_at(space, 1, folder) is None
    assert photo_at(space, 2, folder) is None
    assert [bool(uri) for uri in thumbnails(space, folder)] == [True, False, False]
    assert thumbnails(space, None) == []


def test_the_shipped_map_is_that_of_its_embeddings_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("core.embeddings.bundled.DEFAULT_MAP", PCA)
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", tmp_path)
    space = made()
    monkeypatch.setattr("core.embeddings.bundled.model_id", lambda model: "these weights")
    provenance = {"model": "finedefics-tiny", "model_id": "these weights"}
    named = EmbeddingSet(**{**vars(space), "provenance": provenance})
    bundle(named)
    assert with_embeddings() == ["finedefics-tiny"]
    loaded = bundled_embeddings("finedefics-tiny")
    projection, numbers = bundled_map(loaded, PCA)
    assert projection.coordinates.shape == (48, 2)
    assert numbers["retrieval_1"] is not None
    assert bundled_map(loaded, ProjectionConfig(method="umap")) is None
    other = EmbeddingSet(**{**vars(made(seed=5)), "provenance": named.provenance})
    assert bundled_map(other, PCA) is None
    (tmp_path / "finedefics-tiny" / MAP).write_bytes(b"PK broken")
    with pytest.raises(UserError, match="damaged"):
        bundled_map(loaded, PCA)
    monkeypatch.setattr("core.embeddings.bundled.model_id", lambda model: "others")
    with pytest.raises(UserError, match="other weights"):
        bundled_embeddings("finedefics-tiny")
    with pytest.raises(UserError, match="without embeddings"):
        bundled_embeddings("idefics2-tiny")


def test_files_are_inert_and_complete(tmp_path):
    space = made()
    space = EmbeddingSet(**{**vars(space), "categories": ["=1+1", "</script><b>x", "c", "d"]})
    files = alignment_export.save(MapView(maps(space)), tmp_path)
    assert [path.name for path in files] == ["alignment.html", "coordinates.csv", "model.npz", "model.parquet"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "coordinates.csv").read_text("utf-8-sig"))))
    assert len(rows) == 48
    assert rows[0]["category"] == "'=1+1"
    assert EmbeddingSet.load(files[2]).photos == space.photos
    page = (tmp_path / "alignment.html").read_text()
    assert "</script><b>x" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link)[^>]*(src|href)=", page.split("</head>")[1])


def test_what_cannot_be_drawn_is_one_sentence():
    assert wish().names() == ["a"]
    for changes, message in (
        ({"view": BEFORE_AFTER}, "two or three"),
        ({"view": BEFORE_AFTER, "after": "a"}, "two or three"),
        ({"model": None}, "Choose a model"),
    ):
        with pytest.raises(UserError, match=message):
            wish(**changes).names()
    with pytest.raises(UserError, match="missing"):
        wish(method="x").projector()
    with pytest.raises(UserError, match="cannot be chosen"):
        wish(colour="<b>")


def test_plotly_is_served_from_here():
    page = map_view.head() + map_view.component().html_template + map_view.component().js_on_load
    assert map_view.PLOTLY in page
    assert not re.search(r"https?://", page)
    assert "innerHTML" not in page
    assert map_view.route().path == f"/{map_view.PLOTLY}"


def test_the_exported_page_runs_its_own_scripts_alone():
    page = map_view.standalone("<b>", "<i>", "{}", "[]")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(scripts) == 2
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    assert f"script-src {allowed} 'unsafe-eval';" in page
    assert "<b>" not in page.replace("".join(scripts), "").split("</head>")[1]
    assert "<i>" not in page.split("</head>")[1]


def test_the_legend_says_that_nearest_names_are_of_the_other_space():
    space = made()
    assert json.loads(MapView(maps(space), by=NEAREST_IS_RIGHT).json())["about"]["note"] == ""
    shown = MapView(maps(space, vision=True), vision=True)
    assert json.loads(shown.json())["about"]["note"] == ""
    shown.by = NEAREST_IS_RIGHT
    assert "the model's own space" in json.loads(shown.json())["about"]["note"]
