"""Two models on one photo at once: what each says, whether they agree, and which of them is right."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from queue import SimpleQueue

import torch
from PIL import Image

from core.errors import UserError
from core.evaluation.outcomes import SharedVisionEncoder
from core.models.openai_endpoint import Endpoint
from core.recognition.label_space import MAX_LABEL_LENGTH, LabelSpace
from core.recognition.multiple_choice import distractors
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import Recogniser
from core.recognition.results import Identification
from core.taxonomy.categories import (
    SuperCategory,
    canonical_name,
    find_category,
    in_super_category,
    name_key,
    same_category,
    shared_super_category,
)
from core.taxonomy.descriptions import clause_start
from core.taxonomy.prompts import LETTER_ONLY, LETTERS, NAME_ONLY, chosen_letter, closed_question, open_question

log = logging.getLogger(__name__)

MAX_QUESTION = 500  # characters
CORES = torch.get_num_threads()  # that torch uses, unless two local models share them


@dataclass(frozen=True)
class Column:
    """What one model has said so far."""

    result: Identification  # an endpoint ranks no names: it has an answer alone
    tokens: int = 0  # that the model wrote itself, for answer and attributes
    choice: str = ""  # its option of the closed-set question
    probabilities: dict[str, float] = field(default_factory=dict)  # of the options, where the model has them
    reply: str = ""  # to a question of the user's own
    error: str = ""  # one sentence, where it failed

    @property
    def named(self) -> str:
        """The name it gives the photo: the first of its ranking, or what it answers. Empty for none."""
        if not self.result.known:
            return ""
        return self.result.species[0].name if self.result.species else self.result.answer.strip(" .")

    @property
    def tokens_per_second(self) -> float:
        """How fast it writes, the reading of its questions included; 0 before it has written."""
        seconds = sum(duration for part, duration in self.result.seconds.items() if part != "species")
        return self.tokens / seconds if seconds else 0.0


def column(model: str, error: str = "") -> Column:
    """The column of a model that has said nothing yet."""
    return Column(Identification(model, True, []), error=error)


class Local:
    """A model of the zoo in front of a photo; `space` holds the names that it ranks."""

    def __init__(self, recogniser: Recogniser, space: LabelSpace, encoder: SharedVisionEncoder) -> None:
        self.name = recogniser.name
        self._recogniser = recogniser
        self._space = space
        self._encoder = encoder
        self._encoding_seconds = 0.0

    @cached_property
    def encoding(self) -> PhotoEncoding:
        """The photo as the model sees it."""
        encoding, self._encoding_seconds = self._encoder.encode(self._recogniser)
        return encoding

    def identify(self, said: Column) -> Generator[Column, None, None]:
        """Species, answer and attributes, as they come; see `Recogniser.stream`."""
        for result in self._recogniser.stream(self.encoding, self._space):
            seconds = {**result.seconds, "species": result.seconds["species"] + self._encoding_seconds}
            yield replace(said, result=replace(result, seconds=seconds), tokens=self._written(result))

    def choose(self, said: Column, options: list[str]) -> Generator[Column, None, None]:
        """The closed-set question, by the ranking and the letter that it would answer."""
        space = self._recogniser.label_space(options)
        scores = self._recogniser.score(self.encoding, space)
        letters = self._recogniser.letter_scores(space.labels, space.group, self.encoding.tokens)
        shares = self._recogniser.choose(scores, space, space.labels, letters).tolist()
        probabilities = dict(zip(space.labels, shares, strict=True))
        yield replace(said, choice=max(probabilities, key=probabilities.__getitem__), probabilities=probabilities)

    def reply(self, said: Column, question: str) -> Generator[Column, None, None]:
        """A question of the user's own."""
        text = ""
        for piece in self._recogniser.writer.stream(question, self.encoding.tokens, limit=64):
            text += piece
            yield replace(said, reply=text.strip())

    def _written(self, result: Identification) -> int:
        """How many tokens of the answer and the description are the model's own: clauses begin with given words."""

        def count(text: str) -> int:
            return len(self._recogniser.mllm.answer_ids(text)) - 1

        given = sum(count(clause_start(attribute)) for attribute in result.attributes)
        return count(result.answer) + max(count(result.description) - given, 0)


