"""The Leaderboard tab: published results of the FOCI benchmark beside those measured here, and where models differ."""

from pathlib import Path
from typing import Any

import gradio as gr

from core.errors import UserError
from core.evaluation.foci_answers import FILTERS
from core.evaluation.foci_results import (
    COLUMNS,
    FOCI_RULE,
    GENERATED,
    LIKELIHOOD,
    LOGPROB,
    RANKING,
    ROTATED,
    FociResult,
    result_files,
)
from core.evaluation.leaderboard import FORMATS, MEAN, Line, columns_of, leaderboard
from core.storage.files import write_atomically
from demo.components.downloads import new_download_folder
from demo.components.errors import on_page
from demo.components.events import PRIVATE
from demo.components.markdown import markdown_text
from demo.components.photo_folder import Folder
from demo.leaderboard import questions
from demo.leaderboard.charts import bar_chart, heat_map
from demo.leaderboard.table import HEAD, RUN_HEAD, SOURCES, Selection, run_rows, table

ABOUT = (
    "Per cent of FOCI's questions with four options that are answered correctly, ± standard error; chance is 25. "
    "Published numbers are of the whole official test sets. “(212 of 3669)” behind a measured number: so many of the "
    "test set's questions were asked. The menu ⋮ of a heading sorts."
)
CHOSEN_BY = {  # what the visitor reads of the column that is shown
    GENERATED: "**Generated letter**: the model writes its answer, and the letter is read in it. Most published numbers "
    "are of this kind.",
    FOCI_RULE: "**Generated letter, FOCI's rule**: the first letter of what the model writes counts, whatever it says.",
    LOGPROB: "**Letter by log-probability**: the most probable of A, B, C and D counts. No published number is of this "
    "kind.",
    ROTATED: "**Letter by log-probability, averaged over the four rotations**: every option has every letter once, so "
    "that a preference for a letter cancels out. It costs three more questions a photo; no published number is of this "
    "kind.",
    LIKELIHOOD: "**Likelihood of the names**: the option counts whose name (letter and name where the model was trained "
    "to answer so) is the most probable reply to the question. No published number is of this kind.",
    RANKING: "**Ranking**: the option counts that the model's own ranking of names prefers. These numbers do not "
    "compare with generated letters.",
}
MEASURE = (
    "Nothing was measured here yet: `python -m train evaluate --foci FILE --data FOLDER --model NAME` measures a model."
)
CHOOSE = "Choose two models that answered the same questions."
EXPORTS = {"csv": "leaderboard.csv", "latex": "leaderboard.tex", "markdown": "leaderboard.md"}
TEXT, NUMBER = "170px", "150px"  # widths: in a narrow window the tables scroll
WIDE = 260  # pixels that a control has at least: in a narrow window each has a row of its own
RUN_WIDTHS: Any = [TEXT] * (len(RUN_HEAD) - 1) + ["520px"]
QUESTION_WIDTHS: Any = [TEXT, TEXT, "110px", TEXT, "110px", TEXT]


