"""The fine-tuned vision encoder's own classifier as one more score of the ranking."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from core.models.calibration import SCORES, Calibration, LabelBank
from core.models.scoring import mean_states
from core.recognition.recogniser import Recogniser

NAMES = ["Cedar Waxwing", "Bohemian Waxwing", "Laysan Albatross"]
PHOTO = Image.effect_noise((96, 64), 80).convert("RGB")


@pytest.fixture(scope="module")
def bank(mllm):
    torch.manual_seed(0)
    width, features = mllm.model.config.text_config.hidden_size, mllm.model.config.vision_config.hidden_size
    names, means, classifier = torch.randn(3, width), torch.randn(3, features), torch.randn(3, features + 1)
    return LabelBank(NAMES, names, names, means, mllm.word_ids(NAMES), "name", classifier)


@pytest.fixture(scope="module")
def recogniser(mllm, bank):
    return Recogniser("a", mllm, bank, Calibration(encoder_weight=2.0, likelihood_weight=0.0, candidates=1))


def test_the_score_is_the_classifiers_logit_in_the_order_of_the_labels(recogniser, bank):
    space = recogniser.label_space([NAMES[2], NAMES[0]])
    encoding = recogniser.encode(PHOTO)
    features = torch.cat([mean_states(encoding.vision), torch.ones(len(encoding.image_tokens), 1)], dim=1)
    expected = (features @ bank.classifier.T).mean(dim=0)[[2, 0]]
    scores = recogniser.score(encoding, space)
    torch.testing.assert_close(scores.encoder_logits, expected)
    torch.testing.assert_close(recogniser.logits(scores), 2.0 * expected)
    torch.testing.assert_close(scores.stack()[SCORES.index("encoder")], expected)


@pytest.mark.parametrize("labels", [[NAMES[0], "Somebody's Finch"], ["Apple", "Pear"]])
def test_it_does_not_count_among_names_that_the_encoder_was_not_trained_on(recogniser, labels):
    space = recogniser.label_space(labels)
    assert not recogniser.compare(recogniser.encode(PHOTO), space).encoder_logits.any()


def test_without_a_classifier_there_is_none(mllm, bank):
    recogniser = Recogniser("a", mllm, replace(bank, classifier=None), Calibration())
    assert not recogniser.compare(recogniser.encode(PHOTO), recogniser.label_space()).encoder_logits.any()


def test_likelihoods_are_computed_where_they_count_or_are_asked_for(recogniser, monkeypatch):
    encoding, space = recogniser.encode(PHOTO), recogniser.label_space()
    assert recogniser.score(encoding, space, likelihoods=True).log_likelihood.any()
    monkeypatch.setattr("core.recognition.recogniser.answer_log_likelihoods", lambda *_: pytest.fail("computed"))
    assert not recogniser.score(encoding, space).log_likelihood.any()
