"""One tiny run through every stage on generated pictures: what is trained, resumed, stopped."""

import gc
import json
import weakref

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.models.base_models import open_base
from train.data.collator import Collator
from train.data.feature_cache import cache_features, mean_features
from train.data.source import read_folder
from train.data.training_set import TrainingSet
from train.data.training_split import TrainingSplit
from train.loop.pipeline import in_use, open_work, run_facts
from train.loop.stage_checkpoint import COMPLETE, last_complete, mark_complete
from train.loop.trainable import add_adapter, set_trainable
from train.loop.trainer import StageTrainer, run_stage
from train.objectives.stage_model import StageModel, initialise_connector, parts_of
from train.recipe import Adapter, read_preset

STAGE = {"steps": 4, "photos": 6, "connector_lr": 1e-3, "adapter_lr": 1e-3, "warmup_steps": 1, "save_every": 2}


def small(**changes):
    recipe = read_preset("tiny-cpu", precision="float32")
    stages = {name: getattr(recipe, name).changed(**STAGE) for name in ("warmup", "align", "instruct")}
    sizes = {"views": 2, "groups_per_batch": 2, "hard_negatives": 2}
    shares = dict.fromkeys(("described_share", "closed_share", "rehearsed_share"), 0.34)
    return recipe.changed(**{**stages, **sizes, **shares, **changes})


RECIPE = small()


@pytest.fixture(scope="module")
def data(birds, tmp_path_factory):
    """The pictures with kept features of the embedded model."""
    cache = tmp_path_factory.mktemp("cache")
    records = read_folder(birds, "none.csv")[::3]
    with pytest.MonkeyPatch.context() as patch:
        base = open_base("tiny", dtype=torch.float32)
        patch.setattr("core.storage.cache.cache_root", lambda: cache)
        features = cache_features(base, records, RECIPE.views, seed=0)
        patch.setattr("train.data.feature_cache._compute", None)  # the second time no model is asked
        again = cache_features(base, records, RECIPE.views, seed=0)
        patch.undo()
        patch.setattr("core.storage.cache.cache_root", lambda: cache)
        part = next((cache / "features").glob("*.npy"))
        whole = part.rename(part.with_suffix(".part"))
        cut = np.lib.format.open_memmap(whole, mode="r+")
        cut[7:] = 0
        cut.flush()
        resumed = cache_features(base, records, RECIPE.views, seed=0)
    assert (features.array == again.array).all()
    assert (features.array == resumed.array).all()
    names = sorted({record.category for record in records})
    kept = mean_features(base, records, features, names)
    assert torch.allclose(kept, mean_features(base, records, None, names), atol=1e-3)
    return TrainingSet.build(records, features)


@pytest.fixture
def fresh():
    def build(recipe=RECIPE):
        mllm = open_base("tiny", dtype=torch.float32)
        initialise_connector(mllm, seed=0)
        add_adapter(mllm, recipe)
        return mllm

    return build


@pytest.fixture
def reduced(reduced_idefics2):
    """A model of next to no size, for what does not depend on a model's being any good."""
    return lambda: open_base(str(reduced_idefics2), dtype=torch.float32)


def reduced_recipe(reduced_idefics2, **changes):
    fields = {"base": str(reduced_idefics2), "views": 0, "feature_dropout": 0.0, "warmup": None, "anchor": False}
    fields |= {"adapter": Adapter(rank=2, alpha=4, dropout=0.0), "negatives_from_memory": False}
    return small(**{**fields, **changes})


@pytest.fixture
def pictures(birds):
    return TrainingSet.build(read_folder(birds, "none.csv"), None)


def batch_of(stage, mllm, data, recipe, step=0, **options):
    slots = [(step, place) for place in range(getattr(recipe, stage).photos)]
    return Collator(stage, mllm, data, recipe, **options)(slots)["batch"]


