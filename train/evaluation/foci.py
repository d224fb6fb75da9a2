"""Ask a model the questions of the FOCI benchmark, and keep every answer in a file that a killed run continues."""

import logging
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from core.data.images import read_photo
from core.errors import UserError
from core.evaluation.foci_answers import FociAnswer
from core.evaluation.foci_results import (
    CONTROLS,
    GREY,
    Control,
    Counted,
    FociResult,
    count_correct,
    result_file,
    save_result,
)
from core.models.openai_endpoint import EndpointError, ReplyError
from core.models.question_model import QuestionModel
from core.progress import Progress, log_progress, run, time_left
from core.storage.cache import sha256_of
from core.storage.journal import Journal
from core.taxonomy.replies import foci_letter, read_letter
from core.zoo.question_models import open_model
from train.data.foci import FociFile
from train.evaluation.foci_tasks import Asking, Task, control_tasks, tasks_of

log = logging.getLogger(__name__)

GREY_LEVEL = (127, 127, 127)
MAX_UNANSWERED = 10  # questions in a row that an endpoint fails on: it is down
Row = dict[str, Any]


class UnreadablePhotoError(UserError):
    """The photo that is asked about cannot be read."""


class _Line(FociAnswer):
    """What a line of the file needs; of its scores those that are missing are asked again."""

    key: str
    seconds: float
    letter_scores: list[float] | None = None
    ranking: list[float] | None = None


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
            self.rows = {_checked(path, i, entry)["key"]: entry for i, entry in enumerate(self._journal.entries, 1)}
            self._check(path, foci, asking)
        except UserError:
            self.close()
            raise

    def _check(self, path: Path, foci: FociFile, asking: Asking) -> None:
        prompts = [(question.id, foci.prompt(question.shuffled(asking.seed))) for question in foci.questions]
        known = {asking.key(*parts) for parts in prompts}
        known |= {asking.key(*parts, control) for parts in prompts for control in CONTROLS}
        if self.rows.keys() - known:
            raise UserError(
                f"{path} holds answers of other weights, questions or reply tokens: move it away, or name another "
                "folder by --results."
            )

    def lacks(self, task: Task) -> bool:
        """Return whether something that a question asks for is not answered yet."""
        return not task.fields <= self.rows.get(task.key, {}).keys()

    def add(self, row: Row) -> None:
        """Write one answer to disk, in place of an earlier one. Raises `UserError` if it cannot be written."""
        self._journal.append(row)
        self.rows[row["key"]] = row

    def close(self) -> None:
        """Let other processes write the file."""
        self._lock.release()


def _checked(path: Path, number: int, entry: Row) -> Row:
    """Return a line of the file. Raises `UserError` for one that holds no answer, or a part of one in another form."""
    try:
        _Line.model_validate(entry)
    except ValidationError as error:
        sentence = f"{path}, line {number} is damaged: delete that line, and its question is sent again."
        raise UserError(sentence) from error
    return entry


def ask_all(
    model: QuestionModel, tasks: Sequence[Task], answers: AnswerFile, reply_tokens: int, concurrency: int
) -> Generator[Progress, None, None]:
    """Answer the questions that are not in the file yet, `concurrency` at a time, with progress after each.

    A reply in which no letter is read is kept, and counts as wrong. A question on which an endpoint fails is left to
    the next run, and a photo that cannot be read is left out. Raises `UserError` at the end if there are questions
    without a reply, or at once if the endpoint is down.
    """
    pending = [task for task in tasks if answers.lacks(task)]
    done, failures, started = len(tasks) - len(pending), 0, time.monotonic()
    unanswered: list[EndpointError] = []
    waiting = iter(pending)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="questions") as pool:

        def ask(number: int) -> dict[Future[Row], Task]:
            next_ones = islice(waiting, number)
            return {pool.submit(answer, model, t, reply_tokens, answers.rows.get(t.key)): t for t in next_ones}

        running = ask(concurrency)
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
            running |= ask(1)
    if unanswered:
        raise UserError(f"{len(unanswered)} questions have no reply yet ({unanswered[-1]}) Run the command again.")


