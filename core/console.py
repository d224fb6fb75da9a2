"""What the command lines share: exit statuses, error handling, and types of numeric arguments."""

import argparse
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

from core.errors import UserError

P = ParamSpec("P")
WRONG_ARGUMENTS = 2  # as argparse exits
STOPPED, READER_GONE = 130, 141  # as a shell reports SIGINT and SIGPIPE


class WrongArgumentError(UserError):
    """An argument that is refused before anything is read."""


@contextmanager
def checking_arguments() -> Iterator[None]:
    """Turn a `UserError` raised inside into one that ends a command with `WRONG_ARGUMENTS`."""
    try:
        yield
    except UserError as error:
        raise WrongArgumentError(str(error)) from error


def exits_quietly(command: Callable[P, int]) -> Callable[P, int]:
    """Decorate a command so that errors meant for the user, Ctrl-C and a closed pipe end it without a traceback.

    The exit status is the command's own; 1 after a `UserError`, whose sentence goes to stderr, or `WRONG_ARGUMENTS` if
    it was raised in `checking_arguments`; `STOPPED` after Ctrl-C; `READER_GONE` where the reader of the output
    (`| head -1`) has left. File names that are not UTF-8 are printed with escapes.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            try:
                status = command(*args, **kwargs)
            finally:  # after argparse has printed the help as well
                sys.stdout.flush()
        except UserError as error:
            print(error, file=sys.stderr)
            return WRONG_ARGUMENTS if isinstance(error, WrongArgumentError) else 1
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
            return STOPPED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
            return READER_GONE
        return status

    return run


def at_least_one(text: str) -> int:
    """Parse a whole number of at least 1, as the `type` of an argument."""
    return _whole_number(text, 1)


def natural(text: str) -> int:
    """Parse a whole number of at least 0, as the `type` of an argument."""
    return _whole_number(text, 0)


def _whole_number(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}")
    return number