def total(losses):
    return torch.stack(list(losses.values())).sum()


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_gradients_reach_the_connector_and_the_adapter_alone(fresh, data, stage):
    mllm = fresh()
    for name, parameter in set_trainable(mllm, RECIPE, stage).items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    model = StageModel(stage, mllm, data, RECIPE)
    total(model(batch_of(stage, mllm, data, RECIPE))).backward()
    reached = {n for n, p in mllm.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    projections = ["self_attn." + x for x in ("q_proj", "k_proj", "v_proj", "o_proj")]
    projections += ["mlp." + x for x in ("gate_proj", "up_proj", "down_proj")]
    assert {name for name in reached if "lora" in name} == {
        f"model.text_model.layers.{layer}.{projection}.lora_{half}.default.weight"
        for layer in range(30)
        for projection in projections
        for half in "AB"
    }
    connector = {f"model.connector.{name}" for name, _ in mllm.model.model.connector.named_parameters()}
    assert {name for name in reached if "lora" not in name} == connector


@pytest.mark.parametrize(
    ("adapter", "stage", "trained"),
    [
        (Adapter(on_connector=True), "align", {"connector lora", "text lora"}),
        (Adapter(kind="dora", on_connector=False), "align", {"connector", "text lora"}),
        (Adapter(kind="full", on_connector=False), "align", {"connector", "text"}),
        (Adapter(on_connector=False), "warmup", {"connector"}),
    ],
)
def test_what_is_trained_is_what_the_recipe_says(reduced, reduced_idefics2, adapter, stage, trained):
    recipe = reduced_recipe(reduced_idefics2).changed(adapter=adapter)
    mllm = reduced()
    add_adapter(mllm, recipe)
    kinds = set()
    for name in set_trainable(mllm, recipe, stage):
        place = "connector" if "connector" in name else "text" if "text_model" in name or "lm_head" in name else name
        kinds.add(f"{place} lora" if "lora_" in name else place)
    assert kinds == trained
    assert any("magnitude" in name for name, _ in mllm.model.named_parameters()) == (adapter.kind == "dora")


def test_all_weights_are_trained_on_copies_of_the_shared_ones():
    other, mllm = open_base("tiny", dtype=torch.float32), open_base("tiny", dtype=torch.float32)
    add_adapter(mllm, RECIPE.changed(adapter=Adapter(kind="full")))
    trained = set_trainable(mllm, RECIPE.changed(adapter=Adapter(kind="full")), "align")
    shared = {p.data_ptr() for p in other.model.parameters()}
    assert not [name for name, p in trained.items() if p.data_ptr() in shared]
    assert mllm.text_model is mllm.model.model.text_model


def test_training_changes_what_it_should(fresh, data, tmp_path):
    mllm = fresh()
    before = {name: parameter.clone() for name, parameter in mllm.model.named_parameters()}
    run_stage("align", mllm, data, RECIPE, tmp_path)
    changed = {n for n, parameter in mllm.model.named_parameters() if not torch.equal(before[n], parameter)}
    assert changed == set(set_trainable(mllm, RECIPE, "align"))
    assert (tmp_path / "align/align.jsonl").exists()
    assert list((tmp_path / "align/runs").glob("*/events*"))
    assert not list((tmp_path / "align").glob("checkpoint-*"))


@pytest.mark.parametrize("stage", ["warmup", "align", "instruct"])
def test_losses_fall(fresh, data, stage):
    mllm = fresh()
    parameters = set_trainable(mllm, RECIPE, stage)
    model, batch = StageModel(stage, mllm, data, RECIPE), batch_of(stage, mllm, data, RECIPE)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3)
    seen = []
    for _ in range(6):
        loss = total(model(batch))
        seen.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert seen[-1] < seen[0]


