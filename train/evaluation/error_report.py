"""Write the errors of a model to files: CSV tables, and one self-contained HTML page with photos."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from core.data.images import read_photo, to_jpeg
from core.evaluation.html_report import html_report, report_templates
from core.storage.files import csv_text, write_atomically
from train.evaluation.error_analysis import MATRIX_NAMES, NamedPhoto, SetErrors, shown_order
from train.evaluation.label_issues import FOLDS, LabelIssue

TEMPLATES = Path(__file__).with_name("templates")
REPORT = "errors.html"
PAIRS = 10  # of a data set, in the page
PHOTOS = 4  # of one kind, beside each other
ISSUES = 60  # of a data set, in the page
THUMBNAIL, QUALITY = 160, 75  # pixels of the longer side; of its JPEG
SHADES = 5  # of the cells of a confusion matrix, by share


@dataclass(frozen=True)
class MatrixRow:
    """One row of a shown confusion matrix: a true name, and the photos by the name that the model gave."""

    name: str
    cells: list[tuple[int, str]]  # count, and the class of its style
    others: int  # photos that were given a name which is not shown
    total: int


@dataclass(frozen=True)
class Pair:
    """Two names that the model confuses, with photos of both, right and wrong."""

    first: str
    second: str
    groups: list[tuple[str, list[NamedPhoto], int]]  # heading, photos shown, photos there are


@dataclass(frozen=True)
class Suspect:
    """A photo whose label looks wrong, with a photo that the model names rightly of its label and of the other name."""

    photo: NamedPhoto
    issue: LabelIssue
    examples: list[tuple[str, NamedPhoto | None]]


def save(errors: Sequence[SetErrors], model: str, note: str, folder: Path) -> list[Path]:
    """Write the CSV files and the page. Raises `UserError` if one of them cannot be written."""
    files = {"confusions.csv": confusions_csv(errors)}
    for number, one in enumerate(errors, start=1):
        files[matrix_file(number, one)] = matrix_csv(one)
    files["label_issues.csv"] = label_issues_csv(errors)
    files[REPORT] = as_html(errors, model, note)
    for name, text in files.items():
        write_atomically(folder / name, text.encode("utf-8-sig" if name.endswith(".csv") else "utf-8"))
    return [folder / name for name in files]


def matrix_file(number: int, errors: SetErrors) -> str:
    """Return the file name of a data set's confusion matrix; the number keeps apart names that are alike in it."""
    return f"confusion_matrix_{number}_{re.sub(r'[^A-Za-z0-9-]+', '_', errors.data_set)[:60]}.csv"


def confusions_csv(errors: Sequence[SetErrors]) -> str:
    """Return one line per true name and wrong name given, with the number and share of its photos."""
    header = ("data_set", "true_name", "predicted_name", "count", "share")
    return csv_text(
        header,
        [
            (one.data_set, confusion.truth, confusion.predicted, confusion.count, f"{confusion.share:.4f}")
            for one in errors
            for confusion in one.confusions()
        ],
    )


def matrix_csv(errors: SetErrors) -> str:
    """Return the whole confusion matrix: one line per true name, one column per name that the model gave."""
    rows = zip(errors.names, errors.matrix.tolist(), strict=True)
    return csv_text(("true_name", *errors.names), [(name, *counts) for name, counts in rows])


def label_issues_csv(errors: Sequence[SetErrors]) -> str:
    """Return one line per photo whose label looks wrong, the surest of each data set first."""
    header = ("data_set", "photo", "given_name", "other_name", "given_probability", "other_probability")
    return csv_text(
        header,
        [
            (
                one.data_set,
                str(one.judged[issue.sample].record.image),
                issue.given,
                issue.other,
                f"{issue.given_probability:.4f}",
                f"{issue.other_probability:.4f}",
            )
            for one in errors
            for issue in one.issues.found
        ],
    )


def left_out(errors: SetErrors) -> str:
    """Return a sentence about the names whose labels are not judged, or nothing."""
    names = ", ".join(errors.issues.left_out)
    if not names:
        return ""
    if not errors.issues.judged:
        return f"No label is judged: that takes two categories with {FOLDS} different photos; too few are of {names}."
    return f"Labels that are not judged, with fewer than {FOLDS} different photos: {names}."


def as_html(errors: Sequence[SetErrors], model: str, note: str) -> str:
    """Return the page, with thumbnails; it loads and runs nothing. `note` is a sentence about the photos, or empty."""
    templates = report_templates(TEMPLATES)
    templates.filters["thumbnail"] = cache(_thumbnail)
    templates.globals.update(matrix_rows=matrix_rows, pairs=pairs, suspects=suspects, left_out=left_out)
    limits = {"pairs": PAIRS, "issues": ISSUES, "names": MATRIX_NAMES, "folds": FOLDS}
    files = [matrix_file(number, one) for number, one in enumerate(errors, start=1)]
    page, style = "error_report.html", TEMPLATES / "error_report.css"
    return html_report(templates, page, style, errors=errors, model=model, note=note, limit=limits, files=files)


def _thumbnail(path: Path) -> bytes:
    return to_jpeg(read_photo(path).image, THUMBNAIL, QUALITY)


def matrix_rows(errors: SetErrors) -> list[MatrixRow]:
    """Return the rows of the shown part of the confusion matrix; its columns are the same names in the same order."""
    order, totals = shown_order(errors.matrix), errors.matrix.sum(axis=1)
    return [
        MatrixRow(
            errors.names[row],
            [(int(errors.matrix[row, column]), _shade(errors.matrix[row, column] / totals[row])) for column in order],
            int(totals[row] - errors.matrix[row, order].sum()),
            int(totals[row]),
        )
        for row in order
    ]


def _shade(share: float) -> str:
    """Return the class of a cell's style: "s1" to "s5" by share, "" for none."""
    return f"s{int(np.ceil(share * SHADES))}" if share else ""


def pairs(errors: SetErrors) -> list[Pair]:
    """Return the pairs to show: the right photos of each name beside the wrong ones."""
    found = []
    for first, second in errors.worst_pairs()[:PAIRS]:
        kinds = (
            (f"{first}, named rightly", first, first),
            (f"{first}, named {second}", first, second),
            (f"{second}, named {first}", second, first),
            (f"{second}, named rightly", second, second),
        )
        named = [(heading, errors.named(truth, name)) for heading, truth, name in kinds]
        found.append(
            Pair(first, second, [(heading, photos[:PHOTOS], len(photos)) for heading, photos in named if photos])
        )
    return found


def suspects(errors: SetErrors) -> list[Suspect]:
    """Return the photos to show whose label looks wrong, the surest first."""
    suspected = {errors.judged[issue.sample].record.sha256 for issue in errors.issues.found}

    def example(name: str) -> NamedPhoto | None:
        """Return the photo of a name that is rightly named with the greatest confidence, if there is one."""
        return next((photo for photo in errors.named(name, name) if photo.record.sha256 not in suspected), None)

    return [
        Suspect(errors.judged[issue.sample], issue, [(name, example(name)) for name in (issue.given, issue.other)])
        for issue in errors.issues.found[:ISSUES]
    ]
