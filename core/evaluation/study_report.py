"""A case study as files: CSV, JSON, and one HTML page that needs nothing else."""

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from html import escape
from pathlib import Path

from core.data.images import data_url
from core.evaluation.study import Row, Study, Verdict
from core.storage.files import inert, write_atomically

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: left; vertical-align: top }
td { overflow-wrap: anywhere }
.right { color: #17692b }
.wrong { color: #a12020 }
"""


def save(study: Study, folder: Path) -> list[Path]:
    """Write study.csv, study.json and study.html. Raises `UserError` if one of them cannot be written."""
    files = {"study.csv": as_csv(study), "study.json": as_json(study), "study.html": as_html(study)}
    for name, text in files.items():
        write_atomically(folder / name, text.encode("utf-8-sig" if name.endswith(".csv") else "utf-8"))
    return [folder / name for name in files]


def as_csv(study: Study) -> str:
    """One line per photo. Text that a spreadsheet would take for a formula has an apostrophe before it."""
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
    """The whole study but its thumbnails."""
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
    content = {
        "models": list(study.models),
        "candidates": study.candidates,
        "photos_given": study.total,
        "accuracy": [
            {**asdict(line), "right": dict(zip(study.models, line.right, strict=True))} for line in study.accuracy()
        ],
        "photos": photos,
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def _rounded(verdict: Verdict) -> dict:
    return {**asdict(verdict), "probability": round(verdict.probability, 4), "seconds": round(verdict.seconds, 3)}


def as_html(study: Study) -> str:
    """One page, thumbnails included, that may load nothing and run nothing (its Content-Security-Policy)."""
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    models = escape(" and ".join(study.models))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>Case study</title><style>{STYLE}</style></head>\n<body><h1>Case study: {models}</h1>"
        f"<p>{len(study.rows)} of {study.total} photos. Candidates: {escape(study.candidates)}.</p>\n"
        f"{accuracy_table(study)}\n{photo_table(study.models, study.rows)}</body></html>\n"
    )


def accuracy_table(study: Study) -> str:
    """The accuracy per data set as an HTML table, everything escaped; empty without labelled photos."""
    lines = [
        [escape(line.data_set), str(line.photos), *(f"{right / line.photos:.1%} ({right})" for right in line.right)]
        for line in study.accuracy()
    ]
    return _table(["data set", "photos", *map(escape, study.models)], lines) if lines else ""


def photo_table(models: Iterable[str], rows: Iterable[Row]) -> str:
    """The photos as an HTML table, with thumbnails as data URLs, everything escaped."""
    head = [
        "",
        "photo",
        "true name",
        *(f"{letter}: {escape(model)}" for letter, model in zip("AB", models, strict=True)),
    ]
    return _table(head, ([_picture(row), escape(row.name), escape(row.label), *_cells(row)] for row in rows))


def _cells(row: Row) -> list[str]:
    return [_cell(verdict) for verdict in row.verdicts] or [escape(row.error), ""]


def _cell(verdict: Verdict) -> str:
    mark, style = {True: ("✓ ", "right"), False: ("✗ ", "wrong"), None: ("", "")}[verdict.right]
    unknown = "" if verdict.known else " (does not know this one)"
    answer = f"<br>“{escape(verdict.answer)}”" if verdict.answer else ""
    text = f"{mark}{escape(verdict.species)} {verdict.probability:.0%}{unknown}"
    return f'<span class="{style}">{text}</span>{answer}<br><small>{verdict.seconds:.2f} s</small>'


def _picture(row: Row) -> str:
    if not row.thumbnail:
        return ""
    return f'<img alt="" src="{data_url(row.thumbnail)}">'


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    """An HTML table of cells that are HTML already."""
    lines = ["".join(f"<th>{cell}</th>" for cell in head), *("".join(f"<td>{c}</td>" for c in row) for row in rows)]
    return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
