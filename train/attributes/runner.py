"""Run one step over many items, several at a time: which are left, what they will cost, and asking about them."""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.openai_endpoint import EndpointError
from core.progress import seconds_left
from train.attributes.journal import Journal
from train.attributes.validation import InvalidAnswer

log = logging.getLogger(__name__)

CHARACTERS_PER_TOKEN = 4  # of English, for estimates
PHOTO_TOKENS = 1_000  # of a photo as it is sent, for estimates; models differ by a factor of two either way
SILENT_ITEMS = 5  # in a row that the endpoint did not answer: it is down
UNUSABLE_ITEMS = 20  # from the start without a single good answer: it is the wrong model
FIRST_ITEMS = 5  # that the remaining time is judged by
REPORT_SECONDS = 30


@dataclass(frozen=True)
class Item:
    """One question: about a photo, about the values of a photo, or about a super-category."""

    subject: dict[str, str]  # what it is about, recorded beside the answer
    prompt: str
    read: Callable[[str], dict[str, Any]]  # the answer in a reply; raises `InvalidAnswer`
    response_format: dict[str, Any] | None = None
    photo: Path | None = None


Ask = Callable[[Item], dict[str, Any]]


@dataclass
class Run:
    """The progress of one step with one model, in a folder.

    The journal has the answers; `quarantine.jsonl` has the items that were given up, with the reason. Neither is
    asked again: the key of an item is made of the step, the model, the subject and the prompt.
    """

    step: str
    model: str
    folder: Path
    answers: dict[str, dict[str, Any]] = field(init=False)
    given_up: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._journal = Journal(self.folder / f"{self.step}.jsonl", "answer")
        self._quarantine = Journal(self.folder / "quarantine.jsonl", "reason")
        self.answers = {entry["key"]: entry["answer"] for entry in self._journal.entries}
        self.given_up = {entry["key"] for entry in self._quarantine.entries}

    def key(self, item: Item) -> str:
        """Return a hash of what an answer depends on."""
        parts = [self.step, self.model, item.subject, item.prompt]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def answer(self, item: Item) -> dict[str, Any] | None:
        """Return the answer to an item, None if there is none."""
        return self.answers.get(self.key(item))

    def left(self, items: list[Item]) -> list[Item]:
        """Return the items that were neither answered nor given up."""
        return [item for item in items if (key := self.key(item)) not in self.answers and key not in self.given_up]

    def perform(self, items: list[Item], ask: Ask, concurrency: int) -> None:
        """Ask about items that are left, `concurrency` at a time.

        `ask` raises `InvalidAnswer` (or `UserError` for a photo that cannot be read) for an item that is to be put into
        quarantine, and `EndpointError` where the endpoint failed. An item on which it failed alone is put into
        quarantine too. Raises `UserError` when it fails on every item and always has, or on `SILENT_ITEMS` in a row, and
        when none of the first `UNUSABLE_ITEMS` answers can be used.
        """
        silent: list[tuple[Item, EndpointError]] = []
        good = bad = 0
        started = reported = time.monotonic()
        waiting = iter(items)
        with ThreadPoolExecutor(concurrency) as pool:
            running = {pool.submit(ask, item): item for item in islice(waiting, concurrency)}
            try:
                while running:
                    future = next(as_completed(running))
                    item = running.pop(future)
                    try:
                        answer = future.result()
                    except EndpointError as error:
                        silent.append((item, error))
                        if error.final or (error.unreachable and not good + bad) or len(silent) >= SILENT_ITEMS:
                            raise self._down(error) from None
                    except (InvalidAnswer, UserError) as error:
                        self._give_up(item, str(error))
                        bad += 1 + self._give_up_all(silent)  # the endpoint is alive: those items were at fault
                        if not good and bad >= UNUSABLE_ITEMS:
                            raise UserError(f"None of the first {bad} answers can be used; the last: {error}.") from None
                    else:
                        self._keep(item, answer)
                        good += 1
                        bad += self._give_up_all(silent)
                    now, done = time.monotonic(), good + bad
                    if done == FIRST_ITEMS or now - reported > REPORT_SECONDS:
                        reported = now
                        minutes = seconds_left(done, len(items), started) / 60
                        log.info("%s: %d of %d, about %.0f min left", self.step, done, len(items), minutes)
                    running |= {pool.submit(ask, following): following for following in islice(waiting, 1)}
            finally:  # of a run that is stopped early, what is under way is still waited for and kept
                for future, item in running.items():
                    if not future.exception():
                        self._keep(item, future.result())
        if silent and not good + bad and not self.answers:
            raise self._down(silent[-1][1])
        self._give_up_all(silent)

    def report(self, items: list[Item]) -> None:
        """Log how many items have an answer. Raises `UserError` if none has."""
        answered = sum(self.answer(item) is not None for item in items)
        given_up = sum(self.key(item) in self.given_up for item in items)
        reasons = f"{self._quarantine.path} has the reasons (delete it to ask again)"
        if items and not answered:
            raise UserError(f"None of {len(items)} answers can be used: {reasons}.")
        log.info("%s: %d of %d answered%s", self.step, answered, len(items), f"; {reasons}" if given_up else "")

    def _keep(self, item: Item, answer: dict[str, Any]) -> None:
        key = self.key(item)
        self._journal.append({"key": key, "model": self.model, **item.subject, "answer": answer})
        self.answers[key] = answer

    def _give_up(self, item: Item, reason: str) -> None:
        key = self.key(item)
        self._quarantine.append({"key": key, "step": self.step, "model": self.model, **item.subject, "reason": reason})
        self.given_up.add(key)
        log.warning("%s: %s", " ".join(value[:40] for value in item.subject.values()), reason)

    def _give_up_all(self, silent: list[tuple[Item, EndpointError]]) -> int:
        count = len(silent)
        for item, error in silent:
            self._give_up(item, str(error))
        silent.clear()
        return count

    def _down(self, error: EndpointError) -> UserError:
        return UserError(f"{error} What was answered is kept: correct that and run the same command again.")


def estimate(items: list[Item], output_tokens: int, price_in: float, price_out: float) -> str:
    """Return an estimate of calls, tokens and, where the prices of a million tokens are known, cost."""
    characters = sum(len(item.prompt) for item in items)
    tokens_in = characters // CHARACTERS_PER_TOKEN + PHOTO_TOKENS * sum(item.photo is not None for item in items)
    tokens_out = output_tokens * len(items)
    cost = (tokens_in * price_in + tokens_out * price_out) / 1e6
    text = f"{len(items)} calls, roughly {tokens_in:,} tokens in and {tokens_out:,} out"
    return f"{text}, costing {cost:.2g}" if cost else text
