"""The published presets on models of the real architectures, reduced: train, save, load, merge, identify."""

from dataclasses import replace

import pytest
import torch

from core.bases import open_base
from core.checkpoints import open_checkpoint
from core.errors import UserError
from core.identify import Recogniser
from core.photos import read_photo
from train.data import read_data
from train.export import export
from train.recipe import read_preset
from train.run import Photos, train


def recipe_for(preset, base, steps):
    recipe = read_preset(preset, base=str(base), quantised=False, precision="float32")
    shorter = {"photos": 10, "steps": steps, "photos_at_once": 0, "warmup_steps": 2, "save_every": 50}
    return replace(recipe, chunk=4, align=replace(recipe.align, **shorter), instruct=replace(recipe.instruct, **shorter))


@pytest.mark.parametrize(
    ("preset", "model", "steps"),
    [("idefics2-8b-qlora", "reduced_idefics2", 20), ("smolvlm-256m-lora", "reduced_idefics3", 3)],
)
def test_a_preset_goes_all_the_way(preset, model, steps, birds, tmp_path, request):
    base = request.getfixturevalue(model)
    photos = Photos.of("birds", read_data(birds, "none.csv"))
    train("small", photos, recipe_for(preset, base, steps), tmp_path / "work", tmp_path / "out")
    adapted = Recogniser("small", *open_checkpoint(tmp_path / "out/small", base=str(base)))
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


def test_a_checkpoint_is_refused_on_another_base(birds, reduced_idefics2, reduced_idefics3, tmp_path):
    photos = Photos.of("birds", read_data(birds, "none.csv"))
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
    with pytest.raises(UserError, match="nobody/nothing is neither a folder here"):
        open_base("nobody/nothing")
    with pytest.raises(UserError, match=r"no readable config\.json"):
        open_base(str(tmp_path))
