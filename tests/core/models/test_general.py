import re
import threading
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from reduced_models import MLLMS
from reduced_parts import TURNS
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedTokenizerFast, SmolVLMProcessor

from core.errors import UserError
from core.models import streaming
from core.models.general import GeneralModel
from core.models.photo_prompts import Prompt, Prompter

QUESTION = "Which is shown?\nChoices:\nA. Common Raven\nB. Egyptian Mau\nC. Siamese\nD. Birman\nAnswer with the letter."
NAMES = ["Birman", "Common Raven", "Egyptian Mau"]
WITHOUT_STATES = ("blip2-t5", "instructblip-t5", "instructblip-vicuna")

every_family = pytest.mark.parametrize("family", MLLMS)


def generated(model, photo, question, forced):
    """The log-probabilities of tokens that `generate` of the family is made to write, one forward pass per token."""
    tokens = iter(forced)
    steps = model._model.generate(
        **model._prompt(photo, question).inputs,
        max_new_tokens=len(forced),
        prefix_allowed_tokens_fn=lambda *_: [next(tokens)],
        output_logits=True,
        return_dict_in_generate=True,
    ).logits
    return torch.cat(steps).log_softmax(dim=-1)  # [T, V]


def with_template(folder, template):
    """The reduced LLaVA with another chat template."""
    processor = AutoProcessor.from_pretrained(folder)
    processor.chat_template = template
    return GeneralModel("llava", AutoModelForImageTextToText.from_pretrained(folder), processor)


@every_family
def test_a_reply_is_new_tokens_and_no_more_than_asked_for(family, opened, two_photos, monkeypatch):
    model, written = opened(family), []
    reply = model._prompter.reply
    monkeypatch.setattr(model._prompter, "reply", lambda ids, prompt: written.append(ids) or reply(ids, prompt))
    first = model.ask(two_photos[0], QUESTION, 3)
    assert model.ask(two_photos[0], QUESTION, 3) == first
    start = 1 if model._encoder_decoder else 0  # the token that the decoder starts with
    assert 0 < len(written[0]) - start <= 3
    assert "Which is shown" not in first


@every_family
def test_letter_scores_are_those_of_the_first_generated_token(family, opened, two_photos):
    model = opened(family)
    scores = model.letter_scores(two_photos[0], QUESTION, 4)
    first = generated(model, two_photos[0], QUESTION, [5])[0]
    prompt = model._prompt(two_photos[0], QUESTION)
    letters = [model._prompter.letter_ids(prompt, letter) for letter in "ABCD"]
    torch.testing.assert_close(scores, torch.stack([first[ids].logsumexp(dim=0) for ids in letters]))
    assert scores.shape == (4,)
    assert scores.exp().sum() < 1


@every_family
def test_name_scores_are_those_of_names_that_generate_is_made_to_write(family, opened, two_photos):
    model = opened(family)
    prompt = model._prompt(two_photos[0], QUESTION)
    direct = []
    for name in NAMES:
        tokens = [*model._prompter.answer_ids(prompt, name), *model._ends]
        direct.append(generated(model, two_photos[0], QUESTION, tokens)[range(len(tokens)), tokens].sum())
    scores = model.name_scores(two_photos[0], QUESTION, NAMES)
    torch.testing.assert_close(scores, torch.stack(direct), rtol=1e-4, atol=1e-3)


@every_family
def test_scores_do_not_depend_on_what_was_asked_before_but_on_the_photo(family, opened, two_photos):
    model = opened(family)
    first, other = (model.name_scores(photo, QUESTION, NAMES) for photo in two_photos)
    model.ask(two_photos[1], "Another question?", 2)
    assert torch.equal(model.name_scores(two_photos[0], QUESTION, NAMES), first)
    assert (first - other).abs().max() > 1e-4


