"""The panel in which a session can set an OpenAI-compatible endpoint."""

import gradio as gr

from core.errors import UserError
from core.models.openai_endpoint import OPENAI, Endpoint, EndpointSettings
from demo.components.errors import on_page
from demo.components.loopback import is_private

NOT_HERE = (
    "An address can be given only on a page that is served to its own machine alone: here, whoever runs the app sets "
    "OPENAI_BASE_URL and OPENAI_MODEL."
)
ABOUT = (
    "Any server with an OpenAI-compatible API: the photo is sent there. What is entered here is kept only in this "
    "session's memory."
)


class EndpointPanel:
    """The panel, laid out inside the current `gr.Blocks`, `page`; the state `settings` has the `EndpointSettings`."""

    def __init__(self, page: gr.Blocks) -> None:
        self._page = page
        self.settings = gr.State(None)
        with gr.Accordion("Endpoint", open=False):
            gr.Markdown(ABOUT, elem_classes="note")
            self.address = gr.Textbox(label="Address", placeholder=OPENAI, max_lines=1)
            self.model = gr.Textbox(label="Name of the model there", max_lines=1)
            self.key = gr.Textbox(label="API key", type="password", max_lines=1)
            self.button = gr.Button("Use this endpoint", elem_id="use-endpoint")
            self.in_use = gr.Textbox(label="In use", interactive=False, elem_id="endpoint-in-use")
        self.button.click(  # queued: the page shows no error of an event outside the queue
            self.use,
            {self.address, self.model, self.key},
            [self.settings, self.key, self.in_use],
            api_visibility="private",
            show_progress="hidden",
        )

    def use(self, values: dict, request: gr.Request) -> dict:
        """Check what was entered, and use it in this session; the key is cleared from the page."""
        with on_page():
            # Otherwise, a remote visitor could make this machine fetch addresses that only it can reach.
            if not is_private(self._page, request):
                raise UserError(NOT_HERE)
            address, model, key = (values[field].strip() for field in (self.address, self.model, self.key))
            settings = EndpointSettings(model=model, base_url=address or OPENAI, key=key)
            return {self.settings: settings, self.key: "", self.in_use: Endpoint(settings).name}
