"""Run two models on one photo at once, and tell whether they agree and which of them is right."""

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

import torch

from core.errors import UserError
from core.evaluation.sides import Asked, Local, ModelOutput, Remote, empty_output
from core.recognition.label_space import MAX_LABEL_LENGTH
from core.recognition.multiple_choice import distractors
from core.taxonomy.categories import canonical_name, find_category, in_super_category, name_key, same_category
from core.taxonomy.prompts import LETTERS

log = logging.getLogger(__name__)

MAX_QUESTION = 500  # characters
CORES = torch.get_num_threads()  # torch uses them all, unless two local models share them


Side = Local | Asked | Remote
Ask = Callable[[Side, ModelOutput], Generator[ModelOutput, None, None]]
Report = Callable[[ModelOutput | None], None]  # None: the side has ended


def side_by_side(sides: Sequence[Side | None], outputs: Sequence[ModelOutput], ask: Ask) -> Iterator[list[ModelOutput]]:
    """Yield the outputs of all sides whenever one has grown; a side that is None has failed before and stays as it is.

    Each side runs in its own thread, and the local models share the cores. An error becomes the `error` of its output
    while the others go on. Closing the iterator stops every side within a token.
    """
    current, running = list(outputs), {i for i, side in enumerate(sides) if side}
    updates: SimpleQueue[tuple[int, ModelOutput | None]] = SimpleQueue()
    stopped = threading.Event()
    cores = CORES // max(1, sum(isinstance(side, Local | Asked) for side in sides))
    threads = [
        threading.Thread(
            target=_run_side,
            args=(side, outputs[i], ask, max(1, cores), stopped, lambda output, i=i: updates.put((i, output))),
            name="column",
        )
        for i, side in enumerate(sides)
        if side
    ]
    for thread in threads:
        thread.start()
    try:
        while running:
            i, output = updates.get()
            if output is None:
                running.discard(i)
            else:
                current[i] = output
            if updates.empty():  # a slow page gets only the latest state
                yield list(current)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
        _restore_cores()


def _run_side(side: Side, output: ModelOutput, ask: Ask, cores: int, stopped: threading.Event, report: Report) -> None:
    """Report the growing outputs of a side, an error as the last of them, and None at the end."""
    try:
        if isinstance(side, Local):
            _ = side.encoding  # with all cores: the first model to use a vision encoder runs it for all
        if isinstance(side, Local | Asked):
            torch.set_num_threads(cores)  # for this thread and for those that it starts
        with closing(ask(side, output)) as states:
            while not stopped.is_set() and (state := next(states, None)):
                output = state
                report(output)
    except UserError as error:
        report(replace(output, error=str(error)))
    except Exception:
        log.exception("%s failed", side.name)
        report(replace(output, error=f"{side.name} failed: the log says why."))
    finally:
        report(None)


def _restore_cores() -> None:
    """Restore torch's default number of threads.

    A number that is set anywhere also becomes the default of every thread that uses torch for the first time later. It
    is restored from a thread that ends, so that the calling thread keeps its own number.
    """
    restoring = threading.Thread(target=torch.set_num_threads, args=(CORES,))
    restoring.start()
    restoring.join()


def read_options(typed: Sequence[str]) -> list[str]:
    """Return the options of a multiple-choice question without empty ones; none at all is allowed.

    Raises `UserError` for a single one, for more than there are letters, for two that are the same, and for one that is
    too long.
    """
    options = [" ".join(option.replace("_", " ").split()) for option in typed]
    options = [option for option in options if option]
    if len(options) == 1:
        raise UserError("Give at least two options, or none: then look-alikes are filled in.")
    if len(options) > len(LETTERS):
        raise UserError(f"Give at most {len(LETTERS)} options.")
    if len({name_key(option) for option in options}) < len(options):
        raise UserError("Two of the options are the same.")
    if any(len(option) > MAX_LABEL_LENGTH for option in options):
        raise UserError(f"An option is longer than {MAX_LABEL_LENGTH} characters.")
    return options


@dataclass(frozen=True)
class Comparison:
    """The complete outputs of two models for one photo, and the lines of `verdict` about them."""

    outputs: list[ModelOutput]
    verdict: str

    def as_dict(self, photo: str) -> dict[str, Any]:
        """Return the JSON form shared by the command line and the HTTP endpoint."""
        return {"photo": photo, "verdict": self.verdict, "models": [output.as_dict() for output in self.outputs]}


def compare(sides: Sequence[Side], truth: str = "", options: Sequence[str] = (), question: str = "") -> Comparison:
    """Ask two models for the name, by multiple choice, and a question of the user's own if there is one.

    `options` are those of `read_options`; without any they are `options_for` the true name. A side that has failed is
    not asked again.
    """
    outputs = _asked(sides, [empty_output(side.name) for side in sides], lambda side, output: side.identify(output))
    choices = list(options) or options_for(truth, outputs)
    if choices:
        outputs = _asked(sides, outputs, lambda side, output: side.choose(output, choices))
    if question:
        outputs = _asked(sides, outputs, lambda side, output: side.reply(output, question))
    return Comparison(outputs, verdict(outputs, truth))


def _asked(sides: Sequence[Side], outputs: list[ModelOutput], ask: Ask) -> list[ModelOutput]:
    """Return the outputs of the sides once they are complete."""
    alive = [None if output.error else side for side, output in zip(sides, outputs, strict=True)]
    *_, outputs = outputs, *side_by_side(alive, outputs, ask)
    return outputs


def look_alikes(name: str) -> list[str]:
    """Return a category and its three look-alikes in alphabetical order; [] if the category is not known."""
    category = find_category(name)
    if category is None:
        return []
    names = [other.name for other in in_super_category(category.super_category.name)]
    return sorted([category.name, *distractors(category.name, names)])


def options_for(truth: str, outputs: Sequence[ModelOutput]) -> list[str]:
    """Return the look-alikes of the true name, or else of the first known name; none if no name is known."""
    names = [truth] if truth else [output.result.named for output in outputs]
    known = next(filter(find_category, names), None)
    return look_alikes(known) if known else []


def verdict(outputs: Sequence[ModelOutput], truth: str = "") -> str:
    """Return whether two models agree, and which is right if the true name is given; one line per question."""
    named = [o.result.named if o.result.species or o.result.answer else None for o in outputs]
    chosen = [o.choice or None for o in outputs]
    models = [o.result.model for o in outputs]
    lines = []
    for question, answers in (("Asked for the name", named), ("Asked to choose", chosen)):
        if None not in answers:  # both have answered
            lines.append(f"{question}, {_agreement(models, [answer or '' for answer in answers], truth)}")
    return "\n".join(lines)


def _agreement(models: list[str], answers: list[str], truth: str) -> str:
    if all(answers) and same_category(*answers):
        text = f"both say {canonical_name(answers[0])}."
    else:
        each = [
            f"{m} {f'says {answer}' if answer else 'does not know'}" for m, answer in zip(models, answers, strict=True)
        ]
        text = f"they differ: {', '.join(each)}."
    if truth:
        right = [m for m, answer in zip(models, answers, strict=True) if answer and same_category(answer, truth)]
        text += f" Right: {' and '.join(right) or 'neither'}."
    return text