class Remote:
    """A model behind an endpoint in front of a photo. It is asked the same questions, and told how to answer."""

    def __init__(self, endpoint: Endpoint, photo: Image.Image, group: SuperCategory | None) -> None:
        self.name = endpoint.name
        self._endpoint = endpoint
        self._photo = photo
        self._group = group

    def identify(self, said: Column) -> Generator[Column, None, None]:
        """The answer to the open-set question."""
        started = time.perf_counter()
        for written in self._endpoint.stream_reply(f"{open_question(self._group)} {NAME_ONLY}", self._photo):
            seconds = {"answer": time.perf_counter() - started}
            result = replace(said.result, answer=written.text.strip(), seconds=seconds)
            yield replace(said, result=result, tokens=written.tokens)

    def choose(self, said: Column, options: list[str]) -> Generator[Column, None, None]:
        """The closed-set question. Raises `UserError` for a reply that is not one of its letters."""
        question = f"{closed_question(shared_super_category(options), options)}\n{LETTER_ONLY}"
        text = ""
        for written in self._endpoint.stream_reply(question, self._photo):
            text = written.text.strip()
            yield said
        letter = chosen_letter(text, options)
        if letter is None:
            raise UserError(f"{self.name} answers {text[:60]!r}, which is none of the letters.")
        yield replace(said, choice=options[LETTERS.index(letter)])

    def reply(self, said: Column, question: str) -> Generator[Column, None, None]:
        """A question of the user's own."""
        for written in self._endpoint.stream_reply(question, self._photo):
            yield replace(said, reply=written.text.strip())


Side = Local | Remote
Asking = Callable[[Side, Column], Generator[Column, None, None]]


def side_by_side(sides: Sequence[Side | None], columns: Sequence[Column], ask: Asking) -> Iterator[list[Column]]:
    """What all sides say, whenever one has said more; a side that is None has failed already and stays silent.

    Each side works in a thread of its own, and the local models share the cores among them. An error becomes the
    `error` of its column while the others go on. Closing the iterator stops every side within a token.
    """
    said, running = list(columns), {place for place, side in enumerate(sides) if side}
    updates: SimpleQueue[tuple[int, Column | None]] = SimpleQueue()
    stopped = threading.Event()
    local = sum(isinstance(side, Local) for side in sides)

    def work(place: int, side: Side) -> None:
        last = said[place]
        try:
            if isinstance(side, Local):
                _ = side.encoding  # with all cores, for the first model to use an encoder runs it for all
                torch.set_num_threads(max(1, CORES // local))  # holds for this thread and for those that it starts
            with closing(ask(side, last)) as states:
                while not stopped.is_set() and (state := next(states, None)):
                    last = state
                    updates.put((place, last))
        except UserError as error:
            updates.put((place, replace(last, error=str(error))))
        except Exception:
            log.exception("%s failed", side.name)
            updates.put((place, replace(last, error=f"{side.name} failed: the log says why.")))
        finally:
            updates.put((place, None))

    threads = [threading.Thread(target=work, args=(i, side), name="column") for i, side in enumerate(sides) if side]
    for thread in threads:
        thread.start()
    try:
        while running:
            place, state = updates.get()
            if state is None:
                running.discard(place)
            else:
                said[place] = state
            if updates.empty():  # a slow page is shown the latest state alone
                yield list(said)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
        # A number of threads set anywhere is also the default of every thread that uses torch for the first time
        # later. The default is restored from a thread that ends, so that this one keeps the number that it has.
        restoring = threading.Thread(target=torch.set_num_threads, args=(CORES,))
        restoring.start()
        restoring.join()


def read_options(typed: Sequence[str]) -> list[str]:
    """The options of a closed-set question without empty ones; none at all is allowed.

    Raises `UserError` for a single one, for two that are the same, and for one that is too long.
    """
    options = [" ".join(option.replace("_", " ").split()) for option in typed]
    options = [option for option in options if option]
    if len(options) == 1:
        raise UserError("Give at least two options, or none: then look-alikes are filled in.")
    if len({name_key(option) for option in options}) < len(options):
        raise UserError("Two of the options are the same.")
    if any(len(option) > MAX_LABEL_LENGTH for option in options):
        raise UserError(f"An option is longer than {MAX_LABEL_LENGTH} characters.")
    return options


def look_alikes(name: str) -> list[str]:
    """A category and the three that resemble it most, in alphabetical order; nothing for one that is not known."""
    category = find_category(name)
    if category is None:
        return []
    names = [other.name for other in in_super_category(category.super_category.name)]
    return sorted([category.name, *distractors(category.name, names)])


def verdict(columns: Sequence[Column], truth: str = "") -> str:
    """Whether two models agree, and which of them is right if the true name is given; a line per question."""
    lines = []
    models = [column.result.model for column in columns]
    for asked, said in (
        ("Asked for the name", [c.named if c.result.species or c.result.answer else None for c in columns]),
        ("Asked to choose", [c.choice or None for c in columns]),
    ):
        if None in said:
            continue
        answers = [answer or "" for answer in said]
        if all(answers) and same_category(*answers):
            line = f"{asked}, both say {canonical_name(answers[0])}."
        else:
            told = [f"{model} {f'says {a}' if a else 'does not know'}" for model, a in zip(models, answers, strict=True)]
            line = f"{asked}, they differ: {', '.join(told)}."
        if truth:
            right = [model for model, a in zip(models, answers, strict=True) if a and same_category(a, truth)]
            line += f" Right: {' and '.join(right) or 'neither'}."
        lines.append(line)
    return "\n".join(lines)
