"""Compare the training speed of stage I with that of the released algorithm, on generated pictures.

The released algorithm encodes the description, name and hard negatives of every photo separately, in one pass per kind
of text, runs the vision encoder on every photo at every step, and computes the language-model loss at all positions.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from core.models.base_models import open_base
from core.models.vlm import VisionLanguageModel
from core.taxonomy.categories import in_super_category
from train.data.batch import Batch
from train.data.collator import Collator
from train.data.feature_cache import FeatureCache
from train.data.source import read_folder
from train.data.training_set import TrainingSet
from train.loop.trainable import add_adapter, dtype_of, set_trainable
from train.objectives.stage_model import StageModel, initialise_connector
from train.recipe import Recipe, read_preset

PHOTOS = 12  # per step; the released algorithm needs 16 GB for their activations in float32
PICTURES_PER_CATEGORY = 2  # of the 20 birds
STEPS = 3  # measured, after one warm-up step


def _pictures(folder: Path) -> None:
    rng = random.Random(0)
    for category in in_super_category("bird"):
        for i in range(PICTURES_PER_CATEGORY):
            path = folder / category.name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.frombytes("RGB", (16, 16), rng.randbytes(768)).resize((288, 288)).save(path)


def _released_loss(model: StageModel, batch: Batch, photos: list[Image.Image]) -> Tensor:
    """Return the loss of the released algorithm on a batch with one text per photo (`distinct=False`)."""
    mllm = model.mllm
    tokens = mllm.image_tokens(mllm.vision_features(photos))
    objects = mllm.embed_photos(tokens)
    assert batch.descriptions is not None
    assert batch.negative_descriptions is not None
    assert batch.names is not None
    assert batch.negative_names is not None
    kinds = [batch.descriptions, batch.names, *batch.negative_descriptions.T, *batch.negative_names.T]
    texts: list[Tensor] = [torch.empty(0)] * len(batch.texts)
    for kind in kinds:
        rows = mllm.embed_batch([batch.texts[i] for i in kind.tolist()])  # padded to the longest
        for i, row in zip(kind.tolist(), rows, strict=True):
            texts[i] = row
    losses = model.alignment(batch, torch.cat([torch.stack(texts), objects]), model.temperature())
    questions = batch.questions
    sequences = [q.prompt + q.answer for q in questions]
    states = mllm.hidden_states([sequence[:-1] for sequence in sequences], tokens[[q.photo for q in questions]])
    logits = mllm.model.lm_head(states).float()  # [b, T, V] of all positions, question and image tokens included
    targets = torch.full(logits.shape[:2], -100)
    for row, sequence in zip(targets, sequences, strict=True):
        row[: len(sequence) - 1] = torch.tensor(sequence[1:])
    generation = F.cross_entropy(logits.flatten(0, 1), targets.flatten().to(logits.device))
    return torch.stack([*losses.values(), generation]).sum()


def _seconds(model: StageModel, step: Callable[[], Tensor]) -> float:
    dtype, times = dtype_of(model.recipe), []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        with torch.autocast(model.mllm.device.type, dtype, enabled=dtype == torch.bfloat16):
            loss = step()
        loss.backward()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def _model(recipe: Recipe, mllm: VisionLanguageModel, data: TrainingSet) -> StageModel:
    set_trainable(mllm, recipe, "align")
    return StageModel("align", mllm, data, recipe).train()


def throughput() -> dict:
    """Measure photos per second of the released algorithm ("released shape"), the "same losses" here, and the "preset".

    The first two have 3 hard negatives and a description to generate per photo. The preset `tiny-cpu` has more
    negatives, with descriptions from the memory bank, and generates a description for one photo in eighteen.
    `loss_difference` is the difference in float32 between encoding each text once and once per photo.
    """
    preset = read_preset("tiny-cpu")
    preset = preset.changed(align=preset.align.changed(photos=PHOTOS))
    recipe = preset.changed(negatives_from_memory=False, hard_negatives=3, described_share=1.0, anchor=False)
    recipe = recipe.changed(patch_dropout=0.0, feature_dropout=0.0)
    indices = [(0, position) for position in range(PHOTOS)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "birds"
        _pictures(folder)
        records = read_folder(folder, "train.csv")
        mllm = _untrained(recipe)
        pictures = [Image.open(record.image).convert("RGB") for record in records]
        states = torch.stack([mllm.vision_features([picture]).states for picture in pictures])
        data = TrainingSet.build(records, FeatureCache(states.half().numpy(), list(range(len(records)))))
        model = _model(recipe, mllm, data)
        repeated_texts = Collator("align", mllm, data, recipe, distinct=False)(indices)["batch"]
        photos = [Image.open(path).convert("RGB") for path in repeated_texts.photos]

        seconds = {"released shape": _seconds(model, lambda: _released_loss(model, repeated_texts, photos))}
        for name, chosen in (("same losses", recipe), ("preset", preset)):
            trained, collator = _model(chosen, mllm, data), Collator("align", mllm, data, chosen)
            if chosen.negatives_from_memory:
                trained.refresh_memory()
            seconds[name] = _seconds(trained, partial(_step, trained, collator))
        with torch.no_grad():
            exact = _model(recipe, _untrained(recipe, torch.float32), data).eval()
            once, repeated = (
                _loss(exact, Collator("align", exact.mllm, data, recipe, distinct)(indices)["batch"])
                for distinct in (True, False)
            )
    return {
        "photos_per_step": PHOTOS,
        "photos_per_second": {name: round(PHOTOS / value, 2) for name, value in seconds.items()},
        "speedup": {name: round(seconds["released shape"] / value, 1) for name, value in seconds.items()},
        "loss_difference": round((once - repeated).abs().item(), 6),
    }


def _step(model: StageModel, collator: Collator) -> Tensor:
    return _loss(model, collator([(0, position) for position in range(PHOTOS)])["batch"])


def _loss(model: StageModel, batch: Batch) -> Tensor:
    return torch.stack(list(model(batch).values())).sum()


def _untrained(recipe: Recipe, dtype: torch.dtype | None = None) -> VisionLanguageModel:
    mllm = open_base(recipe.base, dtype=dtype)
    initialise_connector(mllm, 0)
    add_adapter(mllm, recipe)
    return mllm
