"""The page: a header and its tabs."""

import gradio as gr

from core.photos import MAX_BYTES
from demo import identify_tab

TITLE = "Finedefics: what is it, and how can you tell?"
CSS = """
.note { opacity: .75; font-size: .85em }
#photo img { object-fit: contain }
"""


def build() -> gr.Blocks:
    """The whole page, with its queue."""
    models = identify_tab.Models()
    with gr.Blocks(title="Finedefics", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(
            f"# {TITLE}\nBirds, dogs, cats, flowers, cars and aircraft, named down to the species, breed or model."
        )
        with gr.Tab("Identify"):
            identify_tab.build(models)
    return page.queue(max_size=64)


def launch(page: gr.Blocks, host: str, port: int | None, block: bool = True) -> tuple:
    """Serve the page; uploads are limited to the size that `core.photos` accepts."""
    return page.launch(
        server_name=host,
        server_port=port,
        max_file_size=MAX_BYTES,
        prevent_thread_lock=not block,
        show_error=True,
        footer_links=["api"],
        ssr_mode=False,
        theme=gr.themes.Soft(),
        css=CSS,
    )