class LeaderboardTab:
    """The tab, laid out inside the current `gr.Blocks`; the folder `results` is read whenever `tab` is opened.

    `photos` is the folder that may be shown from, if the owner of the machine named one.
    """

    def __init__(self, results: Path, photos: Path | None, tab: gr.Tab) -> None:
        self._results = results
        self._photos = Folder(photos) if photos else None
        self._lay_out()
        self._lay_out_questions()
        self._connect(tab)

    def _lay_out(self) -> None:
        gr.Markdown(ABOUT, elem_classes="note")
        self.status = gr.Markdown(elem_id="leaderboard-status")
        columns = [(label, column) for column, label in COLUMNS.items()]
        self.column = gr.Radio(columns, value=GENERATED, label="Column", elem_id="leaderboard-column")
        with gr.Row():
            self.source = gr.Radio(
                list(SOURCES), value=SOURCES[0], label="Numbers", min_width=WIDE, elem_id="leaderboard-source"
            )
            several: Any = {"multiselect": True, "min_width": WIDE}
            self.models = gr.Dropdown([], label="Models (none: all)", elem_id="leaderboard-models", **several)
            self.sets = gr.Dropdown([], label="Data sets (none: all)", elem_id="leaderboard-sets", **several)
        self.chosen_by = gr.Markdown(CHOSEN_BY[GENERATED], elem_id="leaderboard-chosen-by")
        self.table = gr.Dataframe(
            datatype="str", interactive=False, wrap=True, pinned_columns=1, max_height=900, elem_id="leaderboard"
        )
        with gr.Row():
            self.files = {
                name: gr.DownloadButton(f"Download {label}", elem_id=f"leaderboard-{name}")
                for name, label in (("csv", "CSV"), ("latex", "LaTeX"), ("markdown", "Markdown"))
            }
        self.runs = gr.Dataframe(
            headers=RUN_HEAD,
            datatype="str",
            label="The measured numbers of this column",
            column_widths=RUN_WIDTHS,
            interactive=False,
            wrap=True,
            elem_id="leaderboard-runs",
        )
        self.data_set = gr.Dropdown([MEAN], value=MEAN, label="Bars of", elem_id="leaderboard-data-set")
        self.bars = gr.Plot(show_label=False, elem_id="leaderboard-bars")
        self.heat = gr.Plot(show_label=False, elem_id="leaderboard-heat")

    def _lay_out_questions(self) -> None:
        gr.Markdown("## Where two models differ\nIn the column that is chosen above.")
        with gr.Row():
            self.first = gr.Dropdown([], label="First model", min_width=WIDE, elem_id="leaderboard-first")
            self.second = gr.Dropdown([], label="Second model", min_width=WIDE, elem_id="leaderboard-second")
        self.filter = gr.Radio(list(FILTERS), value="all", label="Questions", elem_id="leaderboard-filter")
        self.summary = gr.Markdown(CHOOSE, elem_id="leaderboard-summary")
        self.questions = gr.Dataframe(
            headers=questions.HEAD,
            datatype="str",
            label="Click a question to see it",
            column_widths=QUESTION_WIDTHS,
            interactive=False,
            wrap=True,
            max_height=400,
            elem_id="leaderboard-questions",
        )
        self.card = gr.HTML(elem_id="leaderboard-question", js_on_load=None)

    def _connect(self, tab: gr.Tab) -> None:
        self._selection = (self.column, self.source, self.models, self.sets, self.data_set)
        shown = [self.chosen_by, self.table, self.runs, self.bars, self.heat]
        offered = [self.status, self.models, self.sets, self.data_set, self.first, *self.files.values()]
        compared = [self.summary, self.questions, self.card]
        pair: set[Any] = {self.column, self.first, self.second, self.filter}
        tab.select(self.open, set(self._selection), [*shown, *offered], **PRIVATE)
        for control in self._selection:
            control.input(self.show, set(self._selection), shown, **PRIVATE)
        self.first.input(self.offer_second, self.first, [self.second, *compared], **PRIVATE)
        for control in (self.second, self.filter, self.column):
            control.input(self.compare, pair, compared, **PRIVATE)
        self.questions.select(self.show_question, pair, self.card, **PRIVATE)

    def open(self, values: dict) -> dict:
        """Read the folder of results: offer what there is to choose, and show it."""
        status = ""
        try:
            files = result_files(self._results)
        except UserError as error:
            files, status = {}, markdown_text(str(error))
        lines = leaderboard(list(files.values()))
        measured = [result.data_set for result in files.values()]
        if measured and values[self.data_set] == MEAN:  # as the page begins
            values = values | {self.data_set: measured[0]}
        runs = questions.runs_of(self._results, files)
        return {
            self.status: status or ("" if files else MEASURE),
            self.models: gr.Dropdown(list(dict.fromkeys(line.model for line in lines))),
            self.sets: gr.Dropdown(columns_of(lines)),
            self.data_set: gr.Dropdown(columns_of(lines), value=values[self.data_set]),
            self.first: gr.Dropdown(questions.run_choices(runs)),
            **self._exported(lines),
            **self._shown(lines, values),
        }

    def show(self, values: dict) -> dict:
        """Show the chosen column of the chosen models and data sets."""
        return self._shown(leaderboard(list(self._files().values())), values)

    def _files(self) -> dict[Path, FociResult]:
        """Return the files of results; none where one is damaged, as was said when the tab was opened."""
        try:
            return result_files(self._results)
        except UserError:
            return {}

    def _shown(self, lines: list[Line], values: dict) -> dict:
        column, source, models, sets, data_set = (values[control] for control in self._selection)
        label = COLUMNS[column]
        selection = Selection(label, source, models or (), sets or ())
        found, columns = selection.of(lines), selection.columns(lines)
        widths: Any = [TEXT, "80px", TEXT] + [NUMBER] * len(columns)
        kinds: Any = ["str"] * len(HEAD) + ["number"] * len(columns)
        return {
            self.chosen_by: CHOSEN_BY[column],
            self.table: gr.Dataframe(
                table(found, columns), datatype=kinds, label=f"Option chosen by: {label}", column_widths=widths
            ),
            self.runs: run_rows(found),
            self.bars: bar_chart(found, data_set, label),
            self.heat: heat_map(found, columns, label),
        }

    def _exported(self, lines: list[Line]) -> dict:
        """Return the whole table, all columns, in the formats of `train leaderboard`."""
        folder = new_download_folder()
        for name, file in EXPORTS.items():
            write_atomically(folder / file, f"{FORMATS[name](lines)}\n".encode())
        return {button: gr.DownloadButton(value=str(folder / EXPORTS[name])) for name, button in self.files.items()}

    def _runs(self) -> questions.Runs:
        return questions.runs_of(self._results, self._files())

    def offer_second(self, first: str | None) -> dict:
        """Offer the models that answered the same questions as the first."""
        choices = questions.run_choices(self._runs(), first) if first else []
        summary = CHOOSE if choices or not first else "No other model answered the same questions yet."
        return {self.second: gr.Dropdown(choices, value=None), self.summary: summary, self.questions: [], self.card: ""}

    def compare(self, values: dict) -> dict:
        """List the questions on which the two models differ."""
        try:
            comparison = self._compared(values)
        except UserError as error:
            return {self.summary: markdown_text(str(error)), self.questions: [], self.card: ""}
        found = [one for one in comparison.found if FILTERS[values[self.filter]](one)]
        more = f" The first {questions.MAX_ROWS} are listed." if len(found) > questions.MAX_ROWS else ""
        summary = markdown_text(comparison.summary()) + more
        return {self.summary: summary, self.questions: questions.question_rows(found), self.card: ""}

    def _compared(self, values: dict) -> questions.Comparison:
        return questions.compare(self._runs(), values[self.first], values[self.second], values[self.column])

    def show_question(self, values: dict, event: gr.SelectData) -> str:
        """Return the question that was clicked."""
        with on_page():
            return questions.question_card(self._compared(values), str(event.row_value[0]), self._photos)
