"""The published presets on models of the real architectures, reduced: train, save, load, merge, identify."""

import shutil
from dataclasses import replace

import pytest
import torch

from core.data.images import read_photo
from core.errors import UserError
from core.evaluation.outcomes import SharedVisionEncoder
from core.evaluation.side_by_side import side_by_side, verdict
from core.evaluation.sides import Local, empty_output
from core.models.base_models import open_base
from core.models.checkpoint import open_checkpoint
from core.recognition.recogniser import Recogniser
from core.zoo.registry import load
from train.data.source import read_folder
from train.data.training_split import TrainingSplit
from train.evaluation.ablation import ablate
from train.evaluation.arms import arm_of
from train.loop.pipeline import train
from train.publish.export import export
from train.recipe import read_preset

OPTIONS = ["Cedar Waxwing", "Downy Woodpecker", "Baltimore Oriole", "Hooded Oriole"]


def recipe_for(preset, base, steps):
    recipe = read_preset(preset, base=str(base), quantised=False, precision="float32")
    shorter = {"photos": 10, "steps": steps, "photos_at_once": 0, "warmup_steps": 2, "save_every": 50}
    return recipe.changed(chunk=4, align=recipe.align.changed(**shorter), instruct=recipe.instruct.changed(**shorter))


@pytest.mark.parametrize(
    ("preset", "model", "steps"),
    [("idefics2-8b-qlora", "reduced_idefics2", 3), ("smolvlm-256m-lora", "reduced_idefics3", 3)],
)
def test_a_preset_goes_all_the_way(preset, model, steps, birds, tmp_path, request):
    base = request.getfixturevalue(model)
    photos = TrainingSplit.of("birds", read_folder(birds, "none.csv"))
    train("small", photos, recipe_for(preset, base, steps), tmp_path / "work", tmp_path / "out")
    adapted = Recogniser("small", *open_checkpoint(tmp_path / "out/small"))  # it tells where its base was
    names = dict(adapted.mllm.model.named_parameters())
    assert any("lora_B" in name and weights.abs().sum() > 0 for name, weights in names.items())
    on_connector = any("connector" in name and "lora_" in name for name in names)
    assert on_connector == (preset == "idefics2-8b-qlora")

    export(tmp_path / "out/small", str(base), tmp_path / "merged")
    merged = Recogniser("small", *open_checkpoint(tmp_path / "merged"))
    assert not any("lora_" in name for name, _ in merged.mllm.model.named_parameters())
    for folder in ("out/small", "merged"):
        assert "Not measured yet" in (tmp_path / folder / "README.md").read_text()
    picture = read_photo(next(birds.glob("Downy*/*.png"))).image
    for recogniser in (adapted, merged):
        assert recogniser.mllm.object_bos == (preset != "idefics2-8b-qlora")
        result = recogniser.identify(picture)
        assert len(result.species) == 5
        assert sum(species.probability for species in result.species) == pytest.approx(1, abs=1e-4)
        assert set(result.attributes) <= {
            "bill",
            "crown",
            "face",
            "upperparts",
            "underparts",
            "wings",
            "tail",
            "throat",
        } | {"silhouette"}


@pytest.fixture
def mushrooms(birds, tmp_path):
    """Pictures of categories that no table has."""
    folder = tmp_path / "mushrooms"
    for name, bird in (
        ("Fly_Agaric", "Cedar_Waxwing"),
        ("Death_Cap", "Hooded_Oriole"),
        ("Chanterelle", "Baltimore_Oriole"),
    ):
        shutil.copytree(birds / bird, folder / name)
    return TrainingSplit.of("mushrooms", read_folder(folder, "none.csv"))


def test_categories_without_attributes_are_tuned_on_or_described_first(mushrooms, reduced_idefics2, tmp_path):
    recipe = recipe_for("idefics2-8b-qlora", reduced_idefics2, 1)
    with pytest.raises(UserError, match="No attributes are known for 'Chanterelle'.*--variant finetune"):
        train("small", mushrooms, recipe, tmp_path / "a", tmp_path / "out")
    train("tuned", mushrooms, recipe.changed(variant="finetune"), tmp_path / "b", tmp_path / "out")
    told = {record.sha256: f"A cap like that of a {record.category}." for record in mushrooms.records}
    train("full", replace(mushrooms, descriptions=told), recipe, tmp_path / "c", tmp_path / "out")
    for name in ("tuned", "full"):
        recogniser = Recogniser(name, *open_checkpoint(tmp_path / "out" / name))
        result = recogniser.identify(read_photo(mushrooms.records[0].image).image)
        assert {s.name for s in result.species} == {"Chanterelle", "Death Cap", "Fly Agaric"}


