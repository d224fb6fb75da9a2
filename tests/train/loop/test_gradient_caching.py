"""Stage I in chunks: the same gradients in the memory of a chunk."""

import gc
import weakref

import pytest
import torch
from small_training import gradients, plain_recipe

from train.data.collator import Collator
from train.loop.stages import StageTrainer
from train.loop.trainable import add_adapter, set_trainable
from train.objectives.stage_model import StageModel

TOLERANCE = 1e-4  # of the largest gradient: norms and embeddings round to float32 (6e-8), amplified by 1/temperature


@pytest.mark.parametrize("memory", [False, True])
def test_chunks_have_the_loss_and_the_gradients_of_the_whole(reduced, reduced_idefics2, pictures, tmp_path, memory):
    recipe = plain_recipe(reduced_idefics2, learned_temperature=True, anchor=True)
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
        mllm.model.double()  # but for norms and embeddings, no order of summing matters
        model, collator = StageModel("align", mllm, pictures, chunked), Collator("align", mllm, pictures, chunked)
        trainer = StageTrainer(model, collator, chunked.align, tmp_path / str(chunk))
        trainer.current_gradient_accumulation_steps = 1
        inputs = collator([(0, position) for position in range(6)])
        value = trainer.training_step(model, inputs)
        results.append((value.item(), gradients(model)))
    (loss, whole), (other, parts) = results
    assert other == pytest.approx(loss, rel=TOLERANCE)
    assert parts.keys() == whole.keys()
    assert "temperature.logarithm" in whole
    for name, gradient in whole.items():
        assert torch.allclose(parts[name], gradient, atol=TOLERANCE * gradient.abs().max().item()), name


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
        recipe = plain_recipe(reduced_idefics2, chunk=chunk, hard_negatives=negatives, described_share=0.0)
        mllm = reduced()
        add_adapter(mllm, recipe)
        set_trainable(mllm, recipe, "align")
        collator = Collator("align", mllm, pictures, recipe, distinct=False)
        model = StageModel("align", mllm, pictures, recipe)
        trainer = StageTrainer(model, collator, recipe.align, tmp_path / f"{chunk}-{negatives}")
        trainer.current_gradient_accumulation_steps = 1
        inputs = collator([(0, position) for position in range(6)])
        return peak_of_saved_tensors(lambda: trainer.training_step(model, inputs)), len(inputs["batch"].texts)

    (few, texts), (many, more_texts) = peak(2, 1), peak(2, 4)
    assert more_texts > 2 * texts
    assert many < 1.05 * few
    assert peak(0, 4)[0] > 1.25 * peak(0, 1)[0]  # without chunks it does
