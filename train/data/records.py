"""Define the records of labelled photos, check sets of them, and split off the held-out part for calibration."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import UserError
from core.taxonomy.categories import canonical_name, first_spellings, name_key


@dataclass(frozen=True)
class Record:
    """One labelled photo on disk. `sha256` is the hash of the file's bytes."""

    image: Path
    category: str  # canonical display name
    data_set: str  # the folder it came from
    sha256: str


def record(image: Path, label: str, data_set: str) -> Record:
    """Return the record of a photo under any spelling of its category. Raises `UserError` if there is no such file."""
    if not image.is_file():
        raise UserError(f"The photo {image} is listed but missing.")
    return Record(image, canonical_name(label), data_set, hashlib.sha256(image.read_bytes()).hexdigest())


def unify_spellings(records: list[Record]) -> list[Record]:
    """Return the records with every category in the first of its spellings."""
    names = first_spellings([record.category for record in records])
    return [replace(record, category=name) for record, name in zip(records, names, strict=True)]


def by_data_set(records: list[Record]) -> dict[str, list[Record]]:
    """Return data set -> its records, in their order."""
    groups: dict[str, list[Record]] = {}
    for one in records:
        groups.setdefault(one.data_set, []).append(one)
    return groups


def check_one_category_per_photo(records: list[Record]) -> None:
    """Raise `UserError` if a photo (by content) is filed under two categories."""
    filed: dict[str, Record] = {}
    for record in records:
        other = filed.setdefault(record.sha256, record)
        if other.category != record.category:
            raise UserError(
                f"The same photo is filed as {other.category} ({other.image}) and as {record.category} ({record.image})."
            )


def check_no_leakage(train: list[Record], test: list[Record]) -> None:
    """Raise `UserError` if a photo (by content) is in both parts."""
    known = {record.sha256: record for record in train}
    shared = [record for record in test if record.sha256 in known]
    if shared:
        first = shared[0]
        raise UserError(
            f"{len(shared)} test photos are also training photos, for example {first.image} and "
            f"{known[first.sha256].image}."
        )


def split_known(records: list[Record], categories: list[str]) -> tuple[list[Record], list[Record]]:
    """Return the records whose category is among `categories`, and the others."""
    names = set(map(name_key, categories))
    known = [record for record in records if name_key(record.category) in names]
    return known, [record for record in records if name_key(record.category) not in names]


def split_calibration(records: list[Record], share: float = 0.1, least: int = 8) -> tuple[list[Record], list[Record]]:
    """Return (training part, calibration part): a fixed `share` of every category with at least `least` photos.

    The choice depends on the photos' content alone: copies of one photo count once and stay together. Smaller categories
    stay in the training part.
    """
    by_category: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_category[record.category].append(record)
    held_out: set[str] = set()
    for group in by_category.values():
        photos = sorted({record.sha256 for record in group})
        if len(photos) >= least:
            held_out.update(photos[: round(share * len(photos))])
    return [r for r in records if r.sha256 not in held_out], [r for r in records if r.sha256 in held_out]


def short_hash(record: Record) -> str:
    """Return the first 12 digits of a photo's hash, which checkpoints record of their training photos."""
    return record.sha256[:12]


def manifest_hash(records: list[Record]) -> str:
    """Return one hash of the photos and labels, in any order."""
    lines = sorted(f"{record.sha256} {record.category}" for record in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
