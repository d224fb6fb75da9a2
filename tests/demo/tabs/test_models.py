import threading
import time

import gradio as gr
import pytest

from core.errors import UserError
from core.zoo.registry import zoo
from demo.components import models as components
from demo.tabs import models as models_tab
from demo.tabs.models import HEADERS, loading


@pytest.fixture
def models(monkeypatch):
    """Models whose loading takes the steps of `released`, one at a time."""
    models = components.ModelPool()
    models.released, models.given_up = threading.Event(), threading.Event()

    def load(name, progress):
        if name == "broken":
            raise UserError("It is broken.")
        progress("Reading weights")
        assert models.released.wait(10)
        try:
            progress("Embedding names")
        except UserError:
            models.given_up.set()
            raise

        class Loaded:
            def label_space(self, *_):
                return None

        return Loaded()

    monkeypatch.setattr(components, "load_listed", load)
    monkeypatch.setattr(models_tab, "POLL_SECONDS", 0.01)
    return models


def test_loading_tells_what_it_does_and_for_how_long(models):
    lines = []
    for line in loading(models, "large"):
        lines.append(line)
        if line.startswith("Reading weights ... "):
            models.released.set()
    assert lines[-1].endswith(" s")
    assert "large" in models


def test_who_stops_waits_for_nothing_and_the_model_is_given_up(models):
    lines = loading(models, "large")
    while not next(lines).startswith("Reading"):
        time.sleep(0.01)
    lines.close()  # returns at once, although the weights are still being read
    assert "large" not in models
    models.released.set()
    assert models.given_up.wait(10)
    models.prepare("other", None, None)  # the lock is free again
    assert "large" not in models


def test_a_model_that_cannot_be_loaded_says_so(models):
    with pytest.raises(UserError, match="It is broken"):
        list(loading(models, "broken"))


def test_the_table_says_of_every_model_whether_it_can_run_and_how_to_get_it(models, monkeypatch):
    monkeypatch.setattr(models_tab, "availability", lambda entry: f"state of {entry.name}")
    models._loaded["idefics2-tiny"] = object()
    with gr.Blocks() as page:
        tab = models_tab.ModelsTab(models, gr.Tab(), page)
    rows = {row[0]: dict(zip(HEADERS, row, strict=True)) for row in tab.rows()}
    assert list(rows) == list(zoo())
    assert rows["finedefics-tiny"]["state"] == "state of finedefics-tiny"
    assert rows["idefics2-tiny"]["state"] == "ready, loaded"
    assert rows["idefics2-8b"]["licence"] == "Apache-2.0"
    assert rows["gemma-3n-e2b"]["licence"] == "gemma (not verified)"
    assert rows["gemma-3n-e2b"]["needs"] == "timm"
    assert rows["phi-3-vision"]["how to get it"].startswith("pip install vllm==0.23.0 && vllm serve microsoft/")
    assert rows["llava-1.5-7b"]["route"] == "asked questions, in every tab"
    assert [name for _, name in tab.name.choices] == [name for name, entry in zoo().items() if entry.on_pages]
    assert rows["idefics2-8b"]["how to get it"].startswith(".venv/bin/python -m core download HuggingFaceM4/")
