"""The exit statuses of the command line, as its help and the README state them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from core import __version__
from core.cli import EXIT_STATUS, main
from core.errors import UserError
from core.recognition.results import Identification, Species

ROOT = Path(__file__).parents[2]
COLOURS = {"black": False, "white": True}  # of photos: whether the stand-in for a model knows them


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A known photo, an unknown one and a file that is none, and a model that tells the first two apart."""

    def identify(photo):
        return Identification("m", photo.getpixel((0, 0)) == (255, 255, 255), [Species("Rose", 0.9)])

    monkeypatch.setattr("core.cli.identify._load", lambda *_: identify)
    for name in COLOURS:
        Image.new("RGB", (32, 32), name).save(tmp_path / f"{name}.png")
    (tmp_path / "diary.png").write_text("Dear diary")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("white.png", 0),
        ("black.png", 0),  # unknown
        ("white.png --fail-unknown", 0),
        ("white.png black.png --fail-unknown", 3),
        ("white.png diary.png", 1),
        ("black.png diary.png --fail-unknown", 1),  # what failed comes first
        ("none.png", 1),
        ("white.png --super-category fish", 2),
        ("white.png --model gpt", 2),
        ("white.png --sure 0.1", 2),
    ],
)
def test_photos_decide_the_status(arguments, status, capsys):
    assert main(["identify", "--json", *arguments.split()]) == status
    for line in map(json.loads, capsys.readouterr().out.splitlines()):
        assert line.get("known", line.get("error")) is not None


def test_a_model_that_cannot_be_loaded_is_no_wrong_argument(monkeypatch, capsys):
    def refuse(*_):
        raise UserError("It is not here.")

    monkeypatch.setattr("core.zoo.registry.load", refuse)
    assert main(["identify", "photo.png", "--model", "idefics2-8b"]) == 1
    assert capsys.readouterr().err == "It is not here.\n"


def test_photos_that_are_not_there_are_no_wrong_argument(tmp_path, capsys):
    assert main(["study", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    assert "no file or folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_and_readme_state_them(capsys):
    for arguments in (["--help"], ["identify", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
        shown = " ".join(capsys.readouterr().out.split())
        assert "Exit status: 0 done, an unknown photo too; 1 " in shown
    readme = " ".join((ROOT / "README.md").read_text().split())
    for sentence in ("0 done", "1 some photo or model could not be used", "2 wrong arguments", "130 after Ctrl-C"):
        assert sentence in EXIT_STATUS
        assert sentence in readme


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert (end.value.code, capsys.readouterr().out) == (0, f"{__version__}\n")
