"""Ask a model the questions of the FOCI benchmark, and keep every answer in a file that a killed run continues."""

import hashlib
import json
import logging
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from core.data.images import read_photo
from core.errors import UserError
from core.evaluation.foci_results import FociResult, count_correct, result_file, save_result
from core.models.openai_endpoint import EndpointError, ReplyError
from core.models.question_model import QuestionModel
from core.progress import Progress, log_progress, run, time_left
from core.storage.cache import sha256_of
from core.storage.journal import Journal
from core.taxonomy.prompts import LETTERS
from core.taxonomy.replies import foci_letter, read_letter
from core.zoo.question_models import open_model
from train.data.foci import FociFile

log = logging.getLogger(__name__)

MAX_UNANSWERED = 10  # questions in a row that an endpoint fails on: it is down
Row = dict[str, Any]


class UnreadablePhotoError(UserError):
    """The photo that is asked about cannot be read."""


@dataclass(frozen=True)
class Asking:
    """What the answers of one file depend on, but for the photos."""

    model: str
    weights: str
    seed: int
    reply_tokens: int
    seen: frozenset[str] | None = None  # first digits of the hashes of the model's training photos, if known

    def key(self, question: str, prompt: str) -> str:
        """Return a hash of everything that the answer to a question depends on."""
        parts = [self.model, self.weights, self.reply_tokens, question, prompt]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Task:
    """One question to ask about a photo; `options` are in the order of their letters."""

    key: str
    id: str
    photo: Path
    options: list[str]
    truth: str  # a letter
    prompt: str


def tasks_of(foci: FociFile, photos: dict[str, Path], asking: Asking) -> list[Task]:
    """Return the questions whose photo is there, with the options shuffled by the seed, alike for all models."""
    tasks = []
    for question in foci.questions:
        if question.id in photos:
            options = question.shuffled(asking.seed)
            prompt = foci.prompt(options)
            truth = LETTERS[options.index(question.truth)]
            key = asking.key(question.id, prompt)
            tasks.append(Task(key, question.id, photos[question.id], options, truth, prompt))
    return tasks


class AnswerFile:
    """The answers to the questions of one FOCI file, one JSON object a line; one process at a time writes it.

    Raises `UserError` if another process has it, or if it holds answers of other weights, settings or questions.
    """

    def __init__(self, path: Path, foci: FociFile, asking: Asking) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_suffix(".lock"), timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise UserError(f"Another run writes {path}: wait for it, or name another folder by --results.") from None
        try:
            self._journal = Journal(path, "reply")
            self.rows: dict[str, Row] = {entry["key"]: entry for entry in self._journal.entries}
            self._check(path, foci, asking)
        except UserError:
            self.close()
            raise

    def _check(self, path: Path, foci: FociFile, asking: Asking) -> None:
        prompts = ((question.id, foci.prompt(question.shuffled(asking.seed))) for question in foci.questions)
        if self.rows.keys() - {asking.key(*parts) for parts in prompts}:
            raise UserError(
                f"{path} holds answers of other weights, questions or reply tokens: move it away, or name another "
                "folder by --results."
            )

    def add(self, row: Row) -> None:
        """Write one answer to disk. Raises `UserError` if it cannot be written."""
        self._journal.append(row)
        self.rows[row["key"]] = row

    def close(self) -> None:
        """Let other processes write the file."""
        self._lock.release()


