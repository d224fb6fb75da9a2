"""The map as a component of the page, and as a page of its own that needs nothing else."""

import html
from functools import cache
from importlib.metadata import version
from pathlib import Path

import gradio as gr
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

PLOTLY = f"plotly-{version('plotly')}.min.js"  # a new version is a new address: browsers may keep it for good
TEMPLATE = """
<div class="map-tools">
  <input class="map-search" type="search" list="map-names" placeholder="Find a category ..."
    aria-label="Find a category">
  <datalist id="map-names" class="map-names"></datalist>
  <span class="map-status" role="status"></span>
  <button class="map-png" type="button">PNG</button>
  <button class="map-svg" type="button">SVG</button>
</div>
<div class="map-tween" hidden>
  <button class="map-play" type="button">Play</button> before
  <input class="map-slider" type="range" min="0" max="1" step="0.01" value="0" aria-label="From before to after"> after
</div>
<div class="map-plot"></div>
<div class="map-legend" role="group" aria-label="Colours"></div>
<div class="map-tip" hidden></div>
"""
CSS = """
position: relative;
.map-tools, .map-tween { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: .25rem 0 }
.map-tween[hidden] { display: none }
.map-search { flex: 1 1 12rem; max-width: 24rem }
.map-slider { flex: 1 1 8rem; max-width: 24rem }
.map-status { flex: 1 1 6rem; font-size: .85em; opacity: .8 }
input.map-search, button {
  font: inherit; font-size: .9em; color: inherit; background: transparent; padding: .25rem .6rem;
  border: 1px solid var(--border-color-primary, #ccc); border-radius: 6px
}
button { cursor: pointer }
button:hover, button:focus-visible { border-color: currentColor }
.map-plot { width: 100%; min-height: 360px; overflow: hidden }
.map-legend { display: flex; flex-wrap: wrap; gap: .25rem; max-height: 8.5rem; overflow-y: auto; margin-top: .25rem }
.map-legend button { display: inline-flex; align-items: center; gap: .35rem; font-size: .8em; padding: .1rem .5rem }
.map-legend button::before { content: ""; width: .75em; height: .75em; border-radius: 50%; background: var(--colour) }
.map-legend button[aria-pressed=true] { border-color: currentColor; font-weight: 600 }
.map-tip {
  position: absolute; z-index: 10; pointer-events: none; max-width: 14rem; padding: .4rem; border-radius: 6px;
  display: flex; flex-direction: column; gap: .2rem; font-size: .85em; overflow-wrap: anywhere;
  background: var(--background-fill-primary, #fff); color: var(--body-text-color, #222);
  border: 1px solid var(--border-color-primary, #ccc); box-shadow: 0 2px 8px rgb(0 0 0 / 25%)
}
.map-tip[hidden] { display: none }
.map-tip img { max-width: 96px; border-radius: 4px; margin: 0 }
"""
HEAD = f"""<script>
window.loadPlotly = () => window.plotlyLoading ??= new Promise((done, failed) => {{
  const script = document.createElement('script');
  Object.assign(script, {{src: '{PLOTLY}', onload: done, onerror: failed}});
  document.head.append(script);
}});
setTimeout(window.loadPlotly, 1500);
</script>"""  # of the whole page: read while nobody waits for it, since that takes seconds on a slow machine
ON_PAGE = """
const loading = window.loadPlotly();
const view = mapView(element, trigger);
const show = () => loading.then(() => view.show(props.map));
view.pictures(props.thumbnails);
watch('map', show);
watch('thumbnails', () => view.pictures(props.thumbnails));
show();
"""
ALONE = """
const text = (id) => document.getElementById(id).textContent;
const view = mapView(document.getElementById('map'), () => {});
view.pictures(text('thumbnails'));
view.show(text('data'));
"""
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"


@cache
def _plotly_path() -> Path:
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


@cache
def _script() -> str:
    return Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def component() -> gr.HTML:
    """An empty map, for a page with `HEAD` and `route`. Its props `map` and `thumbnails` are JSON texts.

    Its event `pick` tells the panel and index of one point, `choose` the panel and indices of those in a box or lasso.
    """
    return gr.HTML(
        html_template=TEMPLATE,
        css_template=CSS,
        js_on_load=_script() + ON_PAGE,
        apply_default_css=False,
        elem_id="map",
        map="",
        thumbnails="",
    )


def route() -> Route:
    """Where the page finds Plotly's script, which comes with the installed package: never on another host."""

    def send(_: Request) -> FileResponse:
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return FileResponse(_plotly_path(), media_type="text/javascript", headers=headers)

    return Route(f"/{PLOTLY}", send)


def standalone(title: str, note: str, map_text: str, thumbnails: str) -> str:
    """The map as one HTML page, Plotly included, that loads nothing (its Content-Security-Policy)."""
    data = {"data": map_text or "{}", "thumbnails": thumbnails or "[]"}
    # "<" could end the element that holds the data; within JSON it may be written as an escape
    stored = "".join(
        f'<script type="application/json" id="{name}">{text.replace("<", chr(92) + "u003c")}</script>\n'
        for name, text in data.items()
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
        f"<style>body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1rem; color: #222 }}\n#map {{ {CSS} }}</style>"
        f"<script>{_plotly_path().read_text(encoding='utf-8')}</script></head>\n"
        f"<body><h1>{html.escape(title)}</h1><p>{html.escape(note)}</p>\n"
        f'<div id="map">{TEMPLATE}</div>\n{stored}<script>{_script()}{ALONE}</script></body></html>\n'
    )
