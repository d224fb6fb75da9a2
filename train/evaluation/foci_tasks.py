"""The questions that a model is asked for a FOCI file: those of the file, and the controls of its letters."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from core.errors import UserError
from core.evaluation.foci_results import GREY, OTHER, Control
from core.taxonomy.categories import name_key
from core.taxonomy.prompts import LETTERS
from train.data.foci import FociFile, FociQuestion


@dataclass(frozen=True)
class Asking:
    """What the answers of one file depend on, but for the photos."""

    model: str
    weights: str
    seed: int
    reply_tokens: int
    seen: frozenset[str] | None = None  # first digits of the hashes of the model's training photos, if known

    def key(self, question: str, prompt: str, control: Control | Literal[""] = "") -> str:
        """Return a hash of everything that the answer to a question depends on."""
        parts = [self.model, self.weights, self.reply_tokens, question, prompt, *([control] if control else [])]
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
    rotations: tuple[str, ...] = ()  # the prompts with the options moved on by one, two and three, if they are asked
    control: Control | Literal[""] = ""  # "": the question's own photo

    @property
    def fields(self) -> set[str]:
        """Return the fields of a line that answers it; the controls are of the letters alone."""
        names = {"likelihood", "ranking"} if not self.control else set()
        return {"reply", "letter_scores", *names, *({"rotated"} if self.rotations else ())}


def tasks_of(foci: FociFile, photos: dict[str, Path], asking: Asking, *, rotations: bool = False) -> list[Task]:
    """Return the questions whose photo is there, with the options shuffled by the seed, alike for all models."""
    tasks = []
    for question in foci.questions:
        if question.id in photos:
            options = question.shuffled(asking.seed)
            prompt = foci.prompt(options)
            truth = LETTERS[options.index(question.truth)]
            key = asking.key(question.id, prompt)
            moved = tuple(foci.prompt(_rotated(options, by)) for by in range(1, len(options))) if rotations else ()
            tasks.append(Task(key, question.id, photos[question.id], options, truth, prompt, moved))
    return tasks


def control_tasks(
    foci: FociFile, photos: dict[str, Path], asking: Asking, *, rotations: bool = False
) -> dict[Control, list[Task]]:
    """Return the same questions with photos that do not show the answer, by control.

    A grey photo has the size of the question's own. The other photo is one of those asked about, drawn by the seed and
    the question from the categories that are none of its four options: no option is right of it, and a model that reads
    the letter from the photo has no reason to prefer the one that counts. Raises `UserError` if there is no such photo.
    """
    there = [question for question in foci.questions if question.id in photos]
    controls: dict[Control, list[Task]] = {GREY: [], OTHER: []}
    for question, task in zip(there, tasks_of(foci, photos, asking, rotations=rotations), strict=True):
        shown: dict[Control, Path] = {GREY: task.photo, OTHER: photos[_other(question, there, asking.seed).id]}
        for control, photo in shown.items():
            key = asking.key(task.id, task.prompt, control)
            controls[control].append(replace(task, key=key, photo=photo, control=control))
    return controls


def _other(question: FociQuestion, questions: Sequence[FociQuestion], seed: int) -> FociQuestion:
    """Return a question about a photo of a category that is none of a question's options."""
    left_out = {name_key(option) for option in question.options}
    order = random.Random(f"{seed} {question.id} {OTHER}")
    for _ in range(100):  # a draw fails where its category is among the options: seldom, but in a small set
        drawn = order.choice(questions)
        if name_key(drawn.truth) not in left_out:
            return drawn
    remaining = [other for other in questions if name_key(other.truth) not in left_out]
    if not remaining:
        raise UserError(
            f"--controls asks about another category's photo, but all photos are of the options of {question.id}: add "
            "photos of a fifth category, or leave out --controls."
        )
    return order.choice(remaining)


def _rotated(options: list[str], by: int) -> list[str]:
    return options[by:] + options[:by]
