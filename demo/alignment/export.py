"""Maps as files: one HTML page, a CSV of coordinates, and every model's embeddings as NPZ and Parquet."""

from pathlib import Path

from core.embeddings.embedding_set import coordinates_csv
from core.storage.files import write_atomically
from demo.alignment.map_view import standalone
from demo.alignment.view_model import MapView, about, pictures_json


def save(shown: MapView, folder: Path) -> list[Path]:
    """Write alignment.html, coordinates.csv, MODEL.npz and MODEL.parquet. Raises `UserError` if one cannot be."""
    page = standalone("Alignment", about(shown), shown.json(), pictures_json(shown))
    write_atomically(folder / "alignment.html", page.encode())
    table = coordinates_csv([(drawn.space, drawn.points, drawn.coordinates) for drawn in shown.maps])
    write_atomically(folder / "coordinates.csv", table.encode("utf-8-sig"))
    files = [folder / "alignment.html", folder / "coordinates.csv"]
    for space in {drawn.space.model: drawn.space for drawn in shown.maps}.values():
        for path, write in (
            (folder / f"{space.model}.npz", space.save),
            (folder / f"{space.model}.parquet", space.save_parquet),
        ):
            write(path)
            files.append(path)
    return files
