"""Plotly figures of the leaderboard. Names are escaped: Plotly reads markup in text."""

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from core.evaluation.leaderboard import MEASURED, Cell, Line

CHANCE = 25  # per cent, of four options
COLOURS = {False: "#56B4E9", True: "#D55E00"}  # published, measured; by Okabe and Ito
ROW = 26  # pixels a model
MARGIN = {"l": 8, "r": 8, "t": 36, "b": 40}
CLEAR, GREY = "rgba(0,0,0,0)", "#808080"  # to be read on a light page and on a dark one


def bar_chart(lines: Sequence[Line], data_set: str, column: str) -> go.Figure | None:
    """Return the accuracy of each line on one data set, the best on top; None where there is no number."""
    shown = sorted((line for line in lines if data_set in line.cells), key=lambda line: line.cells[data_set].accuracy)
    if not shown:
        return None
    figure = go.Figure()
    for measured, colour in COLOURS.items():
        places = [place for place, line in enumerate(shown) if (line.source == MEASURED) == measured]
        cells = [shown[place].cells[data_set] for place in places]
        figure.add_bar(
            x=[cell.accuracy for cell in cells],
            y=places,
            orientation="h",
            name=MEASURED if measured else "published",
            marker_color=colour,
            error_x={
                "type": "data",
                "array": [cell.standard_error or 0 for cell in cells],
                "color": GREY,
                "visible": measured,
            },
            hovertext=[_hover(cell) for cell in cells],
            hoverinfo="text",
        )
    figure.add_vline(x=CHANCE, line_dash="dot", line_width=1, line_color=GREY)
    figure.update_xaxes(range=[0, 100], title="per cent (dotted: chance)")
    return _finished(figure, shown, f"{data_set}: {column}")


def heat_map(lines: Sequence[Line], columns: Sequence[str], column: str) -> go.Figure | None:
    """Return the accuracies of models by data sets, in the order of the table; None where there is no number."""
    shown = list(reversed(lines))
    if not shown:
        return None
    cells = [[line.cells.get(name) for name in columns] for line in shown]
    figure = go.Figure(
        go.Heatmap(
            z=[[cell.accuracy if cell else None for cell in row] for row in cells],
            x=[html.escape(name) for name in columns],
            text=[[f"{cell.accuracy:.0f}" if cell else "" for cell in row] for row in cells],
            texttemplate="%{text}",
            hovertext=[[_hover(cell) if cell else "" for cell in row] for row in cells],
            hoverinfo="text",
            colorscale="Blues",
            zmin=CHANCE,
            zmax=100,
            showscale=False,
        )
    )
    return _finished(figure, shown, column)


def _finished(figure: go.Figure, shown: Sequence[Line], title: str) -> go.Figure:
    """Label the rows: by number, since two lines may have the same name."""
    labels = [f"{line.model} {line.size}".strip() + (", measured" if line.source == MEASURED else "") for line in shown]
    figure.update_xaxes(showgrid=False, zeroline=False)
    figure.update_yaxes(
        showgrid=False,
        zeroline=False,
        tickvals=list(range(len(shown))),
        ticktext=[html.escape(label) for label in labels],
        automargin=True,
    )
    figure.update_layout(
        title={"text": html.escape(title), "font": {"size": 14}, "x": 0.01, "y": 1, "yanchor": "top", "pad": {"t": 8}},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font_color=GREY,
        height=ROW * len(shown) + 140,
        margin=MARGIN,
        barmode="overlay",
        legend={"orientation": "h", "yanchor": "top", "y": -50 / (ROW * len(shown) + 60)},
        dragmode=False,
    )
    return figure


def _hover(cell: Cell) -> str:
    asked = f", {cell.n} questions, seed {cell.seed}" if cell.source == MEASURED else ""
    return html.escape(f"{cell.model}, {cell.data_set}: {cell.text} % ({cell.source}{asked})")
