"""Commands end without a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.console import READER_GONE, STOPPED, exits_quietly
from core.errors import UserError

ROOT = Path(__file__).parents[2]
PRINTS = """
import sys
from core.console import exits_quietly

@exits_quietly
def command():
    for _ in range(100_000):
        print("a line")
    return 0

sys.exit(command())
"""


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [(UserError("There is no such photo."), 1, "There is no such photo."), (KeyboardInterrupt(), STOPPED, "Stopped.")],
)
def test_errors_of_the_user_and_ctrl_c_are_one_sentence(error, status, message, capsys):
    @exits_quietly
    def command():
        raise error

    assert command() == status
    assert capsys.readouterr().err == f"{message}\n"


def test_other_errors_are_raised():
    @exits_quietly
    def command():
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        command()


def test_a_closed_pipe_ends_the_command_without_a_word():
    command = subprocess.Popen(
        [sys.executable, "-c", PRINTS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout.readline() == "a line\n"
    command.stdout.close()
    assert command.wait(timeout=60) == READER_GONE
    assert command.stderr.read() == ""
    command.stderr.close()


def test_a_name_that_is_not_utf8_is_printed_with_escapes():
    code = "from core.console import exits_quietly; exits_quietly(lambda: print('caf\\udce9') or 0)()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "caf\\udce9\n"
