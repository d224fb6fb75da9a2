"""Probes of attributes on made-up features and tables, where it is known what a photo shows."""

import logging

import numpy as np
import pytest
from attribute_server import lines, step
from PIL import Image

from core.errors import UserError
from core.taxonomy.categories import SuperCategory, find_category
from core.taxonomy.descriptions import parse_description
from train.attributes.photo_files import PhotoValues, load_descriptions
from train.attributes.probes import FEWEST_CLAUSES, keep_supported, word_evidence

ATTRIBUTES = ("cap", "gills", "stem", "ring", "flesh")
MUSHROOM = SuperCategory("mushroom", "mushroom", "species", ATTRIBUTES)
COLOURS = ("red", "blue")
CATEGORIES, PHOTOS = 12, 10


def table(category: int) -> dict[str, str]:
    """Every attribute has one of two colours, as the bits of a number say, and a word that no other category has."""
    return {a: f"{COLOURS[(37 * category >> i) & 1]} with mark{category}" for i, a in enumerate(ATTRIBUTES)}


def given(values=table) -> list[PhotoValues]:
    """Photos of every category with the values of its table."""
    numbers = range(CATEGORIES * PHOTOS)
    return [
        PhotoValues(sha256=f"{n:064x}", category=f"kind {n % CATEGORIES}", attributes=values(n % CATEGORIES))
        for n in numbers
    ]


def features_of(photos: list[PhotoValues], hidden: np.ndarray, noise=0.3) -> np.ndarray:
    """One feature for the colour of every attribute: +1 blue, -1 red, near 0 where it is hidden; and noise."""
    shown = np.array([[1.0 if "blue" in photo.attributes[a] else -1.0 for a in ATTRIBUTES] for photo in photos])
    rng = np.random.default_rng(0)
    features = np.hstack([np.where(hidden, 0, shown), np.zeros((len(photos), 3))])
    return features + rng.normal(size=features.shape) * noise


def visible(photo: PhotoValues) -> set[str]:
    return {attribute for attribute, value in photo.attributes.items() if value != "not visible"}


def test_a_photo_keeps_the_clauses_that_it_shows():
    photos = given()
    hidden = np.zeros((len(photos), len(ATTRIBUTES)), dtype=bool)
    hidden[np.arange(len(photos)), np.arange(len(photos)) // CATEGORIES % 5] = True  # one attribute, photo by photo
    kept = keep_supported(photos, MUSHROOM, features_of(photos, hidden, noise=0.1))
    right = [
        (attribute in visible(photo)) != hidden[i, k]
        for i, photo in enumerate(kept)
        for k, attribute in enumerate(ATTRIBUTES)
    ]
    assert np.mean(right) > 0.95
    assert [(one.sha256, one.category) for one in kept] == [(one.sha256, one.category) for one in photos]
    for before, after in zip(photos, kept, strict=True):
        assert list(after.attributes) == list(ATTRIBUTES)
        assert all(after.attributes[attribute] == before.attributes[attribute] for attribute in visible(after))
    assert len({frozenset(visible(photo)) for photo in kept if photo.category == "kind 3"}) > 3


def test_recognising_the_category_is_no_evidence(caplog):
    """Features that tell categories apart but show no attribute: a probe that had seen it would repeat the table."""
    photos, rng = given(), np.random.default_rng(1)
    identity = np.eye(CATEGORIES)[[int(photo.category.split()[1]) for photo in photos]]
    features = identity @ rng.normal(size=(CATEGORIES, 30)) + rng.normal(size=(len(photos), 30)) * 0.05
    with caplog.at_level(logging.INFO):
        keep_supported(photos, MUSHROOM, features)
    own, other = caplog.records[-1].args[-2:]
    assert own < other + 15
    assert own < 60


def test_a_description_has_at_least_three_clauses():
    photos = given()
    hidden = np.ones((len(photos), len(ATTRIBUTES)), dtype=bool)
    hidden[0, 4] = False
    kept = keep_supported(photos, MUSHROOM, features_of(photos, hidden, noise=0.01))
    assert min(len(visible(photo)) for photo in kept) == FEWEST_CLAUSES
    few = given(lambda category: {**dict.fromkeys(ATTRIBUTES, "not visible"), "cap": table(category)["cap"]})
    shown = features_of(few, np.zeros((len(few), 5), dtype=bool))
    assert all(visible(photo) == {"cap"} for photo in keep_supported(few, MUSHROOM, shown))


def test_a_word_needs_other_categories_with_it_and_without():
    labels = [f"kind {n % 5}" for n in range(50)]
    features = np.random.default_rng(0).normal(size=(50, 4))
    features[:, 0] = [n % 5 for n in range(50)]
    two, three, four = (frozenset(f"kind {k}" for k in range(n)) for n in (2, 3, 4))
    evidence = word_evidence(features, labels, [two, three, four])
    holds = {label: np.array(labels) == label for label in sorted(set(labels))}
    assert np.isnan(evidence[two][holds["kind 0"]]).all()  # of the two, one is left to learn from
    assert np.isfinite(evidence[two][holds["kind 4"]]).all()
    assert np.isfinite(evidence[three][holds["kind 0"]]).all()
    assert np.isnan(evidence[three][holds["kind 4"]]).all()
    assert np.isnan(evidence[four]).all()
    assert (evidence[three][holds["kind 0"]] > 0).all()


def test_too_few_categories_are_an_error():
    photos = [photo for photo in given() if photo.category in ("kind 0", "kind 1", "kind 2")]
    with pytest.raises(UserError, match="The photos are of 3 categories: too few"):
        keep_supported(photos, MUSHROOM, np.zeros((len(photos), 4)))


def test_the_command_writes_descriptions_that_a_run_reads(tmp_path, monkeypatch):
    names = [
        "Cedar Waxwing",
        "Bohemian Waxwing",
        "Downy Woodpecker",
        "Hooded Oriole",
        "Baltimore Oriole",
        "Cape May Warbler",
    ]
    for i in range(4 * len(names)):
        path = tmp_path / "birds" / names[i % len(names)] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i * 9, 120, 60)).save(path)
    asked = []

    def features(records, encoder_file):
        asked.append(encoder_file)
        return np.random.default_rng(0).normal(size=(len(records), 6))

    monkeypatch.setattr("train.attributes.steps.photo_features", features)
    work = tmp_path / "work" / "bird"
    arguments = ("--vlm-model", "probes", "--data", tmp_path / "birds")
    step("extract", work, *arguments, "--dry-run")
    assert not asked
    step("extract", work, *arguments, "--encoder-file", tmp_path / "encoder.safetensors")
    assert asked == [tmp_path / "encoder.safetensors"]
    step("summarise", work, "--llm-model", "template")
    described = lines(work / "descriptions.jsonl")
    assert len(load_descriptions(work / "descriptions.jsonl")) == len(described) == 24
    for line in described:
        category = find_category(line["category"])
        clauses = parse_description(line["description"], category.super_category)
        assert len(clauses) >= FEWEST_CLAUSES
        assert clauses.items() <= category.values.items()
    with pytest.raises(UserError, match="--encoder-file is for --vlm-model probes"):
        step("extract", work, "--vlm-model", "knowledge", "--data", tmp_path / "birds", "--encoder-file", "x")
