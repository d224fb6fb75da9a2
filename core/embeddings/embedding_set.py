"""Embeddings of photos, attribute descriptions and category names in one model's space, and their file.

The file is an NPZ: arrays in half precision, and everything else as JSON in the array `about`. It holds no photos, only
their paths within the set and the hashes of their bytes.
"""

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.storage.files import inert, replacing

FORMAT = 1
KINDS = ("object", "attributes", "category")
ARRAYS = ("objects", "vision", "names", "descriptions", "truth")  # all but the last are embeddings
LISTS = ("categories", "groups", "photos", "hashes", "data_sets")


@dataclass(frozen=True)
class Points:
    """P points in one matrix, of which a map is made."""

    matrix: np.ndarray  # [P, H] float32, L2-normalised
    kinds: list[str]  # [P], of `KINDS`
    photos: np.ndarray  # [P] row of the photo in its `EmbeddingSet`, -1 for a text
    categories: np.ndarray  # [P] row of the category, -1 for a photo without a label


@dataclass(frozen=True)
class EmbeddingSet:
    """N photos and C categories in the space of one model (last hidden state at EOS; see the method's `o`, `a`, `c`).

    All rows are L2-normalised. Raises `UserError` if the parts do not fit together, or a number is not finite.
    """

    objects: np.ndarray  # [N, H] float32: photos
    vision: np.ndarray  # [N, D] float32: the same in the space of the vision encoder (mean over patches); D = 0: none
    names: np.ndarray  # [C, H] float32: category names
    descriptions: np.ndarray  # [C, H] float32: attribute descriptions, zeros where there is none
    truth: np.ndarray  # [N] int64: the row of every photo's category, -1 where it has no label
    categories: list[str]  # [C]
    groups: list[str]  # [C] super-category, "" where there is none
    photos: list[str]  # [N] path of every photo in its set
    hashes: list[str]  # [N] SHA-256 of its bytes
    data_sets: list[str]  # [N] "" where there is none
    provenance: dict  # model, hashes of its weights and of the photos, versions, date

    def __post_init__(self) -> None:
        n, c, width = len(self.photos), len(self.categories), self.objects.shape[-1]
        shapes = {"objects": (n, width), "names": (c, width), "descriptions": (c, width), "truth": (n,)}
        fits = all(getattr(self, name).shape == shape for name, shape in shapes.items())
        fits &= self.vision.ndim == 2 and len(self.vision) == len(self.hashes) == len(self.data_sets) == n
        fits &= len(self.groups) == c and n > 0 and bool(((self.truth >= -1) & (self.truth < c)).all())
        if not fits:
            raise UserError("The embeddings do not fit together: their numbers of photos or categories differ.")
        if not all(np.isfinite(getattr(self, name)).all() for name in ARRAYS):
            raise UserError("The embeddings hold numbers that are not finite.")

    @property
    def model(self) -> str:
        """Return the model's name."""
        return str(self.provenance["model"])

    @cached_property
    def points(self) -> Points:
        """Return the photos, then the descriptions that are there, then the names."""
        described = np.flatnonzero(self.descriptions.any(axis=1))
        everything = np.arange(len(self.categories))
        counts = len(self.photos), len(described), len(everything)
        return Points(
            np.concatenate([self.objects, self.descriptions[described], self.names]),
            [kind for kind, count in zip(KINDS, counts, strict=True) for _ in range(count)],
            np.concatenate([np.arange(counts[0]), np.full(counts[1] + counts[2], -1)]),
            np.concatenate([self.truth, described, everything]),
        )

    @cached_property
    def vision_points(self) -> Points:
        """Return the photos in the vision encoder's space, which has no texts.

        Raises `UserError` for a model that gives none.
        """
        if not self.vision.shape[1]:
            raise UserError(f"{self.model} is only asked questions: choose its own space, not its vision encoder's.")
        count = len(self.photos)
        return Points(self.vision, [KINDS[0]] * count, np.arange(count), self.truth)

    def nearest_names(self, embedding: np.ndarray, k: int = 5) -> list[tuple[str, float]]:
        """Return the k categories whose names are nearest to an embedding [H], with their cosines."""
        cosines = self.names @ embedding
        return [(self.categories[i], float(cosines[i])) for i in np.argsort(-cosines, kind="stable")[:k]]

    def nearest_photos(self, embedding: np.ndarray, k: int = 6) -> list[tuple[int, float]]:
        """Return the rows of the k photos nearest to an embedding [H], with their cosines."""
        cosines = self.objects @ embedding
        return [(int(i), float(cosines[i])) for i in np.argsort(-cosines, kind="stable")[:k]]

    def rounded(self) -> "EmbeddingSet":
        """Return the same embeddings in the precision in which `load` returns them."""
        rounded: dict[str, Any] = {name: _from_half(getattr(self, name).astype(np.float16)) for name in ARRAYS[:-1]}
        return replace(self, **rounded)

    def save(self, path: Path) -> None:
        """Write the NPZ file atomically. Raises `UserError` if it cannot be written."""
        about = {"format": FORMAT, "provenance": self.provenance, **{name: getattr(self, name) for name in LISTS}}
        arrays = {name: getattr(self, name) for name in ARRAYS}
        halved = {name: a if a.dtype.kind == "i" else a.astype(np.float16) for name, a in arrays.items()}
        try:
            with replacing(path) as scratch, scratch.open("wb") as file:
                np.savez(file, about=np.array(json.dumps(about)), **halved)  # type: ignore[arg-type]
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}).") from error

    @classmethod
    def load(cls, path: Path) -> "EmbeddingSet":
        """Read the NPZ file. Raises `UserError` if it is missing, damaged, or another kind of file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                arrays: dict[str, Any] = {name: _from_half(file[name]) for name in ARRAYS[:-1]}
                arrays["truth"] = file["truth"].astype(np.int64)
            if about["format"] != FORMAT:
                raise ValueError
            return cls(**arrays, provenance=about["provenance"], **{name: about[name] for name in LISTS})
        except FileNotFoundError:
            raise UserError(f"There is no file of embeddings {path}.") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is not a file of embeddings (or a damaged one).") from error

    def save_parquet(self, path: Path) -> None:
        """Write a Parquet file: one row per point (kind, category, data set, photo, hash, embedding), provenance.

        Raises `UserError` if it cannot be written.
        """
        import pyarrow as pa
        from pyarrow import parquet

        points = self.points
        rows = {
            "kind": points.kinds,
            "category": [self.categories[i] if i >= 0 else None for i in points.categories],
            "data_set": [self.data_sets[i] if i >= 0 else None for i in points.photos],
            "photo": [self.photos[i] if i >= 0 else None for i in points.photos],
            "sha256": [self.hashes[i] if i >= 0 else None for i in points.photos],
            "embedding": list(points.matrix),
        }
        table = pa.table(rows).replace_schema_metadata({"provenance": json.dumps(self.provenance)})
        try:
            with replacing(path) as scratch:
                parquet.write_table(table, scratch)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}).") from error


def _from_half(rows: np.ndarray) -> np.ndarray:
    """Return rows in float32, normalised again: half precision has changed their lengths a little."""
    return l2_normalise(rows.astype(np.float32))


def l2_normalise(rows: np.ndarray) -> np.ndarray:
    """Return rows [N, H] scaled to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def coordinates_csv(maps: Sequence[tuple[EmbeddingSet, Points, np.ndarray]]) -> str:
    """Return a CSV of the points of every map, given as an embedding set, its points and their coordinates [P, d]."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["model", "kind", "category", "data_set", "photo", "sha256", *"xyz"[: maps[0][2].shape[1]]])
    for embeddings, points, coordinates in maps:
        for i, kind in enumerate(points.kinds):
            photo, category = int(points.photos[i]), int(points.categories[i])
            name = embeddings.categories[category] if category >= 0 else ""
            facts = (
                (embeddings.data_sets[photo], embeddings.photos[photo], embeddings.hashes[photo])
                if photo >= 0
                else ("", "", "")
            )
            texts = map(inert, (embeddings.model, kind, name, *facts))
            writer.writerow([*texts, *(f"{value:.5g}" for value in coordinates[i])])
    return buffer.getvalue()
