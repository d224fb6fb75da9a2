"""What the Identify tab does with photos: a model and its names, and the photos of one session with their results."""

import html
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import gradio as gr
from PIL import Image

from core.data.images import to_jpeg
from core.errors import UserError
from core.progress import count_progress
from core.recognition.asked_model import UNEXPLAINED, AskedModel
from core.recognition.conclusion import SURE
from core.recognition.crops import Crop, Region, cut, parse_crop
from core.recognition.explanation import Explainer
from core.recognition.label_space import LabelSpace, Names
from core.recognition.regions import choose_part
from core.recognition.results import Explanation, Identification
from core.taxonomy.categories import distinct_names, dropped_sentence
from demo.components.card import Card
from demo.components.models import AUTO, ModelPool
from demo.components.uploads import opened_photo
from demo.history_store import PHOTO_SIDE

QUALITY = 85  # of a card's photo as JPEG
REPLACED = "This photo is no longer the one that is shown: choose the part again."
NOT_SEARCHED = "This model does not look for the object: it was shown the whole photo."


@dataclass(frozen=True, eq=False)
class Namer:
    """A loaded model with the names it chooses from; a model that is only asked has no explainer."""

    model: Explainer | AskedModel
    space: Names

    @property
    def searches(self) -> bool:
        """Return whether the model can look for the object in a photo."""
        return isinstance(self.model, Explainer) and self.model.recogniser.calibration.fitted

    def stream(self, photo: Image.Image, crop: Crop = "none") -> Iterator[Identification]:
        """Yield growing identifications of the part of a photo; closing the iterator stops the work.

        Raises `UserError` for a box that cannot be cut, and for "auto" with a model that does not search.
        """
        if isinstance(self.model, AskedModel):
            image, box = self.model.part(photo, crop)
            for result in self.model.stream(image, self.space):
                yield replace(result, box=box, explanation=Explanation([], [], UNEXPLAINED))
            return
        assert isinstance(self.space, LabelSpace)
        part = choose_part(self.model.recogniser, photo, self.space, crop)
        for result in self.model.stream(part.encoding, self.space):
            yield part.placed(result)


def _lines(candidates: object) -> list[str]:
    """Return candidate names, which a client of the API may send as a list, too."""
    return [str(name) for name in candidates] if isinstance(candidates, list) else str(candidates or "").splitlines()


def prepared(models: ModelPool, candidates: object, super_category: str | None, model_name: str | None) -> Namer:
    """Return the chosen model, loaded if need be, for candidate names (one per line), one kind of thing, or everything.

    Raises `UserError` if there is no such model, or if names and a kind are given.
    """
    names, dropped = distinct_names(_lines(candidates))
    if dropped:
        gr.Info(html.escape(dropped_sentence(dropped)))
    group = None if super_category == AUTO else super_category
    if names and group:
        raise UserError("Give either candidate names or a kind of thing, not both.")
    if model_name is None:
        raise UserError("There is no model: choose one first.")
    model, space = models.prepare(model_name, names or None, group)
    return Namer(model if isinstance(model, AskedModel) else models.explainer(model), space)


@dataclass(eq=False)
class Entry:
    """One photo of a run: its file, its growing card or why there is none, and its row in the history once kept."""

    path: Path
    namer: Namer
    card: Card | None = None
    error: str = ""
    row: int | None = None
    sure: float = SURE  # see `Card.sure`
    crop: Crop = "none"
    found: list[Region] = field(default_factory=list)  # in the photo, when it was searched
    id: str = field(default_factory=lambda: secrets.token_hex(8))  # of the photo: its parts have the same

    def identify(self) -> Iterator[Card]:
        """Identify the photo, and yield its card as it grows; a model that does not search is shown all of the photo.

        Raises `UserError` if the photo or its part cannot be used.
        """
        opened, crop, notes = opened_photo(self.path), self.crop, []
        if crop == "auto" and not self.namer.searches:
            crop, notes = "none", [NOT_SEARCHED]
        note = " ".join(filter(None, [opened.note, *notes]))
        picture = to_jpeg(opened.image, PHOTO_SIDE, QUALITY)
        for result in self.namer.stream(opened.image, crop):
            self.found = result.objects or self.found
            self.card = Card(
                self.path.name, picture, result, note, size=opened.image.size, found=self.found, sure=self.sure
            )
            yield self.card

    def restate(self, sure: float) -> None:
        """Let the card say what is sure at another level."""
        self.sure = sure
        if self.card:
            self.card = replace(self.card, sure=sure)

    def part(self, photo: str, crop: str) -> "Entry":
        """Return an entry for another part of this photo, if that has the id `photo`; `crop` is as of the command line.

        Raises `UserError` if it is another photo, or if there is no such part.
        """
        if photo != self.id:
            raise UserError(REPLACED)
        part = parse_crop(crop)
        if isinstance(part, tuple):
            cut(opened_photo(self.path).image, part)
        return Entry(self.path, self.namer, sure=self.sure, crop=part, found=self.found, id=self.id)

    @property
    def line(self) -> str:
        """Return the entry's line in a list of photos."""
        return f"{self.path.name}: {self.card.summary if self.card else self.error}"


@dataclass(eq=False)
class Run:
    """The photos that are identified one after the other. The session holds this object: if stopped, it keeps them."""

    total: int
    entries: list[Entry] = field(default_factory=list)
    shown: int | None = None  # the entry whose card is open
    started: float = field(default_factory=time.monotonic)
    sure: float = SURE  # the level that is chosen now

    def restate(self, sure: float) -> Entry | None:
        """Let all cards say what is sure at another level, those to come, too; return the entry whose card is open."""
        self.sure = sure
        for entry in self.entries:
            entry.restate(sure)
        return None if self.shown is None else self.entries[self.shown]

    def add(self, entry: Entry) -> None:
        """Take a photo that is done into the list, at the level that is chosen by now."""
        entry.restate(self.sure)
        if entry not in self.entries:
            self.entries.append(entry)

    @property
    def several(self) -> bool:
        """Return whether the photos are listed."""
        return self.total > 1

    @property
    def progress(self) -> str:
        """Return how many photos are done, and the time left."""
        return count_progress(len(self.entries), self.total, self.started).message

    @property
    def status(self) -> str:
        """Return what is being done, or that it is done."""
        done = len(self.entries) == self.total
        if not self.several:
            return "Done." if done else "Looking ..."
        return f"Done: {self.progress}" if done else self.progress

    @property
    def choices(self) -> list[tuple[str, int]]:
        """Return a line and the index of every photo, for a list to choose from."""
        return [(f"{index + 1}. {entry.line}", index) for index, entry in enumerate(self.entries)]
