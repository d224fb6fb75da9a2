"""Photos behind a map, and the files that a map is saved to."""

import csv
import hashlib
import io
import re

from embedding_sets import projected, random_set
from PIL import Image

from core.embeddings.embedding_set import EmbeddingSet
from demo.alignment import export
from demo.alignment.photos import find_photo, thumbnails
from demo.alignment.view_model import MapView
from demo.components.photo_folder import Folder


def test_a_photo_that_differs_or_lies_elsewhere_is_not_shown(tmp_path, encode):
    data = encode(Image.new("RGB", (200, 100), "red"))
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png", "../c.png"):
        (tmp_path / "photos" / name).write_bytes(data)
    told = hashlib.sha256(data).hexdigest()
    space = random_set(photos=3, categories=2)
    space = EmbeddingSet(**{**vars(space), "photos": ["a.png", "b.png", "../c.png"], "hashes": [told, "0" * 64, told]})
    folder = Folder(tmp_path / "photos")
    assert find_photo(space, 0, folder).size == (200, 100)
    assert find_photo(space, 1, folder) is None
    assert find_photo(space, 2, folder) is None
    assert [bool(uri) for uri in thumbnails(space, folder)] == [True, False, False]
    assert thumbnails(space, None) == []


def test_files_are_inert_and_complete(tmp_path):
    space = random_set()
    space = EmbeddingSet(**{**vars(space), "categories": ["=1+1", "</script><b>x", "c", "d"]})
    files = export.save(MapView(projected(space)), tmp_path)
    assert [path.name for path in files] == ["alignment.html", "coordinates.csv", "model.npz", "model.parquet"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "coordinates.csv").read_text("utf-8-sig"))))
    assert len(rows) == 48
    assert rows[0]["category"] == "'=1+1"
    assert EmbeddingSet.load(files[2]).photos == space.photos
    page = (tmp_path / "alignment.html").read_text()
    assert "</script><b>x" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link)[^>]*(src|href)=", page.split("</head>")[1])
