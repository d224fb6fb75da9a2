"""What a run would train on: batches decoded back to text, their lengths, and the memory that they would take."""

from core.models.base_models import open_base
from core.models.vlm import VisionLanguageModel
from train.data.batch import Batch
from train.data.collator import Collator
from train.data.training_set import TrainingSet
from train.data.training_split import TrainingSplit
from train.loop.trainable import add_adapter, dtype_of, set_trainable
from train.recipe import Recipe

SHOWN = 3  # photos, texts and questions of a batch
GIB = 2**30


def preview(split: TrainingSplit, recipe: Recipe) -> str:
    """The first batch of every stage as text, with token counts, and an estimate of the memory needed.

    Nothing is trained or written; cached features are not needed.
    """
    mllm = open_base(recipe.base, recipe.quantised, dtype_of(recipe))
    add_adapter(mllm, recipe)
    data = TrainingSet.build(split.fitted, None, split.descriptions)
    lines = [f"{len(split.fitted)} photos of {len(data.categories)} categories, {len(split.held)} for calibration."]
    for name, stage in recipe.stages().items():
        steps = stage.steps_for(len(split.fitted))
        at_once = stage.photos_at_once or stage.photos
        collator = Collator(name, mllm, data, recipe)
        batch = collator([(0, place) for place in range(at_once)])["batch"]
        lines += ["", f"{name}: {steps} steps of {stage.photos} photos, {at_once} at once", *_described(mllm, batch)]
        trained = sum(p.numel() for p in set_trainable(mllm, recipe, name).values())
        tokens = _tokens_at_once(mllm, batch, recipe, name)
        lines.append(
            f"  {trained / 1e6:.1f} M parameters trained; about {_memory(mllm, trained, tokens, recipe):.1f} GiB"
        )
    return "\n".join(lines)


def _described(mllm: VisionLanguageModel, batch: Batch) -> list[str]:
    lines = [f"  photo: {path}" for path in batch.photos[:SHOWN]]
    lines += [f"  text: {mllm.tokenizer.decode(ids)}" for ids in batch.texts[:SHOWN]]
    for question in batch.questions[:SHOWN]:
        prompt, answer = (mllm.tokenizer.decode(ids) for ids in (question.prompt, question.answer))
        image = mllm.tokenizer.decode([mllm.image_token])
        prompt = prompt.replace(image * mllm.processor.image_seq_len, f"{image} x {mllm.processor.image_seq_len}")
        lines += [f"  {question.kind} question: {prompt!r}", f"  answer (carries the loss): {answer!r}"]
    lengths = {
        "photos": len(batch.photos) * len(mllm.object_ids()),
        "texts": sum(map(len, batch.texts)),
        "questions": sum(len(q.prompt) + len(q.answer) for q in batch.questions),
    }
    told = ", ".join(f"{count} in {what}" for what, count in lengths.items())
    return [*lines, f"  tokens: {told}; {len(batch.texts)} distinct texts, {len(batch.questions)} questions"]


def _tokens_at_once(mllm: VisionLanguageModel, batch: Batch, recipe: Recipe, stage: str) -> int:
    """Tokens, padding included, whose activations are kept at the same time."""
    if stage == "warmup":
        return 0
    photos, texts, asked = len(batch.photos), len(batch.texts), batch.questions
    if stage == "align" and recipe.chunk:
        photos, texts = min(photos, recipe.chunk), min(texts, recipe.chunk)
        asked = [question for question in asked if question.photo < recipe.chunk]
    longest = max((len(ids) for ids in batch.texts), default=0)
    of_text = texts * longest
    of_photos = photos * len(mllm.object_ids()) * (stage == "align")
    of_questions = len(asked) * max((len(q.prompt) + len(q.answer) for q in asked), default=0)
    return max(of_text, of_photos + of_questions) if recipe.chunk else of_text + of_photos + of_questions


def _memory(mllm: VisionLanguageModel, trained: int, tokens: int, recipe: Recipe) -> float:
    """GiB: weights, gradients and AdamW's moments, and per token what a decoder layer keeps for its gradients.

    A layer keeps about 14 hidden and 4 MLP states; with gradient checkpointing its input alone, and one layer in full.
    """
    text = mllm.model.config.text_config
    weights = sum(p.numel() * p.element_size() for p in mllm.model.parameters())
    size = 2 if recipe.quantised else next(mllm.text_model.parameters()).element_size()
    full = (14 * text.hidden_size + 4 * text.intermediate_size) * size
    kept = text.num_hidden_layers * text.hidden_size * size + full
    per_token = kept if recipe.gradient_checkpointing else text.num_hidden_layers * full
    return (weights + trained * 12 + tokens * per_token) / GIB
