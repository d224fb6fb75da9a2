"""Write a case study to files: CSV, JSON, and one self-contained HTML page."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.data.photo_sets import REPORT_FILES
from core.evaluation.html_report import html_report, report_templates
from core.evaluation.study import Study, StudyRow, Verdict
from core.storage.files import inert, write_atomically

TEMPLATES = report_templates()


def save(study: Study, folder: Path) -> list[Path]:
    """Write `REPORT_FILES`. Raises `UserError` if one of them cannot be written."""
    files = dict(zip(REPORT_FILES, (as_csv(study), as_json(study), as_html(study)), strict=True))
    for name, text in files.items():
        write_atomically(folder / name, text.encode("utf-8-sig" if name.endswith(".csv") else "utf-8"))
    return [folder / name for name in files]


def as_csv(study: Study) -> str:
    """Return one line per photo; an apostrophe is put before text that a spreadsheet would evaluate as a formula."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    columns = list(Verdict.__dataclass_fields__)
    facts = ["photo", "label", "data_set", "sha256", "error"]
    writer.writerow([*facts, *(inert(f"{model} {column}") for model in study.models for column in columns)])
    for row in study.rows:
        texts = map(inert, (row.name, row.label, row.data_set, row.sha256, row.error))
        values = [value for verdict in row.verdicts for value in _rounded(verdict).values()]
        writer.writerow([*texts, *(inert(value) if isinstance(value, str) else value for value in values)])
    return buffer.getvalue()


def as_json(study: Study) -> str:
    """Return the whole study, without thumbnails, as JSON."""
    return json.dumps(as_dict(study), indent=1, ensure_ascii=False)


def as_dict(study: Study) -> dict[str, Any]:
    """Return the JSON form of the whole study, without thumbnails."""
    photos = [
        {
            "photo": row.name,
            "label": row.label,
            "data_set": row.data_set,
            "sha256": row.sha256,
            "error": row.error,
            "verdicts": dict(zip(study.models, map(_rounded, row.verdicts), strict=False)),
        }
        for row in study.rows
    ]
    return {
        "models": list(study.models),
        "candidates": study.candidates,
        "photos_given": study.total,
        "accuracy": [
            {**asdict(line), "right": dict(zip(study.models, line.right, strict=True))} for line in study.accuracy()
        ],
        "not_among_candidates": study.labels_not_among_candidates(),
        "photos": photos,
    }


def _rounded(verdict: Verdict) -> dict:
    probability = None if verdict.probability is None else round(verdict.probability, 4)
    return {**asdict(verdict), "probability": probability, "seconds": round(verdict.seconds, 3)}


def as_html(study: Study) -> str:
    """Return one HTML page, thumbnails included; it loads and runs nothing."""
    return html_report(TEMPLATES, "study_report.html", study=study)


def accuracy_table(study: Study) -> str:
    """Return the accuracy per data set, and what is not counted, as HTML, all text escaped; "" without true names."""
    return str(_tables().accuracy_table(study.models, study.accuracy(), study.note()))


def photo_table(models: Iterable[str], rows: Iterable[StudyRow]) -> str:
    """Return the photos as an HTML table with thumbnails as data URLs, all text escaped."""
    return str(_tables().photo_table(models, rows))


def _tables() -> Any:
    """Return the module whose attributes are the macros of the tables."""
    return TEMPLATES.get_template("study_tables.html").module
