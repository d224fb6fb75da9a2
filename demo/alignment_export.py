"""Maps as files: one HTML page, a CSV of coordinates, and every model's embeddings as NPZ and Parquet."""

import csv
import io
from pathlib import Path

from core.case_report import inert
from core.files import write_atomically
from demo.alignment_maps import Shown, about, pictures_json
from demo.map_figure import SHOWN
from demo.map_view import standalone


def save(shown: Shown, folder: Path) -> list[Path]:
    """Write alignment.html, coordinates.csv, MODEL.npz and MODEL.parquet. Raises `UserError` if one cannot be."""
    page = standalone("Alignment", about(shown), shown.json(), pictures_json(shown))
    write_atomically(folder / "alignment.html", page.encode())
    write_atomically(folder / "coordinates.csv", as_csv(shown).encode("utf-8-sig"))
    files = [folder / "alignment.html", folder / "coordinates.csv"]
    for space in {drawn.space.model: drawn.space for drawn in shown.maps}.values():
        for path, write in (
            (folder / f"{space.model}.npz", space.save),
            (folder / f"{space.model}.parquet", space.save_parquet),
        ):
            write(path)
            files.append(path)
    return files


def as_csv(shown: Shown) -> str:
    """One line per point of every map. Text that a spreadsheet would take for a formula has an apostrophe before it."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    axes = "xyz"[: shown.maps[0].coordinates.shape[1]]
    writer.writerow(["model", "kind", "category", "data_set", "photo", "sha256", *axes])
    for drawn in shown.maps:
        space, points = drawn.space, drawn.points
        for i, kind in enumerate(points.kinds):
            photo, category = int(points.photos[i]), int(points.categories[i])
            name = space.categories[category] if category >= 0 else ""
            found = (space.data_sets[photo], space.photos[photo], space.hashes[photo]) if photo >= 0 else ("", "", "")
            texts = map(inert, (space.model, SHOWN[kind], name, *found))
            writer.writerow([*texts, *(f"{value:.5g}" for value in drawn.coordinates[i])])
    return buffer.getvalue()
