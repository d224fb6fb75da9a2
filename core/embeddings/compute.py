"""From labelled photos to their `EmbeddingSet`: computed once for a model and a set of photos, then cached."""

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from core.data.images import open_photo
from core.data.photo_sets import LabelledPhoto
from core.embeddings.embedding_set import FORMAT, EmbeddingSet
from core.errors import UserError
from core.models.base_models import base_id, locate
from core.models.checkpoint import read_manifest
from core.models.scoring import pooled_features
from core.progress import Progress, count_progress
from core.recognition.asked_model import AskedModel
from core.storage.cache import cached_steps, entry_path, fingerprint
from core.taxonomy.categories import find_category, first_spellings, same_category
from core.taxonomy.descriptions import describe
from core.zoo.hub import local_revision
from core.zoo.registry import find_source, zoo

if TYPE_CHECKING:
    from PIL import Image

    from core.recognition.recogniser import Recogniser

log = logging.getLogger(__name__)

BATCH = 8  # photos that go through the model together


def model_id(name: str) -> str:
    """Return the fingerprint of a model's weights. Raises `UserError` for an unknown or damaged model."""
    found, entry = find_source(name), zoo().get(name)
    if entry is None:
        return base_id(str(locate(found.source, found.revision or None)))
    if entry.hub:
        start = "" if entry.hub.object_bos else " without BOS"
        return f"{entry.hub.repository}@{local_revision(entry.hub)}{start}"
    manifest = read_manifest(entry.checkpoint)
    return fingerprint(manifest.base_id, manifest.files)[:16]


def readable_photos(photos: list[LabelledPhoto]) -> list[LabelledPhoto]:
    """Return the photos that can be opened, each once, with one spelling per category; log the others.

    Raises `UserError` if there are none, or if one photo has two labels.
    """
    found: dict[str, LabelledPhoto] = {}
    for photo in photos:
        try:
            open_photo(photo.read())
            first = found.setdefault(photo.sha256, photo)
        except UserError as error:
            log.warning("%s is left out: %s", photo.name, error)
            continue
        if not same_category(first.category, photo.category):
            raise UserError(f"{photo.name} is the same photo as {first.name}, under another label.")
    if not found:
        raise UserError("None of the files can be read as a photo.")
    spellings = first_spellings([photo.category for photo in found.values()])
    return [
        photo if photo.category == name else replace(photo, label=name)
        for photo, name in zip(found.values(), spellings, strict=True)
    ]


def compute_embeddings(
    model: str, photos: list[LabelledPhoto], set_name: str, load: Callable[[str], "Recogniser | AskedModel"]
) -> Generator[Progress, None, EmbeddingSet]:
    """Return the `EmbeddingSet` of a set of photos, from the cache if it was computed before.

    Objects are of the photo as it is (one view). `load` gives the model where the result is not cached.
    Raises `UserError` if no photo can be read, none has a label, or the model gives no hidden states.
    """
    readable = readable_photos(photos)
    names = sorted({photo.category for photo in readable if photo.category})
    if not names:
        raise UserError("None of the photos has a label: give a CSV of labels, or class folders.")
    listed = [[photo.sha256, photo.category, photo.name, photo.dataset] for photo in readable]
    texts = [description_of(name) for name in names]
    facts = {
        "model": model,
        "model_id": model_id(model),
        "photos": fingerprint(*listed)[:16],
        "descriptions": fingerprint(*texts)[:16],
    }

    def compute() -> Generator[Progress, None, EmbeddingSet]:
        embedded = yield from embed_set(load(model), readable, names, texts)
        provenance = {
            **facts,
            "left_out": len(photos) - len(readable),
            "date": datetime.now(UTC).date().isoformat(),
            **{package: version(package) for package in ("torch", "transformers")},
        }
        return replace(embedded, provenance=provenance).rounded()

    path = entry_path("embeddings", FORMAT, fingerprint(facts), ".npz")
    found = yield from cached_steps(path, compute, EmbeddingSet.save, EmbeddingSet.load)
    return replace(found, provenance={**found.provenance, "set": set_name})


def embed_set(
    model: "Recogniser | AskedModel", photos: list[LabelledPhoto], names: list[str], texts: list[str]
) -> Generator[Progress, None, EmbeddingSet]:
    """Return the embeddings of photos, of the categories `names` and of their descriptions ("" where there is none).

    Its provenance is empty. Raises `UserError` for a model that gives no hidden states.
    """
    objects, vision, started = [], [], time.monotonic()
    for start in range(0, len(photos), BATCH):
        part = photos[start : start + BATCH]
        part_objects, part_vision = embed_photos(model, [open_photo(photo.read()).image for photo in part])
        objects.append(part_objects)
        vision.append(part_vision)
        yield count_progress(start + len(part), len(photos), started)
    descriptions = np.zeros((len(names), objects[0].shape[1]), np.float32)
    rows = [i for i, text in enumerate(texts) if text]
    if rows:
        descriptions[rows] = _embed_texts(model, [texts[i] for i in rows])
    categories = [find_category(name) for name in names]
    return EmbeddingSet(
        objects=np.concatenate(objects),
        vision=np.concatenate(vision),
        names=model.embed_names(names).numpy() if isinstance(model, AskedModel) else _embed_texts(model, names),
        descriptions=descriptions,
        truth=np.array([names.index(photo.category) if photo.category else -1 for photo in photos]),
        categories=names,
        groups=[category.super_category.name if category else "" for category in categories],
        photos=[photo.name for photo in photos],
        hashes=[photo.sha256 for photo in photos],
        data_sets=[photo.dataset for photo in photos],
        provenance={},
    )


def embed_photos(model: "Recogniser | AskedModel", photos: "list[Image.Image]") -> tuple[np.ndarray, np.ndarray]:
    """Return the object embeddings [B, H] and pooled vision features [B, D] of B photos, as in an `EmbeddingSet`.

    Raises `UserError` for a model that gives no hidden states.
    """
    if isinstance(model, AskedModel):
        objects, pooled = model.embed_photos(photos)
        return objects.numpy(), pooled.numpy()
    mllm = model.mllm
    with torch.no_grad():
        features = mllm.vision_features(photos)
        objects = mllm.embed_photos(mllm.image_tokens(features))
    return objects.cpu().numpy(), pooled_features(features).cpu().numpy()


def _embed_texts(model: "Recogniser | AskedModel", texts: list[str]) -> np.ndarray:
    return (model if isinstance(model, AskedModel) else model.mllm).embed_texts(texts).cpu().numpy()


def description_of(name: str) -> str:
    """Return the attribute description of a category, "" where none is known."""
    category = find_category(name)
    return describe(category) if category else ""
