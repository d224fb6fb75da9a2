from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from reduced_models import save_reduced

from core.errors import UserError
from core.models.scoring import answer_log_likelihoods
from core.zoo import registry
from core.zoo.question_models import describe, open_model

WITH_NAMES = {"closed_answer": "letter and name"}


def test_a_model_that_thinks_first_has_its_own_limit():
    name, entry = next((name, entry) for name, entry in registry.zoo().items() if entry.row.reply_tokens > 10)
    about = describe(name)
    assert (about.reply_tokens, about.remote, about.seen) == (entry.row.reply_tokens, False, None)
    assert about.weights.startswith(f"{entry.hub.repository}@")


def test_a_checkpoint_is_told_by_its_manifest_and_knows_what_it_has_seen():
    about = describe(registry.DEFAULT)
    assert (len(about.weights), about.reply_tokens, about.remote) == (16, 10, False)
    assert about.seen
    with pytest.raises(UserError, match="no model 'nope'"):
        describe("nope")


def test_a_model_behind_an_endpoint_needs_an_address(monkeypatch):
    for name in ("MODEL", "BASE_URL", "API_KEY"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
    with pytest.raises(UserError, match="endpoint:m has no address: set OPENAI_BASE_URL"):
        describe("endpoint:m")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    about = describe("endpoint:m")
    assert (about.weights, about.reply_tokens, about.remote) == ("m at 127.0.0.1:1", 10, True)


@pytest.mark.parametrize(("family", "writes"), [("internvl", True), ("siglip", False)])
def test_a_folder_of_any_family_answers(family, writes, tmp_path):
    name = str(save_reduced(family, tmp_path / family))
    about = describe(name)
    assert (len(about.weights), about.reply_tokens, about.seen) == (16, 10, None)
    model, photo = open_model(name), Image.effect_noise((80, 60), 90).convert("RGB")
    assert isinstance(model.ask(photo, "What is it?", 3), str) == writes
    names = model.name_scores(photo, "What is it?", ["a crow", "a wren"])
    assert names.shape == (2,)
    replies = model.reply_scores(photo, "What is it?", ["a crow", "a wren"])
    assert replies is None if family == "siglip" else torch.equal(replies, names)


@pytest.mark.parametrize(("training", "replies"), [({}, ["a crow", "a wren"]), (WITH_NAMES, ["A. a crow", "B. a wren"])])
def test_a_checkpoint_scores_options_as_it_was_trained_to_answer(training, replies, recogniser, monkeypatch):
    manifest = SimpleNamespace(training=training)
    monkeypatch.setattr("core.models.checkpoint.read_manifest", lambda folder: manifest)
    monkeypatch.setattr("core.zoo.question_models.load_recogniser", lambda name: recogniser)
    monkeypatch.setattr("core.models.checkpoint.merge_adapter", lambda mllm: None)
    model, photo = open_model(registry.DEFAULT), Image.effect_noise((80, 60), 90).convert("RGB")
    tokens, prompt = recogniser.encode(photo).tokens, recogniser.mllm.question_ids("Which?")
    direct = answer_log_likelihoods(recogniser.mllm, prompt, tokens, replies)
    torch.testing.assert_close(model.reply_scores(photo, "Which?", ["a crow", "a wren"]), direct)


def test_a_row_with_a_server_of_its_own_is_not_opened_here():
    name, entry = next((name, entry) for name, entry in registry.zoo().items() if entry.row.server)
    for given in (name, f"hf:{entry.hub.repository}"):
        for ask in (describe, open_model):
            with pytest.raises(UserError, match=f"{given}: It needs a server of its own: start "):
                ask(given)


def test_a_folder_is_told_by_every_file_of_it(tmp_path):
    seen = set()
    for name, text in (("config.json", "{}"), ("chat_template.jinja", "a"), ("chat_template.jinja", "b")):
        (tmp_path / name).write_text(text)
        seen.add(describe(str(tmp_path)).weights)
    assert len(seen) == 3
