"""Settings that the events of several tabs share, to be passed to Gradio as keyword arguments."""

from typing import Any

PRIVATE: Any = {"api_visibility": "private", "show_progress": "hidden"}  # not part of the HTTP API
FRESH: Any = {**PRIVATE, "queue": False}  # what a page does when it is opened
# Events that compute with a model run one at a time. Their inputs arrive as the browser sends them: Gradio opens no
# file, so that only `core` ever parses an upload.
HEAVY: Any = {"concurrency_id": "model", "concurrency_limit": 1, "preprocess": False}