def test_the_ablation_measures_once_and_knows_its_recipe(birds, reduced_idefics2, tmp_path, monkeypatch):
    photos, test = TrainingSplit.of("birds", read_folder(birds, "none.csv")), read_folder(birds, "none.csv")[:10]
    recipe = recipe_for("idefics2-8b-qlora", reduced_idefics2, 1).changed(variant="finetune")
    arm = arm_of("all", photos, test, seed=0)
    results = ablate(arm, recipe, tmp_path)
    assert [(run["condition"], len(run["photos"]["birds"])) for run in results] == [("all", 10)]
    assert "Not measured yet" in (tmp_path / "checkpoints/finetune-0/README.md").read_text()
    monkeypatch.setattr("train.evaluation.ablation.train_variant", lambda *_: pytest.fail("trained again"))
    assert ablate(arm, recipe, tmp_path) == results
    with pytest.raises(UserError, match="or another recipe"):
        ablate(arm, recipe.changed(temperature=0.1), tmp_path)


def test_models_of_the_architecture_of_8b_are_compared(birds, reduced_idefics2, tmp_path, monkeypatch):
    """As the page does it: two checkpoints by name, both with the real processor's settings, asked everything."""
    photos = TrainingSplit.of("birds", read_folder(birds, "none.csv"))
    recipe = recipe_for("idefics2-8b-qlora", reduced_idefics2, 1)
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", tmp_path / "out")
    names = ("reduced-idefics2", "reduced-finedefics")
    for name, variant in zip(names, ("finetune", "full"), strict=True):
        train(name, photos, recipe.changed(variant=variant), tmp_path / name, tmp_path / "out")
    picture, models = read_photo(next(birds.glob("Hooded*/*.png"))).image, [load(name) for name in names]
    for model in models:
        assert model.mllm.processor.image_seq_len == 64
        assert not model.mllm.processor.image_processor.do_image_splitting
    eyes = SharedVisionEncoder(picture)
    sides = [Local(model, model.label_space(), eyes) for model in models]
    *_, said = side_by_side(sides, [empty_output(name) for name in names], lambda side, said: side.identify(said))
    *_, said = side_by_side(sides, said, lambda side, said: side.choose(said, OPTIONS))
    *_, said = side_by_side(sides, said, lambda side, said: side.reply(said, "What is it?"))
    for name, model_said in zip(names, said, strict=True):
        assert not model_said.error
        assert model_said.result.model == name
        assert len(model_said.result.species) == 5
        assert sum(model_said.probabilities.values()) == pytest.approx(1, abs=1e-4)
    assert verdict(said, "Hooded Oriole").count("Right: ") == 2


def test_a_checkpoint_is_refused_on_another_base(birds, reduced_idefics2, reduced_idefics3, tmp_path):
    photos = TrainingSplit.of("birds", read_folder(birds, "none.csv"))
    recipe = recipe_for("smolvlm-256m-lora", reduced_idefics3, 1)
    train("small", photos, recipe, tmp_path / "work", tmp_path / "out")
    with pytest.raises(UserError, match=r"made for the base \w{16}, not for \w{16}"):
        open_checkpoint(tmp_path / "out/small", base=str(reduced_idefics2))
    with pytest.raises(UserError, match=r"made for the base \w{16}, not for \w{16}"):
        export(tmp_path / "out/small", str(reduced_idefics2), tmp_path / "merged")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_four_bits_need_a_cuda_device(reduced_idefics2):
    with pytest.raises(UserError, match="need a CUDA device"):
        open_base(str(reduced_idefics2), four_bit=True)


def test_a_base_that_cannot_be_had_is_named(tmp_path):
    with pytest.raises(UserError, match="nobody/nothing is neither a folder nor in the hub's cache"):
        open_base("nobody/nothing")
    with pytest.raises(UserError, match=r"no readable config\.json"):
        open_base(str(tmp_path))