@pytest.mark.parametrize(("chunk", "memory"), [(0, False), (2, False), (0, True)])
def test_a_run_that_was_cut_off_continues_exactly(
    reduced, reduced_idefics2, pictures, tmp_path, monkeypatch, chunk, memory
):
    changes = {"chunk": chunk, "negatives_from_memory": memory, "learned_temperature": True}
    recipe = reduced_recipe(reduced_idefics2).changed(**changes, adapter=Adapter(dropout=0.2))

    def model():
        mllm = reduced()
        add_adapter(mllm, recipe)
        return mllm

    whole = model()
    run_stage("align", whole, pictures, recipe, tmp_path / "a")
    call = Collator.__call__

    def cut_off(self, slots):
        if slots[0][0] == 3:
            raise KeyboardInterrupt
        return call(self, slots)

    monkeypatch.setattr(Collator, "__call__", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run_stage("align", model(), pictures, recipe, tmp_path / "b")
    monkeypatch.undo()
    half_written = tmp_path / "b/align/checkpoint-3"  # of a save that was killed
    half_written.mkdir()
    (half_written / "trained.safetensors").write_bytes(b"half")
    resumed = model()
    run_stage("align", resumed, pictures, recipe, tmp_path / "b")
    expected = dict(whole.model.named_parameters())
    for name, parameter in resumed.model.named_parameters():
        assert torch.equal(parameter, expected[name]), name
    logs = [[json.loads(line) for line in (tmp_path / x / "align/align.jsonl").open()] for x in "ab"]
    by_step = {entry["step"]: entry["loss"] for entry in logs[1]}
    assert [entry["loss"] for entry in logs[0]] == [by_step[step] for step in (1, 2, 3, 4)]


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    for step, content in ((2, b"good"), (4, b"good")):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trained.safetensors").write_bytes(content)
        mark_complete(folder)
    assert last_complete(tmp_path).name == "checkpoint-4"
    (tmp_path / "checkpoint-4/trained.safetensors").write_bytes(b"goo")
    assert last_complete(tmp_path).name == "checkpoint-2"
    (tmp_path / "checkpoint-2" / COMPLETE).unlink()
    assert last_complete(tmp_path) is None


def test_a_full_disk_keeps_the_last_checkpoint(reduced, reduced_idefics2, pictures, tmp_path, monkeypatch):
    recipe = reduced_recipe(reduced_idefics2)
    save, count = torch.save, 0

    def full(*args, **kwargs):
        nonlocal count
        count += 1
        if count > 3:
            raise OSError(28, "No space left on device")
        save(*args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"step 4 cannot be written .*No space left.*: make room"):
        run_stage("align", reduced(), pictures, recipe, tmp_path)
    assert last_complete(tmp_path / "align").name == "checkpoint-2"
    assert not (tmp_path / "align.safetensors").exists()


@pytest.mark.parametrize("what", ["the loss", "a gradient"])
def test_what_is_not_finite_stops_and_names_the_photos(reduced, reduced_idefics2, pictures, tmp_path, monkeypatch, what):
    forward = StageModel.forward

    def broken(self, batch, *rest):
        losses = forward(self, batch, *rest)
        if what == "the loss":
            return {**losses, "bad": torch.tensor(torch.nan)}
        return {**losses, "bad": (next(p for p in self.parameters() if p.requires_grad) * 0).sum().sqrt()}

    monkeypatch.setattr(StageModel, "forward", broken)
    with pytest.raises(UserError, match=rf"align: {what} is not finite at step 0; its photos: .*\.png"):
        run_stage("align", reduced(), pictures, reduced_recipe(reduced_idefics2), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    assert last_complete(tmp_path / "align") is None


@pytest.mark.parametrize("memory", [False, True])
def test_chunks_have_the_loss_and_the_gradients_of_the_whole(reduced, reduced_idefics2, pictures, tmp_path, memory):
    recipe = reduced_recipe(reduced_idefics2, learned_temperature=True, anchor=True)
    recipe = recipe.changed(negatives_from_memory=memory)
    results = []
    for chunk in (0, 2):
        mllm, chunked = reduced(), recipe.changed(chunk=chunk)
        add_adapter(mllm, chunked)
        set_trainable(mllm, chunked, "align")
        for name, parameter in mllm.model.named_parameters():
            if "lora_B" in name:
                torch.manual_seed(1)
                torch.nn.init.normal_(parameter, std=0.3)
        model, collator = StageModel("align", mllm, pictures, chunked), Collator("align", mllm, pictures, chunked)
        trainer = StageTrainer(model, collator, chunked.align, tmp_path / str(chunk))
        trainer.current_gradient_accumulation_steps = 1
        inputs = collator([(0, place) for place in range(6)])
        value = trainer.training_step(model, inputs)
        results.append((value.item(), gradients(model)))
    (loss, whole), (other, parts) = results
    assert other == pytest.approx(loss, rel=1e-6)
    assert parts.keys() == whole.keys()
    assert "temperature.logarithm" in whole
    for name, gradient in whole.items():
        assert torch.allclose(parts[name], gradient, atol=1e-5 * gradient.abs().max().item()), name


def peak_of_saved_tensors(run):
    """The most bytes that autograd keeps at one time while `run` runs."""
    live, peak = 0, 0

    def release(size):
        nonlocal live
        live -= size

    def pack(tensor):
        nonlocal live, peak
        kept = tensor.detach().clone()
        live += kept.nbytes
        weakref.finalize(kept, release, kept.nbytes)
        peak = max(peak, live)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    gc.collect()
    return peak


def test_chunked_memory_does_not_grow_with_the_negatives(reduced, reduced_idefics2, pictures, tmp_path):
    def peak(chunk, negatives):
        recipe = reduced_recipe(reduced_idefics2, chunk=chunk, hard_negatives=negatives, described_share=0.0)
        mllm = reduced()
        add_adapter(mllm, recipe)
        set_trainable(mllm, recipe, "align")
        collator = Collator("align", mllm, pictures, recipe, distinct=False)
        model = StageModel("align", mllm, pictures, recipe)
        trainer = StageTrainer(model, collator, recipe.align, tmp_path / f"{chunk}-{negatives}")
        trainer.current_gradient_accumulation_steps = 1
        inputs = collator([(0, place) for place in range(6)])
        return peak_of_saved_tensors(lambda: trainer.training_step(model, inputs)), len(inputs["batch"].texts)

    (few, texts), (many, more_texts) = peak(2, 1), peak(2, 4)
    assert more_texts > 2 * texts
    assert many < 1.05 * few
    assert peak(0, 4)[0] > 1.25 * peak(0, 1)[0]  # without chunks it does


def test_texts_encoded_once_have_the_loss_of_texts_encoded_for_every_photo(reduced, reduced_idefics2, pictures):
    recipe = reduced_recipe(reduced_idefics2)
    mllm = reduced()
    model = StageModel("align", mllm, pictures, recipe).eval()
    once = batch_of("align", mllm, pictures, recipe)
    often = batch_of("align", mllm, pictures, recipe, distinct=False)
    assert len(once.texts) < len(often.texts) / 2
    with torch.no_grad():
        first, second = model(once), model(often)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.item() == pytest.approx(second[name].item(), abs=1e-4)


def test_variants_have_their_losses_and_questions(fresh, data):
    mllm = fresh()
    full, alone, plain = (RECIPE.changed(variant=v) for v in ("full", "object-category", "finetune"))
    aligned = StageModel("align", mllm, data, full)(batch_of("align", mllm, data, full))
    expected = {"description", "object_attribute", "attribute_category", "category_category", "object_category"}
    assert set(aligned) == expected | {"naming", "distance"}
    aligned = StageModel("align", mllm, data, alone)(batch_of("align", mllm, data, alone))
    assert set(aligned) == {"object_category", "naming", "distance"}
    kinds = [[(q.photo, q.kind) for q in batch_of("instruct", mllm, data, r).questions] for r in (full, alone, plain)]
    assert [k for k in kinds[0] if k[1] != "description"] == kinds[1] == kinds[2]
    assert any(kind == "description" for _, kind in kinds[0])
    assert [tuple(r.stages()) for r in (full, plain)] == [("warmup", "align", "instruct"), ("warmup", "instruct")]


def test_batches_hold_look_alikes_and_all_their_photos(fresh, data):
    rows = Collator("align", fresh(), data, RECIPE).rows(0)
    assert len(rows) == RECIPE.align.photos
    category_of = {row: i for i, members in enumerate(data.members) for row in members}
    seen = {category_of[row] for row in rows}
    assert any(seen & set(data.look_alikes[c][:3]) for c in seen)


def test_every_photo_is_seen_once_in_an_epoch(reduced, reduced_idefics2, pictures):
    recipe = reduced_recipe(reduced_idefics2).changed(balance=1.0)
    collator = Collator("instruct", reduced(), pictures, recipe)
    count = len(pictures.records)
    drawn = [row for step in range(-(-count // 6) + 1) for row in collator.rows(step)]
    assert sorted(drawn[:count]) == list(range(count))
    assert drawn[:count] != list(range(count))


def test_parts_cover_a_batch_and_end_with_photos(reduced, reduced_idefics2, pictures):
    batch = batch_of("align", reduced(), pictures, reduced_recipe(reduced_idefics2))
    parts = parts_of(batch, 4)
    assert parts[-1].kind == "photos"
    for kind, count in (("texts", len(batch.texts)), ("photos", len(batch.photos))):
        assert [i for p in parts if p.kind == kind for i in range(p.rows.start, p.rows.stop)] == list(range(count))
    asked = [q for p in parts if p.kind == "photos" for q in batch.photo_part(p.rows).questions]
    assert len(asked) == len(batch.questions) > 0


def test_the_memory_holds_the_descriptions_that_the_last_batch_encoded(fresh, data):
    mllm = fresh()
    model = StageModel("align", mllm, data, RECIPE).eval()
    batch = batch_of("align", mllm, data, RECIPE)
    model.refresh_memory()
    before = model.memory.clone()
    model(batch)
    assert not model.memory.requires_grad
    encoded = mllm.embed([batch.texts[i] for i in batch.descriptions.tolist()])
    assert torch.allclose(model.memory[batch.categories], encoded, atol=1e-4)
    changed = (model.memory - before).abs().amax(dim=1) > 1e-4  # other wordings of this batch's descriptions
    assert set(changed.nonzero().flatten().tolist()) <= set(batch.categories.tolist())


def test_a_photos_own_description_replaces_its_categorys(reduced, reduced_idefics2, birds):
    records = read_folder(birds, "none.csv")
    told = {record.sha256: f"A bird with mark number {i}." for i, record in enumerate(records)}
    data = TrainingSet.build(records, None, told)
    mllm, recipe = reduced(), reduced_recipe(reduced_idefics2)
    collator = Collator("align", mllm, data, recipe)
    batch = collator([(0, place) for place in range(6)])["batch"]
    for i, row in enumerate(collator.rows(0)):
        assert told[records[row].sha256] in mllm.tokenizer.decode(batch.texts[batch.descriptions[i]])


def test_a_work_folder_is_of_one_run(birds, tmp_path):
    photos = TrainingSplit.of("birds", read_folder(birds, "none.csv"))
    open_work(tmp_path, run_facts(photos, RECIPE))
    open_work(tmp_path, run_facts(photos, RECIPE.changed(variant="finetune")))  # variants share their warm-up
    with pytest.raises(UserError, match="by another recipe"):
        open_work(tmp_path, run_facts(photos, RECIPE.changed(temperature=0.1)))


def test_two_runs_cannot_share_a_folder(tmp_path):
    with in_use(tmp_path), pytest.raises(UserError, match="Another run is training"), in_use(tmp_path):
        pass
    with in_use(tmp_path):
        pass
