"""Run a computation in a Python process of its own, which can be killed at any moment.

Messages are sent both ways over the child's standard input and output: one line of JSON, then the bytes of the float32
arrays whose shapes are in that line. Neither side unpickles anything, and the child writes no files.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from core.errors import UserError
from core.progress import Progress

ROOT = Path(__file__).parents[1]
HEARTBEAT_SECONDS = 0.5  # after which the last progress is repeated, so that a caller can stop in between
THREADS = 2  # of the child, on every machine: sums in another order would give other coordinates

Message = tuple[dict, list[np.ndarray]]  # JSON values, and float32 arrays
Report = Callable[[float, str], None]  # of progress: fraction, message


def send(stream: IO[bytes], values: dict, arrays: Sequence[np.ndarray] = ()) -> None:
    """Write one message; arrays are sent as float32."""
    blocks = [np.ascontiguousarray(array, dtype=np.float32) for array in arrays]
    stream.write(json.dumps({**values, "shapes": [block.shape for block in blocks]}).encode() + b"\n")
    for block in blocks:
        stream.write(block.tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> Message:
    """Read one message. Raises `EOFError` if the other side is gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    values, arrays = json.loads(line), []
    for shape in values.pop("shapes"):
        size = 4 * int(np.prod(shape))
        data = stream.read(size)
        if len(data) < size:
            raise EOFError
        arrays.append(np.frombuffer(data, dtype=np.float32).reshape(shape))
    return values, arrays


def run_worker(
    module: str, task: dict, arrays: Sequence[np.ndarray] = (), environment: Mapping[str, str] | None = None
) -> Generator[Progress, None, Message]:
    """Run `python -m module` on a task and return its answer, with progress at least every half second.

    `environment` is what the child's variables have beside, or in place of, those of this process. Closing the generator
    kills the child. Raises `UserError` with the child's sentence, or if it ends without answer.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(THREADS))
    child = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **threads, "OMP_WAIT_POLICY": "passive", **(environment or {})},
    )
    try:
        return (yield from _conversation(child, task, arrays))
    finally:
        child.kill()
        child.wait()


def serve(work: Callable[[dict, list[np.ndarray], Report], Message], failure: str) -> int:
    """Read one task from standard input, write the answer of `work` to standard output, and return the exit status.

    What a module that `run_worker` runs does: it ends with its parent. A `UserError` is answered with its sentence, any
    other error with `failure` and the reason.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    task, arrays = receive(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def report(fraction: float, message: str) -> None:
        send(answers, {"fraction": fraction, "message": message})

    try:
        values, results = work(task, arrays, report)
    except UserError as error:
        send(answers, {"error": str(error)})
        return 1
    except Exception as error:
        traceback.print_exc()
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        send(answers, {"error": f"{failure} ({reason})."})
        return 1
    send(answers, values, results)
    return 0


def _end_with_parent() -> None:
    os.read(0, 1)  # nothing follows the task: this returns when the parent is gone
    os._exit(1)


def _conversation(
    child: subprocess.Popen, task: dict, arrays: Sequence[np.ndarray]
) -> Generator[Progress, None, Message]:
    messages: queue.Queue = queue.Queue()
    threading.Thread(target=_exchange, args=(child, task, arrays, messages), daemon=True).start()
    progress = Progress(0.0, "Starting")
    yield progress
    while True:
        try:
            message = messages.get(timeout=HEARTBEAT_SECONDS)
        except queue.Empty:
            yield progress
            continue
        if message is None:
            raise UserError(f"The computation stopped without a result (exit code {child.wait()}): is memory short?")
        values, results = message
        if "error" in values:
            raise UserError(values["error"])
        if "fraction" not in values:
            return values, results
        progress = Progress(values["fraction"], values["message"])
        yield progress


def _exchange(child: subprocess.Popen, task: dict, arrays: Sequence[np.ndarray], messages: queue.Queue) -> None:
    """Send the task, then put the child's messages into the queue, `None` at its end; close the pipes."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        send(child.stdin, task, arrays)
        while True:
            messages.put(receive(child.stdout))
    except (EOFError, OSError):
        messages.put(None)
    finally:
        child.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # the child is gone: nobody reads what is left to send
            child.stdin.close()
