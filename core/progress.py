"""Progress of long computations, all of which are written as a `Generator[Progress, None, Result]`.

One computation runs another with `result = yield from other(...)`. `run` returns the result alone; closing the generator
stops the work.
"""

import logging
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

LOG_SECONDS = 5.0  # between two lines of progress in a log

Step = TypeVar("Step")
Update = TypeVar("Update")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """How far a computation is: a fraction in [0, 1], and a line of text about it."""

    fraction: float
    message: str


def run(steps: Generator[Step, None, Result], on_progress: Callable[[Step], object] | None = None) -> Result:
    """Run a computation to its end and return its result; `on_progress` is called with every progress."""
    with closing(steps):
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            if on_progress:
                on_progress(progress)


def seconds_left(done: int, total: int, started: float) -> float:
    """Return the seconds left at the pace since `started` (of `time.monotonic`); 0 before anything is done."""
    return (time.monotonic() - started) / done * (total - done) if done else 0.0


def time_left(done: int, total: int, started: float) -> str:
    """Return `seconds_left` in words: "about 1 min 20 s left"."""
    minutes, seconds = divmod(round(seconds_left(done, total, started)), 60)
    return f"about {f'{minutes} min ' if minutes else ''}{seconds} s left"


def count_progress(done: int, total: int, started: float, what: str = "photos") -> Progress:
    """Return the progress of a loop, with the time left at the pace since `started` (of `time.monotonic`)."""
    text = f"{done} of {total} {what}"
    if not 0 < done < total:
        return Progress(done / total if total else 1.0, f"{text}.")
    return Progress(done / total, f"{text}, {time_left(done, total, started)}.")


def map_progress(
    steps: Generator[Step, None, Result], convert: Callable[[Step], Update | None]
) -> Generator[Update, None, Result]:
    """Run a computation and yield each progress as `convert` returns it, except None; return the result."""
    with closing(steps):
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            if (update := convert(progress)) is not None:
                yield update


def part(
    steps: Generator[Progress, None, Result], start: float, end: float, prefix: str = ""
) -> Generator[Progress, None, Result]:
    """Run a computation as the part from `start` to `end` of a larger one, with a `prefix` to its messages."""

    def scaled(progress: Progress) -> Progress:
        return Progress(start + progress.fraction * (end - start), f"{prefix}{progress.message}")

    return (yield from map_progress(steps, scaled))


def log_progress(log: logging.Logger, prefix: str = "") -> Callable[[Progress], None]:
    """Return a function that logs progress with a `prefix` at most every `LOG_SECONDS`."""
    logged = float("-inf")

    def on_progress(progress: Progress) -> None:
        nonlocal logged
        if time.monotonic() - logged >= LOG_SECONDS:
            logged = time.monotonic()
            log.info("%s%s", prefix, progress.message)

    return on_progress
