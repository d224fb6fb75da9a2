"""Recipes: presets, own files, single values replaced; what is wrong is one sentence."""

import pytest

from core.errors import UserError
from train.recipe import Recipe, presets, read_preset


def test_every_preset_is_a_recipe():
    assert {"tiny-cpu", "tiny-gpu", "idefics2-8b-qlora", "idefics2-8b-lora-1gpu"} <= set(presets())
    for name in presets():
        recipe = read_preset(name)
        assert recipe.stages()
        assert Recipe.model_validate(recipe.as_dict()) == recipe


@pytest.mark.parametrize("name", ["idefics2-8b-qlora", "idefics2-8b-lora-1gpu"])
def test_the_8b_presets_follow_the_release(name):
    """Stage II: 128 samples a step, an open- and a closed-set question for each of 64 photos."""
    recipe = read_preset(name)
    assert (recipe.align.photos, recipe.instruct.photos) == (64, 64)
    assert (recipe.open_weight, recipe.closed_share) == (1.0, 1.0)
    assert recipe.instruct.steps_for(38_528) == recipe.align.steps_for(38_528) == 602
    for stage in (recipe.align, recipe.instruct):
        assert (stage.epochs, stage.warmup_steps, stage.weight_decay, stage.schedule) == (1, 60, 0.01, "linear")
        assert (stage.adapter_lr, stage.connector_lr) == (2e-4, 2e-4)
    adapter = recipe.adapter
    assert (adapter.kind, adapter.rank, adapter.alpha, adapter.dropout, adapter.on_connector) == (
        "lora",
        8,
        8,
        0.2,
        True,
    )
    assert (recipe.hard_negatives, recipe.temperature, recipe.object_bos) == (3, 0.07, False)
    assert recipe.quantised == (name == "idefics2-8b-qlora")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stride: 3", "own.yaml: stride is not a setting: choose one of base, quantised"),
        ("align: {photos: 8, stepz: 3}", "align.stepz is not a setting: choose one of photos, steps"),
        ("temperature: -1", "temperature is -1: it cannot be less than 0.001"),
        ("described_share: 1.5", "described_share is 1.5: it cannot be more than 1"),
        ("patch_dropout: 1.0", "patch_dropout is 1.0: it cannot be 1 or more"),
        ("hard_negatives: 0", "hard_negatives is 0: it cannot be less than 1"),
        ("hard_negatives: 2.5", "hard_negatives is 2.5, not a whole number"),
        ("align: {photos: 8, adapter_lr: 2e-4}", r"align.adapter_lr is '2e-4', .* \(write it like 2.0e-4\)"),
        ("align: {photos: 0}", "align.photos is 0"),
        ("align: {steps: 3}", "align.photos is missing"),
        ("align:", "align is None, not a table of settings"),
        ("views: true", "views is True, not a whole number"),
        ("anchor: 1", "anchor is 1, not true or false"),
        ("base: 8", "base is 8, not a text"),
        ("balance: .inf", "balance is inf: "),
        ("variant: half", "variant is 'half': choose one of 'full', 'object-category', 'finetune'"),
        ("align: {photos: 8, photos_at_once: 4}", "set chunk"),
        ("{augmented: true, views: 2}", "Views are drawn at every step with augmented: leave views out"),
        ("{augmented: true, base: some/where}", "augmented is for the embedded base alone: leave it out for some/where"),
        ("{encoder: {photos: 8}, encoder_file: some/file}", "is fine-tuned already: leave encoder out"),
        ("{warmup: {photos: 8}, start_file: some/file}", "is trained already: leave warmup out"),
        ("{encoder_answers: 0.5, encoder_file: some/file}", "no answers of a fine-tuned vision encoder: leave"),
        ("encoder: {photos: 8, connector_lr: 1.0e-3}", "encoder.connector_lr is not a setting: choose one of photos"),
        ("encoder: {photos: 8, sizes: [0]}", "encoder.sizes.0 is 0: it cannot be less than 1"),
        ("encoder: {photos: 8, sizes: []}", "encoder.sizes is"),
        ("encoder: {photos: 8, kept_shares: []}", "encoder.kept_shares is"),
        ("option_pools: []", "option_pools is"),
        ("{quantised: true, adapter: {kind: full}}", "cannot be trained themselves"),
        ("views: 2\nseed: 1\nviews: 4", "own.yaml is not a recipe in YAML: 'views' stands there twice"),
        ("align: {photos: 8, photos: 9}", "'photos' stands there twice"),
        ("views: 2\n\tseed: 1", "own.yaml, line 2 is not a recipe in YAML"),
        ("[a]: 1", "not a recipe in YAML"),
        ("[", "not a recipe in YAML"),
        ("- a", "is not a recipe: it needs lines of the form"),
        ("# nothing", "is not a recipe: it needs lines of the form"),
        ("3: 4", "3 is not a setting"),
    ],
)
def test_a_file_that_is_no_recipe_is_told_in_one_sentence(text, message, tmp_path):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        read_preset(str(tmp_path / "own.yaml"))
    assert "\n" not in str(raised.value)


def test_a_file_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "own.yaml").write_bytes("# é\nviews: 2".encode("cp1252"))
    with pytest.raises(UserError, match="cannot be read as a text in UTF-8"):
        read_preset(str(tmp_path / "own.yaml"))


def test_single_values_are_replaced():
    settings = ["align.steps=100", "align.adapter_lr=2e-4", "base=some/where", "anchor=false", "warmup=null"]
    recipe, preset = read_preset("tiny-cpu", settings, seed=3), read_preset("tiny-cpu")
    changed = preset.align.changed(steps=100, adapter_lr=2e-4)
    assert recipe == preset.changed(align=changed, base="some/where", anchor=False, warmup=None, seed=3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("align.steps", "'align.steps' is no setting: write it like align.steps=100"),
        ("align.steps=many", "align.steps is 'many', not a whole number"),
        ("align.stepz=1", "align.stepz is not a setting: choose one of photos"),
        ("views.steps=1", "views is .*, not a whole number"),
        ("=1", " is not a setting"),
        ("temperature=NaN", "temperature is nan"),
    ],
)
def test_a_value_that_cannot_be_is_told_in_one_sentence(setting, message):
    with pytest.raises(UserError, match=message):
        read_preset("tiny-cpu", [setting])
