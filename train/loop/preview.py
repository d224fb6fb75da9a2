"""Preview a run: batches decoded to text, their lengths in tokens, and an estimate of memory."""

from core.models.vlm import VisionLanguageModel
from train.data.batch import Batch
from train.data.collator import Collator
from train.data.training_set import TrainingSet
from train.data.training_split import TrainingSplit
from train.loop.trainable import add_adapter, open_base_for, set_trainable
from train.recipe import Recipe

EXAMPLES = 3  # printed photos, texts and questions of a batch
GIB = 2**30


def preview(split: TrainingSplit, recipe: Recipe) -> str:
    """Return the first batch of every stage as text, with token counts and an estimate of the memory needed.

    Nothing is trained or written; cached features are not needed.
    """
    mllm = open_base_for(recipe)
    add_adapter(mllm, recipe)
    data = TrainingSet.build(split.training, None, split.descriptions)
    lines = [
        f"{len(split.training)} photos of {len(data.categories)} categories, {len(split.held_out)} for calibration."
    ]
    if encoder := recipe.encoder:
        sides = " and ".join(map(str, encoder.sizes))
        steps = encoder.steps_for(len(split.training))
        lines += ["", f"encoder: {steps} steps of {encoder.photos} photos at {sides} pixels"]
    for name, stage in recipe.stages().items():
        steps = recipe.stage(name, len(split.training)).steps
        at_once = stage.photos_at_once or stage.photos
        collator = Collator(name, mllm, data, recipe)
        batch = collator([(0, position) for position in range(at_once)])["batch"]
        lines += ["", f"{name}: {steps} steps of {stage.photos} photos, {at_once} at once", *_described(mllm, batch)]
        trained = sum(p.numel() for p in set_trainable(mllm, recipe, name).values())
        tokens = _tokens_at_once(mllm, batch, recipe, name)
        lines.append(
            f"  {trained / 1e6:.1f} M parameters trained; about {_memory(mllm, trained, tokens, recipe):.1f} GiB"
        )
    return "\n".join(lines)


def _described(mllm: VisionLanguageModel, batch: Batch) -> list[str]:
    lines = [f"  photo: {path}" for path in batch.photos[:EXAMPLES]]
    lines += [f"  text: {mllm.tokenizer.decode(ids)}" for ids in batch.texts[:EXAMPLES]]
    for question in batch.questions[:EXAMPLES]:
        prompt, answer = (mllm.tokenizer.decode(ids) for ids in (question.prompt, question.answer))
        image = mllm.tokenizer.decode([mllm.image_token])
        prompt = prompt.replace(image * mllm.processor.image_seq_len, f"{image} x {mllm.processor.image_seq_len}")
        lines += [f"  {question.kind} question: {prompt!r}", f"  answer (carries the loss): {answer!r}"]
    lengths = {
        "photos": len(batch.photos) * len(mllm.object_ids()),
        "texts": sum(map(len, batch.texts)),
        "questions": sum(len(q.prompt) + len(q.answer) for q in batch.questions),
    }
    counts = ", ".join(f"{count} in {what}" for what, count in lengths.items())
    return [*lines, f"  tokens: {counts}; {len(batch.texts)} distinct texts, {len(batch.questions)} questions"]


def _tokens_at_once(mllm: VisionLanguageModel, batch: Batch, recipe: Recipe, stage: str) -> int:
    """Return the number of tokens, with padding, whose activations are in memory at the same time."""
    if stage == "warmup":
        return 0
    photos, texts, questions = len(batch.photos), len(batch.texts), batch.questions
    if stage == "align" and recipe.chunk:
        photos, texts = min(photos, recipe.chunk), min(texts, recipe.chunk)
        questions = [question for question in questions if question.photo < recipe.chunk]
    longest = max((len(ids) for ids in batch.texts), default=0)
    of_text = texts * longest
    of_photos = photos * len(mllm.object_ids()) * (stage == "align")
    of_questions = len(questions) * max((len(q.prompt) + len(q.answer) for q in questions), default=0)
    return max(of_text, of_photos + of_questions) if recipe.chunk else of_text + of_photos + of_questions


def _memory(mllm: VisionLanguageModel, trained: int, tokens: int, recipe: Recipe) -> float:
    """Return the memory in GiB of weights, gradients, AdamW's moments and the activations of the decoder layers.

    A layer stores about 14 hidden and 4 MLP states per token; with gradient checkpointing only its input is stored, and
    one layer in full.
    """
    text = mllm.model.config.text_config
    weights = sum(p.numel() * p.element_size() for p in mllm.model.parameters())
    size = 2 if recipe.quantised else next(mllm.text_model.parameters()).element_size()
    full = (14 * text.hidden_size + 4 * text.intermediate_size) * size
    checkpointed = text.num_hidden_layers * text.hidden_size * size + full
    per_token = checkpointed if recipe.gradient_checkpointing else text.num_hidden_layers * full
    return (weights + trained * 12 + tokens * per_token) / GIB
