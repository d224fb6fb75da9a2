import gradio as gr
import pytest

from core.errors import UserError
from demo.components.errors import on_page


def test_a_message_is_inert_on_the_page_and_plain_for_a_client_of_the_api():
    with pytest.raises(gr.Error) as raised, on_page():
        raise UserError("""Unknown super-category '<img src=x onerror="hit()">': choose one of bird, dog.""")
    assert raised.value.message == (
        """Unknown super-category '&lt;img src=x onerror="hit()"&gt;': choose one of bird, dog."""
    )
