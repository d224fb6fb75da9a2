from pathlib import Path

import pytest

from core.errors import UserError
from core.recognition.conclusion import Species
from core.recognition.results import Identification
from demo.components.card import Card
from demo.components.identification import Entry, Run, prepared
from demo.components.models import AUTO

CARD = Card("cat.png", b"", Identification("model", True, [Species("Bengal", 0.95)]))


def test_a_run_lists_what_became_of_each_photo():
    run = Run(3, [Entry(Path("a/cat.png"), None, CARD), Entry(Path("b.txt"), None, error="This is no photo.")])
    assert run.several
    assert run.progress.startswith("2 of 3 photos")
    assert run.choices == [("1. cat.png: Bengal, almost certain (95 %)", 0), ("2. b.txt: This is no photo.", 1)]
    assert not Run(1).several


def test_candidates_of_a_client_may_be_a_list():
    with pytest.raises(UserError, match="no model"):
        prepared(None, ["Bengal", 5], AUTO, None)


def test_names_and_a_kind_exclude_each_other():
    with pytest.raises(UserError, match="either candidate names or a kind"):
        prepared(None, "Bengal\nBirman", "cat", "model")
    with pytest.raises(UserError, match="no model"):
        prepared(None, "", AUTO, None)
