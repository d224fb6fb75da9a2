"""The dependency rule: app -> demo -> core, train -> core; assets hold no code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {"core": {"demo", "train", "app"}, "train": {"demo", "app"}, "demo": {"train", "app"}}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_import_only_downwards(room):
    files = list((ROOT / room).glob("**/*.py"))
    assert files
    for path in files:
        assert not imported(path) & FORBIDDEN[room], path


def test_assets_hold_no_code():
    assert not list((ROOT / "assets").glob("**/*.py"))