def ask_all(
    model: QuestionModel, tasks: Sequence[Task], answers: AnswerFile, reply_tokens: int, concurrency: int
) -> Generator[Progress, None, None]:
    """Answer the questions that are not in the file yet, `concurrency` at a time, with progress after each.

    A reply in which no letter is read is kept, and counts as wrong. A question on which an endpoint fails is left to
    the next run, and a photo that cannot be read is left out. Raises `UserError` at the end if there are questions
    without a reply, or at once if the endpoint is down.
    """
    pending = [task for task in tasks if task.key not in answers.rows]
    done, failures, started = len(tasks) - len(pending), 0, time.monotonic()
    unanswered: list[EndpointError] = []
    waiting = iter(pending)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="questions") as pool:
        running = {pool.submit(answer, model, task, reply_tokens): task for task in islice(waiting, concurrency)}
        while running:
            future = next(as_completed(running))
            task = running.pop(future)
            failures += 1
            try:
                row = future.result()
            except EndpointError as error:
                unanswered.append(error)
                if error.final or failures >= MAX_UNANSWERED:
                    raise UserError(f"{error} The answers so far are saved: run the command again.") from None
            except UnreadablePhotoError as error:
                log.warning("Left out: %s: %s", task.photo, error)
            else:
                answers.add(row)
                failures = 0
            done += 1
            left = time_left(done - len(tasks) + len(pending), len(pending), started)
            yield Progress(done / len(tasks), f"{done} of {len(tasks)} questions, {left}.")
            running |= {pool.submit(answer, model, task, reply_tokens): task for task in islice(waiting, 1)}
    if unanswered:
        raise UserError(f"{len(unanswered)} questions have no reply yet ({unanswered[-1]}) Run the command again.")


def answer(model: QuestionModel, task: Task, reply_tokens: int) -> Row:
    """Return the line of one question: the reply, what is read in it, and the scores that the model gives.

    A model that does not write has the reply None. Raises `EndpointError` if an endpoint gives no reply, and
    `UnreadablePhotoError`.
    """
    started = time.perf_counter()
    try:
        photo = read_photo(task.photo).image
    except UserError as error:
        raise UnreadablePhotoError(str(error)) from error
    row: Row = {"key": task.key, "question": task.id, "photo": str(task.photo), "options": task.options}
    row |= {"truth": task.truth, "reply": ""}
    try:
        row["reply"] = model.ask(photo, task.prompt, reply_tokens)
    except ReplyError as error:  # it refuses, or writes nothing
        row["error"] = str(error)
    text = row["reply"] or ""
    row |= {"letter": read_letter(text, task.options), "foci_letter": foci_letter(text)}
    row["letter_scores"] = _numbers(model.letter_scores(photo, task.prompt, len(task.options)))
    row["ranking"] = _numbers(model.name_scores(photo, task.prompt, task.options))
    return row | {"seconds": round(time.perf_counter() - started, 3)}


def _numbers(scores: Tensor | None) -> list[float] | None:
    return None if scores is None else [round(score, 5) for score in scores.float().tolist()]


def measure_foci(
    foci: FociFile, photos: dict[str, Path], asking: Asking, folder: Path, concurrency: int, command: str
) -> FociResult:
    """Ask a model the questions whose photo is there; keep every answer and the results in a folder.

    A run that was stopped continues; one that is complete does not load the model. Raises `UserError` if the model
    cannot be opened, or has not answered all questions.
    """
    answers = AnswerFile(result_file(folder, asking.model, foci.name, asking.seed, ".jsonl"), foci, asking)
    try:
        tasks = tasks_of(foci, photos, asking)
        if any(task.key not in answers.rows for task in tasks):
            steps = ask_all(open_model(asking.model), tasks, answers, asking.reply_tokens, concurrency)
            run(steps, log_progress(log, f"{foci.name}: "))
        rows = [answers.rows[task.key] for task in tasks if task.key in answers.rows]
    finally:
        answers.close()
    if not rows:
        raise UserError("None of the photos that are asked about can be read.")
    result = FociResult(
        model=asking.model,
        weights=asking.weights,
        data_set=foci.name,
        questions_sha256=foci.sha256,
        seed=asking.seed,
        reply_tokens=asking.reply_tokens,
        n=len(rows),
        official=foci.data_set.test if foci.data_set else len(foci.questions),
        failures=sum(row["letter"] is None and row["reply"] is not None for row in rows),
        correct=count_correct(rows),
        seen=_seen(rows, asking),
        seconds=round(sum(row["seconds"] for row in rows) / len(rows), 3),
        date=datetime.now(UTC).date().isoformat(),
        command=command,
    )
    save_result(result_file(folder, asking.model, foci.name, asking.seed, ".json"), result)
    return result


def _seen(rows: Sequence[Row], asking: Asking) -> int | None:
    """Return how many questions are about photos that the model was trained on; None if that is not known."""
    if asking.seen is None:
        return None
    return sum(sha256_of(Path(row["photo"]))[:12] in asking.seen for row in rows)
