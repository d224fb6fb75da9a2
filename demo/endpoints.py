"""The JSON endpoints of the HTTP API, which are also the tools of the MCP server."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isgeneratorfunction, signature
from typing import Annotated, Any

import gradio as gr
from gradio import FileData
from pydantic import BeforeValidator, Field, ValidationError, validate_call

from core import __version__
from core.data.photo_sets import open_photo_set
from core.errors import UserError
from core.evaluation.outcomes import SharedVisionEncoder
from core.evaluation.side_by_side import MAX_QUESTION, compare, read_options
from core.evaluation.study import EVERYTHING, PAIR, Study, check_models, choose_candidates, examine
from core.evaluation.study_report import as_dict
from core.recognition.asked_model import AskedModel
from core.recognition.conclusion import SURE, check_sure
from core.recognition.crops import parse_crop
from core.recognition.label_space import MAX_LABEL_LENGTH
from core.zoo.registry import DEFAULT, availability, find_entry, zoo
from demo.components.identification import prepared
from demo.components.models import ModelPool
from demo.components.sides import open_side
from demo.components.uploads import opened_photo, uploaded

UPDATE_SECONDS = 2.0  # between two lines of progress of a study


def _described(upload: object) -> object:
    """Return what describes an uploaded file. Raises `UserError` for anything else."""
    if not isinstance(upload, dict):
        raise UserError("There is no photo: upload one first.")
    return upload


Upload = Annotated[FileData, BeforeValidator(_described)]


class JsonEndpoints:
    """The endpoints, added to the current `gr.Blocks`. Those that compute with a model run one at a time, as its events.

    Their docstrings are what the page "Use via API" and MCP clients show.
    """

    def __init__(self, models: ModelPool) -> None:
        self._models = models
        for function in (self.identify, self.compare, self.study):
            gr.api(_for_programs(function), concurrency_id="model", concurrency_limit=1)
        gr.api(self.models, queue=False)
        gr.api(self.health, queue=False)

    def identify(
        self,
        photo: Upload,
        model: str = DEFAULT,
        super_category: str = "",
        labels: list[str] = [],  # noqa: B006 (never changed; the API page shows it)
        top: Annotated[int, Field(ge=1)] = 5,
        crop: str = "none",
        sure: float = SURE,
        explain: bool = False,
    ) -> dict:
        """Name the bird, dog, cat, flower, car or aircraft in a photo: the JSON of `core identify --json`.

        Args:
            photo: an uploaded file; to MCP, a data URL (data:image/jpeg;base64,...) or the address of an upload here
            model: one that `models` lists as ready
            super_category: bird, dog, cat, flower, car or aircraft; empty for all of them
            labels: names to choose from, in place of all that are known
            top: how many names to return
            crop: the part of the photo: none, auto (looks for the object), or left,top,width,height as shares of it
            sure: how probable a name must be, from 0.5 to 1; else its group or kind is the conclusion, if that is
            explain: whether to say which attributes speak for the first name

        """
        path = uploaded(photo.model_dump())
        part = parse_crop(crop)
        check_sure(sure)
        image = opened_photo(path).image
        namer = prepared(self._models, labels, super_category or None, model)
        explainer = namer.model
        chosen: Any = explainer if explain or isinstance(explainer, AskedModel) else explainer.recogniser
        return chosen.identify(image, space=namer.space, top=top, crop=part).as_dict(path.name, sure)

    def compare(
        self,
        photo: Upload,
        model_a: str = PAIR[0],
        model_b: str = PAIR[1],
        super_category: str = "",
        truth: Annotated[str, Field(max_length=MAX_LABEL_LENGTH)] = "",
        options: list[str] = [],  # noqa: B006
        question: Annotated[str, Field(max_length=MAX_QUESTION)] = "",
    ) -> dict:
        """Ask two models what a photo shows, and to choose among options: the JSON of `core compare --json`.

        Args:
            photo: an uploaded file, as for `identify`
            model_a: one that `models` lists as ready, or "endpoint", that of the app's environment
            model_b: another one
            super_category: bird, dog, cat, flower, car or aircraft; empty for all of them
            truth: the true name, to be told who is right
            options: two to four names to choose from; look-alikes without any
            question: one of your own to both

        """
        names, choices = check_models([model_a, model_b]), read_options(options)
        path = uploaded(photo.model_dump())
        encoder = SharedVisionEncoder(opened_photo(path).image)
        sides = [open_side(self._models, name, super_category or None, encoder) for name in names]
        return compare(sides, truth, choices, question).as_dict(path.name)

    def study(
        self,
        photos: Upload,
        model_a: str = PAIR[0],
        model_b: str = PAIR[1],
        candidates: str = EVERYTHING,
        ask: bool = False,
    ) -> Iterator[dict]:
        """Put the photos of a ZIP through two models: the JSON that `core study` writes, after lines of progress.

        Args:
            photos: an uploaded ZIP, with class folders or a CSV of labels if the true names are known
            model_a: one that `models` lists as ready
            model_b: another one
            candidates: all, labels (those of the photos), or bird, dog, cat, flower, car or aircraft
            ask: whether the models answer freely, too, which takes several times as long

        """
        names = check_models([model_a, model_b])
        with open_photo_set(uploaded(photos.model_dump())) as items:
            labels, group = choose_candidates(items, candidates)
            pair = [self._models.prepare(name, labels, group) for name in names]
            study, shown = Study(names, candidates, len(items)), time.monotonic()
            for row in examine(items, pair, ask):
                study.rows.append(row)
                if time.monotonic() - shown >= UPDATE_SECONDS:
                    shown = time.monotonic()
                    yield {"progress": study.progress()}
        yield as_dict(study)

    def models(self) -> list[dict]:
        """List the models, and whether each can run here: the lines of `core models --json`."""
        return [entry.as_dict(availability(entry)) for entry in zoo().values()]

    def health(self) -> dict:
        """Say that the app is alive, which model it takes unless told otherwise, and whether that can run."""
        state = availability(find_entry(DEFAULT))
        return {"status": "alive", "version": __version__, "model": DEFAULT, "ready": state == "ready", "state": state}


def _for_programs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of an endpoint with arguments of the types it states, whose errors are one sentence."""
    checked, parameters = validate_call(function), signature(function)

    @wraps(function)
    def answer(*args: Any) -> Any:
        with _one_sentence():
            return checked(**parameters.bind(*args).arguments)

    @wraps(function)
    def answers(*args: Any) -> Iterator[Any]:
        with _one_sentence():
            yield from checked(**parameters.bind(*args).arguments)

    return answers if isgeneratorfunction(function) else answer


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn an error of the caller into the endpoint's, as plain text."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where, message = first["loc"][0], first["msg"]
        raise gr.Error(f"{where} cannot be used: {message[:1].lower()}{message[1:]}.", print_exception=False) from error