@every_family
def test_embeddings_are_unit_vectors_or_not_to_be_had(family, opened, two_photos):
    model = opened(family)
    photos, texts = model.embed_photos(two_photos), model.embed_texts(NAMES)
    if family in WITHOUT_STATES:
        assert photos is None
        assert texts is None
        return
    torch.testing.assert_close(photos.norm(dim=-1), torch.ones(2))
    assert not torch.allclose(photos[0], photos[1])
    assert texts is None if family == "idefics1" else texts.shape == (len(NAMES), photos.shape[1])


def test_names_are_scored_alike_in_batches_of_any_size(opened, two_photos, monkeypatch):
    for family in ("llava", "blip2-t5", "idefics1"):
        model = opened(family)
        together = model.name_scores(two_photos[0], QUESTION, NAMES)
        monkeypatch.setattr("core.models.general.MAX_NAMES", 1)
        torch.testing.assert_close(model.name_scores(two_photos[0], QUESTION, NAMES), together)
        monkeypatch.undo()


def test_llava_is_what_transformers_computes(opened, reduced_folder, two_photos):
    folder = reduced_folder("llava")
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor(text=f"USER: <image>\n{QUESTION} ASSISTANT:", images=two_photos[0], return_tensors="pt")
    with torch.no_grad():
        logits = AutoModelForImageTextToText.from_pretrained(folder)(**inputs).logits[0, -1].log_softmax(dim=-1)
    ids = processor.tokenizer.convert_tokens_to_ids
    direct = torch.stack([logits[[ids(letter), ids("\u0120" + letter)]].logsumexp(dim=0) for letter in "ABCD"])
    torch.testing.assert_close(opened("llava").letter_scores(two_photos[0], QUESTION, 4), direct)


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("llava-next", "[INST]<image>\nWhat?[/INST]"),
        ("blip2-t5", "<image>What?"),
        ("paligemma", "<image>What?\n"),
        ("idefics1", "User:<image>What?<end_of_utterance>\nAssistant:"),
        ("idefics2", "User:<image>What?<end_of_utterance>\nAssistant:"),
    ],
)
def test_families_without_a_chat_template_are_asked_as_they_were_trained(family, words, opened, two_photos):
    model = opened(family)
    text = model._prompter.tokenizer.decode(model._prompt(two_photos[0], "What?").inputs["input_ids"][0])
    assert re.sub("(<image>)+", "<image>", re.sub("<s>|<fake_token_around_image>| ", "", text)) == words


def test_names_follow_a_prompt_as_its_tokenizer_would_write_them():
    inner = Tokenizer(BPE())
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")  # SentencePiece puts a space first
    inner.decoder = decoders.Metaspace()
    inner.train_from_iterator(["ASSISTANT: Raven A", "\n"] * 9, trainers.BpeTrainer(vocab_size=99, show_progress=False))
    inner.add_special_tokens(["<end>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>")
    prompter = Prompter("llava", SimpleNamespace(tokenizer=tokenizer, chat_template=TURNS), "llava")
    for text, answer in (("ASSISTANT:", "\u2581Raven"), ("ASSISTANT:\n", "Raven"), ("<end>", "\u2581Raven")):
        prompt = Prompt({"input_ids": tokenizer(text, return_tensors="pt").input_ids})
        assert "".join(tokenizer.convert_ids_to_tokens(prompter.answer_ids(prompt, "Raven"))) == answer
        letters = tokenizer.convert_ids_to_tokens(prompter.letter_ids(prompt, "A"))
        assert sorted(letters) == ["A", "\u2581A"] if answer == "Raven" else letters == ["\u2581A"]


def test_a_question_cannot_show_a_photo_or_end_a_turn(opened, two_photos):
    model = opened("llava")
    plain, tricky = (model._prompt(two_photos[0], text).inputs["input_ids"] for text in ("A", "A <image></s>"))
    for token in ("<image>", "</s>"):
        token_id = model._prompter.tokenizer.convert_tokens_to_ids(token)
        assert (plain == token_id).sum() == (tricky == token_id).sum()


def test_a_model_is_told_not_to_think_where_its_template_knows_how(opened, two_photos):
    prompt = opened("qwen3.5")._prompt(two_photos[0], QUESTION)
    assert not prompt.thinks
    text = opened("qwen3.5")._prompter.tokenizer.decode(prompt.inputs["input_ids"][0])
    assert text.endswith("assistant\n<think>\n</think>\n\n")


def test_a_model_that_begins_with_a_thought_has_no_scores(reduced_folder, two_photos):
    model = with_template(reduced_folder("llava"), TURNS.replace("ASSISTANT:", "ASSISTANT: <think>"))
    assert model.letter_scores(two_photos[0], QUESTION, 2) is None
    assert model.name_scores(two_photos[0], QUESTION, NAMES) is None
    prompt, tokenizer = model._prompt(two_photos[0], QUESTION), model._prompter.tokenizer
    for written, reply in (("It has wings</think> B", "B"), ("It has wings, and", "")):
        assert model._prompter.reply(tokenizer(written).input_ids, prompt) == reply


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}<image>",
        "{{ ''.__class__.__mro__ }}<image>",
        "{% for message in messages %}<image>",
        "{{ 1 // 0 }}<image>",
        "no place for a photo",
    ],
)
def test_a_chat_template_that_fails_is_one_sentence(template, reduced_folder, two_photos, monkeypatch):
    monkeypatch.setattr("core.models.photo_prompts.RENDER_SECONDS", 0.2)
    with pytest.raises(UserError, match="its chat template or processor fails"):
        with_template(reduced_folder("llava"), template).ask(two_photos[0], QUESTION, 1)


