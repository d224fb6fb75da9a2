"""The layout of the Alignment tab and its place on the page."""

from dataclasses import fields

import gradio as gr

from demo.alignment.request import MapRequest
from demo.components.models import ModelPool
from demo.tabs.alignment import AlignmentTab


def test_the_page_has_the_tab():
    from demo.page import build

    tabs = [block.label for block in build().blocks.values() if isinstance(block, gr.Tab)]
    assert tabs.index("Alignment") == tabs.index("Case study") + 1


def test_every_field_of_a_request_has_its_component():
    with gr.Blocks(), gr.Tab() as tab:
        layout = AlignmentTab(ModelPool(), gr.File(), tab)
    assert set(layout.inputs.request) == {field.name for field in fields(MapRequest)}
    labels = {name: component.label for name, component in layout.inputs.request.items()}
    assert (labels["seed"], labels["perplexity"], labels["colour_by"]) == ("Seed", "Perplexity (t-SNE)", "Colour")
