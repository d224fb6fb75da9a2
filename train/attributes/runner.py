"""Send the queries of one step to a model, several at a time, and record the answers; estimate their cost."""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.openai_endpoint import EndpointError
from core.progress import seconds_left
from core.storage.journal import Journal
from train.attributes.validation import InvalidAnswerError

log = logging.getLogger(__name__)

CHARACTERS_PER_TOKEN = 4  # of English, for estimates
PHOTO_TOKENS = 1_000  # of a photo, for estimates; models use between half and twice as many
MAX_UNANSWERED = 5  # queries in a row without an answer: the endpoint is down
MAX_UNUSABLE = 20  # answers from the start, none of them usable: it is the wrong model
FIRST_REPORT = 5  # queries done when the remaining time is first reported
REPORT_SECONDS = 30


@dataclass(frozen=True)
class Query:
    """One prompt about a photo, the attribute values of a photo or a super-category, and how to read the answer."""

    subject: dict[str, str]  # recorded with the answer
    prompt: str
    read: Callable[[str], dict[str, Any]]  # parses a reply; raises `InvalidAnswerError`
    response_format: dict[str, Any] | None = None
    photo: Path | None = None


Answerer = Callable[[Query], dict[str, Any]]


@dataclass
class Run:
    """The progress of one step with one model, in a folder.

    The journal records the answers, `quarantine.jsonl` the queries without a usable answer, with the reason. Neither are
    sent again: a query is identified by the step, the model, the subject and the prompt.
    """

    step: str
    model: str
    folder: Path
    answers: dict[str, dict[str, Any]] = field(init=False)
    quarantined: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._journal = Journal(self.folder / f"{self.step}.jsonl", "answer")
        self._rejected = Journal(self.folder / "quarantine.jsonl", "reason")
        self.answers = {entry["key"]: entry["answer"] for entry in self._journal.entries}
        self.quarantined = {entry["key"] for entry in self._rejected.entries}

    def key(self, query: Query) -> str:
        """Return a hash of everything that the answer to a query depends on."""
        parts = [self.step, self.model, query.subject, query.prompt]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def answer(self, query: Query) -> dict[str, Any] | None:
        """Return the answer to a query, None if there is none."""
        return self.answers.get(self.key(query))

    def pending(self, queries: list[Query]) -> list[Query]:
        """Return the queries that were neither answered nor quarantined."""
        done = self.answers.keys() | self.quarantined
        return [query for query in queries if self.key(query) not in done]

    def perform(self, queries: list[Query], answerer: Answerer, concurrency: int) -> None:
        """Answer pending queries, `concurrency` at a time.

        `answerer` raises `InvalidAnswerError` (or `UserError` for a photo that cannot be read) for a query that is to be
        quarantined, and `EndpointError` where the endpoint failed. A query on which the endpoint failed although it
        answers others is quarantined too. Raises `UserError` when the endpoint has never answered, when it failed on
        `MAX_UNANSWERED` queries in a row, and when none of the first `MAX_UNUSABLE` answers can be used.
        """
        unanswered: list[tuple[Query, EndpointError]] = []
        good = bad = 0
        started = reported = time.monotonic()
        waiting = iter(queries)
        with ThreadPoolExecutor(concurrency) as pool:
            running = {pool.submit(answerer, query): query for query in islice(waiting, concurrency)}
            try:
                while running:
                    future = next(as_completed(running))
                    query = running.pop(future)
                    try:
                        answer = future.result()
                    except EndpointError as error:
                        unanswered.append((query, error))
                        if error.final or (error.unreachable and not good + bad) or len(unanswered) >= MAX_UNANSWERED:
                            raise self._down(error) from None
                    except (InvalidAnswerError, UserError) as error:
                        self._quarantine(query, str(error))
                        bad += 1 + self._quarantine_all(unanswered)  # the endpoint works: those queries were at fault
                        if not good and bad >= MAX_UNUSABLE:
                            raise UserError(f"None of the first {bad} answers can be used; the last: {error}.") from None
                    else:
                        self._save(query, answer)
                        good += 1
                        bad += self._quarantine_all(unanswered)
                    reported = self._log_progress(good + bad, len(queries), started, reported)
                    running |= {pool.submit(answerer, following): following for following in islice(waiting, 1)}
            finally:
                self._save_running(running)
        if unanswered and not good + bad and not self.answers:
            raise self._down(unanswered[-1][1])
        self._quarantine_all(unanswered)

    def _log_progress(self, done: int, total: int, started: float, reported: float) -> float:
        """Log the progress if a report is due. Return the time of the last report."""
        now = time.monotonic()
        if done != FIRST_REPORT and now - reported <= REPORT_SECONDS:
            return reported
        minutes = seconds_left(done, total, started) / 60
        log.info("%s: %d of %d, about %.0f min left", self.step, done, total, minutes)
        return now

    def _save_running(self, running: dict[Future[dict[str, Any]], Query]) -> None:
        """Wait for the queries that are running when a run is stopped early, and save their answers."""
        for future, query in running.items():
            if not future.exception():
                self._save(query, future.result())

    def report(self, queries: list[Query]) -> None:
        """Log how many queries have an answer. Raises `UserError` if none has."""
        answered = sum(self.answer(query) is not None for query in queries)
        quarantined = sum(self.key(query) in self.quarantined for query in queries)
        reasons = f"{self._rejected.path} lists the reasons (delete it to try again)"
        if queries and not answered:
            raise UserError(f"None of {len(queries)} answers can be used: {reasons}.")
        log.info("%s: %d of %d answered%s", self.step, answered, len(queries), f"; {reasons}" if quarantined else "")

    def _save(self, query: Query, answer: dict[str, Any]) -> None:
        key = self.key(query)
        self._journal.append({"key": key, "model": self.model, **query.subject, "answer": answer})
        self.answers[key] = answer

    def _quarantine(self, query: Query, reason: str) -> None:
        key = self.key(query)
        self._rejected.append({"key": key, "step": self.step, "model": self.model, **query.subject, "reason": reason})
        self.quarantined.add(key)
        log.warning("%s: %s", " ".join(value[:40] for value in query.subject.values()), reason)

    def _quarantine_all(self, unanswered: list[tuple[Query, EndpointError]]) -> int:
        count = len(unanswered)
        for query, error in unanswered:
            self._quarantine(query, str(error))
        unanswered.clear()
        return count

    def _down(self, error: EndpointError) -> UserError:
        return UserError(f"{error} The answers so far are saved: correct this and run the same command again.")


def estimate(queries: list[Query], output_tokens: int, price_in: float, price_out: float) -> str:
    """Return an estimate of calls, tokens and, where the prices of a million tokens are known, cost."""
    characters = sum(len(query.prompt) for query in queries)
    tokens_in = characters // CHARACTERS_PER_TOKEN + PHOTO_TOKENS * sum(query.photo is not None for query in queries)
    tokens_out = output_tokens * len(queries)
    cost = (tokens_in * price_in + tokens_out * price_out) / 1e6
    text = f"{len(queries)} calls, roughly {tokens_in:,} tokens in and {tokens_out:,} out"
    return f"{text}, costing {cost:.2g}" if cost else text