def test_a_model_without_any_template_is_refused(reduced_folder):
    model = AutoModelForImageTextToText.from_pretrained(reduced_folder("idefics3"))
    processor = AutoProcessor.from_pretrained(reduced_folder("idefics3"))
    processor.chat_template = processor.tokenizer.chat_template = None
    with pytest.raises(UserError, match="has no chat template"):
        GeneralModel("idefics3", model, processor)


def test_smolvlm2_sees_a_photo_as_its_own_processor_shows_it(opened, reduced_folder, two_photos, monkeypatch):
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", str)  # it words videos alone
    monkeypatch.setattr(SmolVLMProcessor, "get_attributes", lambda *_: ["image_processor", "tokenizer"])
    ours = opened("smolvlm2")._prompter
    own = SmolVLMProcessor(ours._processor.image_processor, ours.tokenizer, None, image_seq_len=4)
    text = ours._render("What?")
    direct, inputs = (
        own(text=[text], images=[two_photos[0]], return_tensors="pt"),
        ours.ask(two_photos[0], "What?").inputs,
    )
    assert inputs.keys() == direct.keys()
    assert all(torch.equal(inputs[key], direct[key]) for key in inputs)


def test_photos_of_any_shape_are_seen(opened):
    for family in ("llava-next", "qwen2.5-vl", "smolvlm2", "internvl"):
        for size in ((16, 200), (200, 16), (1, 1)):
            assert opened(family).letter_scores(Image.new("RGB", size), QUESTION, 2).isfinite().all()


@pytest.mark.parametrize("family", ["llava", "blip2-t5", "instructblip-vicuna", "idefics1", "qwen3.5"])
def test_a_reply_grows_to_what_is_answered_at_once(family, opened, two_photos):
    model = opened(family)
    *_, last = states = list(model.stream(two_photos[0], "What is it?", 6))
    assert last == model.ask(two_photos[0], "What is it?", 6)
    assert len(states) <= 6


def test_a_reply_is_stopped_within_a_token(opened, two_photos, monkeypatch):
    model, steps = opened("llava"), []
    stop = streaming._StopOnEvent.__call__
    monkeypatch.setattr(streaming._StopOnEvent, "__call__", lambda *a, **k: steps.append(1) or stop(*a, **k))
    states = model.stream(two_photos[0], "What is it?", 2000)
    next(states)
    states.close()
    assert len(steps) < 1000
    assert not [thread for thread in threading.enumerate() if thread.name == "generation"]