def answer(model: QuestionModel, task: Task, reply_tokens: int, known: Row | None = None) -> Row:
    """Return the line of one question: the reply, what is read in it, and the scores that the model gives.

    What an earlier line of the question holds is not asked again. A model that does not write has the reply None.
    Raises `EndpointError` if an endpoint gives no reply, and `UnreadablePhotoError`.
    """
    started = time.perf_counter()
    try:
        photo = read_photo(task.photo).image
    except UserError as error:
        raise UnreadablePhotoError(str(error)) from error
    if task.control == GREY:
        photo = Image.new("RGB", photo.size, GREY_LEVEL)
    row: Row = {"key": task.key, "question": task.id, "control": task.control, "photo": str(task.photo)}
    row |= {"options": task.options, "truth": task.truth, "seconds": 0.0} | (known or {})
    missing = task.fields - row.keys()
    if "reply" in missing:
        row |= _reply(model, photo, task, reply_tokens)
    if "letter_scores" in missing:
        row["letter_scores"] = _numbers(model.letter_scores(photo, task.prompt, len(task.options)))
    if "rotated" in missing:
        row["rotated"] = _rotated_scores(model, photo, task, row["letter_scores"])
    if "likelihood" in missing:
        row["likelihood"] = _numbers(model.reply_scores(photo, task.prompt, task.options))
    if "ranking" in missing:
        row["ranking"] = _numbers(model.name_scores(photo, task.prompt, task.options))
    return row | {"seconds": round(row["seconds"] + time.perf_counter() - started, 3)}


def _reply(model: QuestionModel, photo: Image.Image, task: Task, reply_tokens: int) -> Row:
    row: Row = {"reply": ""}
    try:
        row["reply"] = model.ask(photo, task.prompt, reply_tokens)
    except ReplyError as error:  # it refuses, or writes nothing
        row["error"] = str(error)
    text = row["reply"] or ""
    return row | {"letter": read_letter(text, task.options), "foci_letter": foci_letter(text)}


def _rotated_scores(
    model: QuestionModel, photo: Image.Image, task: Task, first: list[float] | None
) -> list[float] | None:
    """Return the mean over the rotations of log p(letter of an option), in the order of the options.

    In the four rotations every option has every letter once, so that a preference for a letter cancels out. None if
    the model gives no scores of letters; `first` are those of the options as they stand.
    """
    if first is None:
        return None
    scores = [torch.tensor(first)]
    for by, prompt in enumerate(task.rotations, start=1):
        moved = model.letter_scores(photo, prompt, len(task.options))
        if moved is None:
            return None
        scores.append(moved.float().roll(by))  # option i had the letter i - by
    return _numbers(torch.stack(scores).mean(dim=0))


def _numbers(scores: Tensor | None) -> list[float] | None:
    return None if scores is None else [round(score, 5) for score in scores.float().tolist()]


def measure_foci(
    foci: FociFile,
    photos: dict[str, Path],
    asking: Asking,
    folder: Path,
    concurrency: int,
    command: str,
    *,
    controls: bool = False,
    rotations: bool = False,
) -> FociResult:
    """Ask a model the questions whose photo is there; keep every answer and the results in a folder.

    With `controls` and `rotations` these are asked, too; those that the folder has are counted in any case. A run that
    was stopped continues; one that is complete does not load the model. Raises `UserError` if the model cannot be
    opened, or has not answered all questions.
    """
    tasks = tasks_of(foci, photos, asking, rotations=rotations)
    others = control_tasks(foci, photos, asking, rotations=rotations) if controls else {}
    answers = AnswerFile(result_file(folder, asking.model, foci.name, asking.seed, ".jsonl"), foci, asking)
    try:
        asked = [*tasks, *(task for control in others.values() for task in control)]
        if any(map(answers.lacks, asked)):
            steps = ask_all(open_model(asking.model), asked, answers, asking.reply_tokens, concurrency)
            run(steps, log_progress(log, f"{foci.name}: "))
    finally:
        answers.close()
    rows = [answers.rows[task.key] for task in tasks if task.key in answers.rows]
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
        controls=_count_controls(tasks, answers, asking),
        question=foci.question,
        seen=_seen(rows, asking),
        seconds=round(sum(row["seconds"] for row in rows) / len(rows), 3),
        date=datetime.now(UTC).date().isoformat(),
        command=command,
    )
    save_result(result_file(folder, asking.model, foci.name, asking.seed, ".json"), result)
    return result


def _count_controls(tasks: Sequence[Task], answers: AnswerFile, asking: Asking) -> dict[Control, Counted]:
    """Return what is counted of the controls that are answered."""
    counted: dict[Control, Counted] = {}
    for control in CONTROLS:
        keys = (asking.key(task.id, task.prompt, control) for task in tasks)
        if rows := [answers.rows[key] for key in keys if key in answers.rows]:
            counted[control] = Counted(n=len(rows), correct=count_correct(rows))
    return counted


def _seen(rows: Sequence[Row], asking: Asking) -> int | None:
    """Return how many questions are about photos that the model was trained on; None if that is not known."""
    if asking.seen is None:
        return None
    return sum(sha256_of(Path(row["photo"]))[:12] in asking.seen for row in rows)
