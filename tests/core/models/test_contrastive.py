import pytest
import torch
from transformers import AutoModel, AutoProcessor

from core.models.contrastive import lettered_options

QUESTION = "Which is shown?\nChoices:\nA. Common Raven\nB. Egyptian Mau\nC. Birman\nAnswer with the letter."
NAMES = ["Common Raven", "Egyptian Mau", "Birman"]

both_families = pytest.mark.parametrize("family", ["siglip", "clip"])


@both_families
def test_name_scores_are_the_models_own_logits(family, opened, reduced_folder, two_photos):
    captions = [f"an image of a {name}" for name in NAMES]
    if family == "siglip":
        captions = [caption.lower() for caption in captions]
    padding = {"padding": "max_length", "max_length": 64} if family == "siglip" else {"padding": True}
    inputs = AutoProcessor.from_pretrained(reduced_folder(family))(
        text=captions, images=two_photos[0], return_tensors="pt", **padding
    )
    if family == "siglip":
        inputs.pop("attention_mask")  # the tokenizers of SigLIP give none
    with torch.no_grad():
        direct = AutoModel.from_pretrained(reduced_folder(family))(**inputs).logits_per_image[0]
    scores = opened(family).name_scores(two_photos[0], QUESTION, NAMES)
    torch.testing.assert_close(scores, direct)
    one_by_one = [opened(family).name_scores(two_photos[0], QUESTION, [name]) for name in NAMES]
    torch.testing.assert_close(scores, torch.cat(one_by_one), rtol=1e-4, atol=1e-5)


def test_captions_are_read_once(opened, two_photos, monkeypatch):
    model, read = opened("siglip"), []
    text_features = model.text_features
    monkeypatch.setattr(model, "text_features", lambda texts: read.append(len(texts)) or text_features(texts))
    monkeypatch.setattr("core.models.contrastive.MAX_CAPTIONS", 4)
    monkeypatch.setattr(model, "_captions", {})
    scores = model.name_scores(two_photos[0], QUESTION, NAMES)
    torch.testing.assert_close(model.name_scores(two_photos[0], QUESTION, NAMES[::-1]), scores.flip(0))
    model.name_scores(two_photos[1], QUESTION, [*NAMES, "Siamese"])
    assert read == [3, 1]
    model.name_scores(two_photos[0], QUESTION, ["a crow", NAMES[0]])  # more than are kept
    assert read == [3, 1, 2]


@both_families
def test_letters_are_those_of_the_options_in_the_question(family, opened, two_photos):
    model = opened(family)
    letters = model.letter_scores(two_photos[0], QUESTION, 3)
    torch.testing.assert_close(letters, model.name_scores(two_photos[0], QUESTION, NAMES).log_softmax(dim=0))
    assert model.letter_scores(two_photos[0], QUESTION, 4) is None
    assert model.letter_scores(two_photos[0], "What is it?", 2) is None


@both_families
def test_it_cannot_write(family, opened, two_photos):
    assert opened(family).ask(two_photos[0], QUESTION, 5) is None


@both_families
def test_features_are_unit_vectors_that_depend_on_the_photo_and_not_on_the_batch(family, opened, two_photos):
    model = opened(family)
    both, first = model.photo_features(two_photos), model.photo_features(two_photos[:1])
    for together, alone in ((both.pooled, first.pooled), (both.average, first.average)):
        torch.testing.assert_close(together.norm(dim=-1), torch.ones(2))
        torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
        assert (together[0] - together[1]).abs().max() > 1e-4


@both_families
def test_texts_may_be_longer_than_the_model_reads(family, opened):
    features = opened(family).text_features(["black feathers " * 200, "a cat"])
    assert features.pooled.shape[0] == features.average.shape[0] == 2
    assert features.pooled.isfinite().all()


def test_options_are_found_only_where_they_are_listed_in_order():
    assert lettered_options(QUESTION) == NAMES
    assert lettered_options("Which is it?\nA. Cat\nC. Dog") == []
    assert lettered_options("A. is the first letter") == []
