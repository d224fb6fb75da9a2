"""Write maps to files: one HTML page, a CSV of coordinates, and every model's embeddings as NPZ and Parquet."""

from pathlib import Path

from core.embeddings.embedding_set import coordinates_csv
from core.storage.files import write_atomically
from demo.alignment.map_view import standalone
from demo.alignment.view_model import MapView


def save(view: MapView, folder: Path) -> list[Path]:
    """Write alignment.html, coordinates.csv, MODEL.npz and MODEL.parquet. Raises `UserError` if one cannot be."""
    page = standalone("Alignment", view.description, view.map_json(), view.thumbnails_json())
    write_atomically(folder / "alignment.html", page.encode())
    table = coordinates_csv([(one.space, one.points, one.coordinates) for one in view.maps])
    write_atomically(folder / "coordinates.csv", table.encode("utf-8-sig"))
    files = [folder / "alignment.html", folder / "coordinates.csv"]
    for space in {one.space.model: one.space for one in view.maps}.values():
        npz, parquet = folder / f"{space.model}.npz", folder / f"{space.model}.parquet"
        space.save(npz)
        space.save_parquet(parquet)
        files += [npz, parquet]
    return files
