"""The committed checkpoint on photos that come with installed packages."""

import time

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as pictures

from core.errors import UserError
from core.models import streaming
from core.models.scoring import log_probabilities
from core.taxonomy.categories import super_categories
from core.taxonomy.prompts import closed_question


@pytest.fixture(scope="module")
def cat():
    return Image.fromarray(pictures.chelsea())


@pytest.fixture(scope="module")
def identified(recogniser, cat):
    return recogniser.identify(cat)


def test_an_identification_is_complete(identified):
    assert identified.model == "finedefics-tiny"
    assert len(identified.species) == 5
    probabilities = [species.probability for species in identified.species]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1 + 1e-5
    assert identified.answer
    assert identified.description
    assert set(identified.seconds) == {"species", "answer", "attributes"}


def test_a_cat_is_recognised_as_one_with_its_attributes(recogniser, identified, cat):
    breeds = recogniser.label_space(super_category="cat").labels
    assert identified.species[0].name in breeds
    assert tuple(identified.attributes) == super_categories()["cat"].attributes


def test_species_come_first_and_words_follow(recogniser, cat):
    steps = list(recogniser.stream(cat))
    assert steps[0].species
    assert not steps[0].answer
    assert not steps[0].description
    assert len(steps) > 10
    assert [len(s.description) for s in steps] == sorted(len(s.description) for s in steps)


def test_the_same_photo_gives_the_same_answer(recogniser, identified, cat):
    again = recogniser.identify(cat)
    assert again.as_dict("x") | {"seconds": 0} == identified.as_dict("x") | {"seconds": 0}


def test_closing_the_stream_stops_the_work(recogniser, cat, monkeypatch):
    steps = []
    stop = streaming._StopOnEvent.__call__
    monkeypatch.setattr(streaming._StopOnEvent, "__call__", lambda *a, **k: steps.append(1) or stop(*a, **k))
    tokens = recogniser.mllm.image_tokens(recogniser.mllm.vision_features([cat]))
    pieces = recogniser.writer.stream("Count to a thousand.", tokens, 1000, "one two three four")
    next(pieces)
    pieces.close()
    done = len(steps)
    time.sleep(0.5)
    assert len(steps) == done < 500


@pytest.mark.parametrize("kind", ["noise", "white", "black", "grey"])
def test_pictures_of_nothing_are_unknown(recogniser, kind):
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype="uint8")
    shade = {"white": 255, "black": 0, "grey": 127}
    photo = Image.fromarray(noise) if kind == "noise" else Image.new("RGB", (300, 300), (shade[kind],) * 3)
    space = recogniser.label_space()
    assert not recogniser.knows(recogniser.compare(recogniser.encode(photo), space))


def test_typed_names_are_the_only_choice(recogniser, cat):
    space = recogniser.label_space(["garden gnome", "tabby house cat", "<image> <|im_end|>"])
    names = {species.name for species in recogniser.identify(cat, space).species}
    assert names == {"garden gnome", "tabby house cat", "<image> <|im end|>"}  # underscores are spaces


def test_spellings_of_one_category_are_one_choice(recogniser):
    space = recogniser.label_space(["cedar_waxwing", "Cedar Waxwing", "Crow", "crow"])
    assert space.labels == ["cedar waxwing", "Crow"]
    assert space.categories == ["Cedar Waxwing", "Crow"]


@pytest.mark.parametrize("labels", [[], ["crow"], ["crow", "crow", " "]])
def test_one_name_is_no_choice(recogniser, labels):
    with pytest.raises(UserError, match="at least two"):
        recogniser.label_space(labels)


def test_too_many_names_are_refused(recogniser):
    with pytest.raises(UserError, match="limit is 2000"):
        recogniser.label_space([f"name {i}" for i in range(2_001)])


def test_a_very_long_name_is_refused(recogniser):
    with pytest.raises(UserError, match="longer than 100 characters"):
        recogniser.label_space(["crow", "x" * 101])


@pytest.mark.parametrize("name", ["a\x1b[31mX", "\ud800", "b\x07"])
def test_characters_that_a_terminal_obeys_are_refused(recogniser, name):
    with pytest.raises(UserError, match="has characters that cannot be printed"):
        recogniser.label_space([name, "crow"])


def test_too_much_text_is_refused(recogniser):
    with pytest.raises(UserError, match="more than 30000 characters"):
        recogniser.label_space([f"{i} {'x' * 90}" for i in range(400)])


def test_names_of_no_letters_are_left_out(recogniser, cat):
    space = recogniser.label_space(["_", " __ ", "crow", "raven"])
    assert space.labels == ["crow", "raven"]


def test_answers_in_a_batch_are_those_given_one_by_one(recogniser, cat):
    import torch

    tokens = [recogniser.mllm.image_tokens(recogniser.mllm.vision_features([p])) for p in (cat, cat.rotate(90))]
    one_by_one = ["".join(recogniser.writer.stream("What is it?", t, 8)).strip() for t in tokens]
    assert recogniser.writer.answers("What is it?", torch.cat(tokens), 8) == one_by_one


def test_an_unknown_super_category_is_refused(recogniser):
    with pytest.raises(UserError, match="choose one of"):
        recogniser.label_space(super_category="fish")


def test_a_closed_set_answer_is_among_its_options(recogniser, cat):
    space = recogniser.label_space(super_category="cat")
    encoding = recogniser.encode(cat)
    scores = recogniser.score(encoding, space)
    options = [space.labels[i] for i in (0, 3, 5, 7)]
    question = closed_question(space.group, options)
    letters = recogniser.letter_scores(question, len(options), encoding.tokens)
    state = recogniser.mllm.hidden_states([recogniser.mllm.question_ids(question)], encoding.tokens)[0, -1]
    ids = [recogniser.mllm.answer_ids(letter)[0] for letter in "ABCD"]
    torch.testing.assert_close(letters, log_probabilities(recogniser.mllm, state)[ids], rtol=1e-4, atol=1e-4)
    chosen = recogniser.choose(scores, space, options, letters)
    assert chosen.shape == (4,)
    assert chosen.sum().item() == pytest.approx(1, abs=1e-5)


def test_models_that_share_a_tower_see_a_photo_once(recogniser, cat, monkeypatch):
    encoding = recogniser.encode(cat)
    monkeypatch.setattr(recogniser.mllm, "vision_features", lambda *_: pytest.fail("the tower ran again"))
    again = recogniser.encode_features(encoding.vision)
    assert torch.equal(again.embedding, encoding.embedding)
    assert next(recogniser.stream(encoding)).species == next(recogniser.stream(again)).species


def test_a_name_that_is_dropped_is_told_and_signs_tell_names_apart(recogniser, caplog):
    space = recogniser.label_space(["Cep \u2642", "Cep \u2640", "cep \u2642"])
    assert space.labels == ["Cep \u2642", "Cep \u2640"]
    assert "'cep \u2642' (the same name as 'Cep \u2642')" in caplog.text
