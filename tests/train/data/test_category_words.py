import torch
from small_training import small_recipe

from core.models.calibration import LabelBank
from core.recognition.label_space import LabelSpaceBuilder
from train.data.category_words import category_words

NAMES = ["Cedar Waxwing", "Bohemian Waxwing"]


def test_random_words_depend_on_the_seed_and_the_name_alone(reduced, recipe):
    mllm, codes = reduced(), recipe.changed(words="codes")
    words = category_words(mllm, NAMES, codes)
    assert words.shape == (2, mllm.processor.image_seq_len)
    assert torch.equal(category_words(mllm, NAMES[1:], codes), words[1:])
    assert not torch.equal(words[0], words[1])
    assert not torch.equal(category_words(mllm, NAMES, codes.changed(seed=1)), words)
    assert not set(words.flatten().tolist()) & set(mllm.tokenizer.all_special_ids)


def test_a_name_that_training_has_not_seen_has_no_random_words(reduced, reduced_idefics2):
    mllm = reduced()
    words = category_words(mllm, NAMES, small_recipe(reduced_idefics2, words="codes"))
    rows = torch.zeros(2, 32)
    spaces = LabelSpaceBuilder(mllm, LabelBank(NAMES, rows, rows, rows, words, "codes"))
    assert torch.equal(spaces.build(NAMES).words, mllm.word_embeddings(words))
    assert not spaces.build([*NAMES, "Downy Woodpecker"]).words.any()
