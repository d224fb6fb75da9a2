"""The page opens where the environment names a proxy that cannot reach it."""

import os

import gradio as gr

from demo.page import launch


def test_a_proxy_is_not_asked_for_the_pages_own_address(monkeypatch):
    proxies = {
        "http_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "all_proxy": "socks5://127.0.0.1:9",
    }
    for name, address in proxies.items():
        monkeypatch.setenv(name, address)
    monkeypatch.delenv("no_proxy", raising=False)
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Markdown("A page.")
    try:
        _, url, _ = launch(page, "127.0.0.1", None, block=False)
        assert url.startswith("http://127.0.0.1:")
        assert proxies.items() <= os.environ.items()  # kept for what else needs them
    finally:
        page.close()
