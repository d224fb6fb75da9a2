"""The ablation command on a model of next to no size: what is trained on, shared, measured, and resumed."""

import csv
import json
import random

import pytest
import torch
import yaml
from PIL import Image
from small_training import cut_off, small_recipe

from core.models.calibration import Calibration, LabelBank
from core.models.checkpoint import read_manifest
from core.models.vlm import VisionLanguageModel
from core.recognition.recogniser import Recogniser
from core.taxonomy.categories import find_category
from core.taxonomy.descriptions import WORDINGS, describe
from train.cli import main
from train.data.feature_cache import FeatureCache
from train.data.source import read_folder
from train.data.training_set import TrainingSet
from train.evaluation.ablation import budget, described_space
from train.evaluation.ablation_report import MEASURES
from train.loop import stages
from train.loop.calibration import description_embeddings
from train.loop.pipeline import train_variant
from train.loop.trainer import run_trainer
from train.recipe import read_preset

NAMES = ["Cedar_Waxwing", "Bohemian_Waxwing", "Downy_Woodpecker", "Baltimore_Oriole", "Hooded_Oriole"]
VARIANTS = ["finetune", "object-category", "full"]
STAGE = {"steps": 2, "photos": 6, "connector_lr": 1e-3, "adapter_lr": 1e-3, "warmup_steps": 1, "save_every": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Noise of five colours: nine pictures of each bird to train on, two to test."""
    folder, rng = tmp_path_factory.mktemp("data") / "bird", random.Random(0)
    rows = {"train.csv": [], "test.csv": []}
    for i, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for k in range(11):
            noise = Image.frombytes("RGB", (8, 8), rng.randbytes(192)).resize((64, 64))
            colour = Image.new("RGB", (64, 64), (50 * i, 90, 200 - 40 * i))
            Image.blend(noise, colour, 0.6).save(folder / name / f"{k}.png")
            rows["test.csv" if k < 2 else "train.csv"].append((f"{name}/{k}.png", name))
    for file, listed in rows.items():
        with (folder / file).open("w", newline="") as stream:
            csv.writer(stream).writerows([("image_path", "label"), *listed])
    return folder


@pytest.fixture(scope="module")
def preset(reduced_idefics2, tmp_path_factory):
    recipe = small_recipe(reduced_idefics2, views=1, **dict.fromkeys(("warmup", "align", "instruct"), STAGE))
    path = tmp_path_factory.mktemp("preset") / "small.yaml"
    path.write_text(yaml.safe_dump(recipe.as_dict()))
    return path


@pytest.fixture(scope="module")
def command(folder, preset, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setattr("core.storage.cache.cache_root", lambda: cache)
        yield lambda work, *more: main(
            ["ablation", "--data", str(folder), "--preset", str(preset), "--work", str(work), "--seeds", "0", *more]
        )


class Noted:
    """Trains as the ablation does, and notes every text and every photo that the training uses."""

    def __init__(self):
        self.texts, self.rows, self.categories, self.stages = [], [], [], []

    def __call__(self, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            for method in ("text_ids", "question_ids", "answer_ids"):
                patch.setattr(VisionLanguageModel, method, self.noting(getattr(VisionLanguageModel, method)))
            get = FeatureCache.get
            patch.setattr(FeatureCache, "get", lambda own, rows, *more: self.rows.extend(rows) or get(own, rows, *more))
            patch.setattr(stages, "run_trainer", self.run)
            mllm, data = train_variant(*arguments)
        self.categories += [[record.category for record in data.records]]
        return mllm, data

    def run(self, trainer):
        self.stages.append((trainer.stage_model.recipe, trainer.stage_model.stage))
        run_trainer(trainer)

    def noting(self, method):
        return lambda own, text: self.texts.append(text) or method(own, text)


@pytest.fixture(scope="module")
def unseen(command, tmp_path_factory):
    """The folder of the arm of unseen categories, and what its trainings used."""
    work, noted = tmp_path_factory.mktemp("unseen"), Noted()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.evaluation.ablation.train_variant", noted)
        assert command(work, "--arms", "unseen") == 0
    return work, noted


def results(work, arm, variant):
    (file,) = (work / arm / "seed-0" / variant).glob("results.*.json")
    return json.loads(file.read_text())


def test_no_variant_trains_on_photos_names_or_descriptions_of_unseen_categories(unseen):
    work, noted = unseen
    among_unseen, _ = results(work, "unseen", "full")
    assert among_unseen["names"] == {"bird": 2}
    assert len(noted.categories) == 3
    seen = set(noted.categories[0])
    held = [find_category(name) for name in NAMES if find_category(name).name not in seen]
    assert len(held) == 2
    assert all(categories == noted.categories[0] for categories in noted.categories)
    assert max(noted.rows) < len(noted.categories[0])
    text = "\n".join(noted.texts)
    for category in map(find_category, seen):
        assert category.name in text
        assert describe(category) in noted.texts
    for category in held:
        assert category.name not in text
        assert not {describe(category, wording) for wording in range(WORDINGS)} & set(noted.texts)


def test_unseen_photos_are_named_among_unseen_and_among_all_names(unseen):
    work, _ = unseen
    for variant in VARIANTS:
        among_unseen, among_all = results(work, "unseen", variant)
        assert [run["names"]["bird"] for run in (among_unseen, among_all)] == [2, 5]
        assert among_unseen["photos"] == among_all["photos"]
        assert set(among_all["right"]) == {"open", "letter", "likelihood", "name", "description"}
        assert all(len(right["bird"]) == 4 for right in among_all["right"].values())
    rows = [line.split(" | ")[:4] for line in (work / "results/ablation.md").read_text().splitlines()]
    assert ["| unseen, among unseen names", "*chance*", "", "-"] in rows


def test_names_that_training_has_not_seen_are_described(reduced, birds):
    data = TrainingSet.build(read_folder(birds, "none.csv")[:16], None)
    mllm, names = reduced(), [name.replace("_", " ") for name in NAMES]
    known, means = [category.name for category in data.categories], torch.ones(2, 16)
    rows, words = mllm.embed_texts(known), mllm.word_ids(known)
    recogniser = Recogniser("a", mllm, LabelBank(known, rows, rows, means, words), Calibration())
    space, described = described_space(recogniser, names, data), description_embeddings(mllm, names)
    for row, name in enumerate(names):
        expected = mllm.embed_texts([name])[0] if name in known else described[row]
        assert torch.allclose(space.descriptions[row], expected, atol=1e-5)


def test_variants_share_one_warmup_on_random_words(unseen):
    work, noted = unseen
    assert [(recipe.variant, stage) for recipe, stage in noted.stages] == [
        ("finetune", "warmup"),
        ("finetune", "instruct"),
        ("object-category", "align"),
        ("object-category", "instruct"),
        ("full", "align"),
        ("full", "instruct"),
    ]
    assert len(list(work.rglob("warmup.safetensors"))) == 1
    assert all(recipe.words == "codes" for recipe, _ in noted.stages)


def test_the_arm_of_all_photos_is_calibrated_and_measured_once(command, tmp_path, monkeypatch):
    options = ["--variants", "finetune-longer", "full", "--out", str(tmp_path / "out")]
    assert command(tmp_path, *options) == 0
    longer, full = (results(tmp_path, "all", variant)[0] for variant in ("finetune-longer", "full"))
    assert full["right"].keys() == longer["right"].keys() == MEASURES.keys()
    assert longer["budget"]["open"] == 2 * full["budget"]["open"] == 24
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"ablation.md", "accuracy.csv", "tests.csv"}
    with (tmp_path / "out/tests.csv").open() as file:
        assert [row["measure"] for row in csv.DictReader(file)] == list(MEASURES)
    assert read_manifest(tmp_path / "checkpoints/full-0").stages == ["warmup", "align", "instruct"]
    monkeypatch.setattr("train.evaluation.ablation.train_variant", lambda *_: pytest.fail("trained again"))
    before = (tmp_path / "out/ablation.md").read_text()
    assert command(tmp_path, *options) == 0
    assert (tmp_path / "out/ablation.md").read_text() == before


def test_a_killed_ablation_goes_on_to_the_same_results(command, tmp_path, monkeypatch):
    options = ["--variants", "object-category", "--arms", "few-shot-4"]
    assert command(tmp_path / "whole", *options) == 0
    with cut_off(monkeypatch, step=1):
        assert command(tmp_path / "killed", *options) == 130
        raise KeyboardInterrupt  # which the command has made its status
    for module in ("measure_set", "label_embeddings"):
        with monkeypatch.context() as patch:
            patch.setattr(f"train.evaluation.ablation.{module}", _killed)
            assert command(tmp_path / "killed", *options) == 130
    assert command(tmp_path / "killed", *options) == 0
    whole, killed = (results(tmp_path / name, "few-shot-4", "object-category") for name in ("whole", "killed"))
    assert whole == killed
    assert whole[0]["budget"]["photos"] == 20


def _killed(*_):
    raise KeyboardInterrupt


def test_the_budget_counts_photos_and_texts_of_every_stage():
    recipe = read_preset("tiny-cpu")
    assert budget(recipe, 100) == {
        "photos": 100,
        "warmup": 86_400,
        "align": 14_400,
        "align_descriptions": 800,  # 4 of the 72 photos of a step
        "instruct": 3_072,
        "open": 3_072,
        "closed": 576,
        "instruct_descriptions": 384,
        "instruct_aligned": 0,
    }
    tuned, longer = (budget(recipe.changed(variant=name), 100) for name in ("finetune", "finetune-longer"))
    assert (tuned["open"], longer["open"]) == (3_072, (96 + 200) * 32)
    assert tuned["instruct_descriptions"] == 0
    assert budget(recipe.changed(aligned_share=0.1), 100)["instruct_aligned"] == 96 * 3
    assert budget(recipe.changed(aligned_share=0.1, aligned_every=10), 100)["instruct_aligned"] == 10 * 3
