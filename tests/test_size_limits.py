"""Size limits that keep modules readable: lines of source files, classes and functions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES, MAX_CLASS_LINES, MAX_FUNCTION_LINES = 300, 200, 60
SOURCES = [
    path
    for pattern in ("app.py", "core/**/*.py", "demo/**/*.py", "demo/**/*.js", "train/**/*.py")
    for path in sorted(ROOT.glob(pattern))
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_sources_are_within_the_limits(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            limit = MAX_CLASS_LINES if isinstance(node, ast.ClassDef) else MAX_FUNCTION_LINES
            assert node.end_lineno - node.lineno < limit, node.name


def test_assets_hold_no_code():
    assert not list((ROOT / "assets").glob("**/*.py"))
