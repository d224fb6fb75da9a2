import pytest

from core.errors import UserError
from core.zoo import registry
from core.zoo.question_models import describe

ROW = """
thinker:
  hub: {repository: owner/thinker, revision: abc, licence: MIT, download: 1.0, memory: {bf16: 2.0}}
  reply_tokens: 512
"""


def test_a_model_that_thinks_first_has_its_own_limit(tmp_path, monkeypatch):
    (tmp_path / "models.yaml").write_text(ROW)
    monkeypatch.setattr(registry, "ASSETS", tmp_path)
    about = describe("thinker")
    assert (about.weights, about.reply_tokens, about.remote, about.seen) == ("owner/thinker@abc", 512, False, None)


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
