"""`python -m core compare`: two models on one photo."""

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

from core.cli.arguments import MODELS

if TYPE_CHECKING:
    from core.cli.arguments import Commands
    from core.evaluation.outcomes import SharedVisionEncoder
    from core.evaluation.side_by_side import Ask, Side
    from core.evaluation.sides import ModelOutput
    from core.recognition.label_space import LabelSpace
    from core.taxonomy.categories import SuperCategory

log = logging.getLogger(__name__)


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m core`."""
    command = commands.add_parser("compare", help="ask two models what one photo shows")
    command.add_argument("photo", metavar="PHOTO")
    command.add_argument(
        "--models",
        nargs=2,
        metavar=("A", "B"),
        default=["idefics2-tiny", "finedefics-tiny"],
        help=f"{MODELS}, or endpoint:NAME",
    )
    command.add_argument("--super-category", metavar="S", help="bird, dog, cat, flower, car or aircraft")
    command.add_argument("--truth", default="", metavar="NAME", help="its true name, to be told who is right")
    command.add_argument("--options", nargs="+", default=[], metavar="NAME", help="two to four to choose from")
    command.add_argument("--question", default="", help="one of your own")
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask both models for the name, by multiple choice and what the user asks; print the answers and who is right."""
    from core.data.images import read_photo
    from core.errors import UserError
    from core.evaluation.outcomes import SharedVisionEncoder
    from core.evaluation.side_by_side import options_for, read_options, verdict
    from core.evaluation.sides import empty_output
    from core.evaluation.study import check_models
    from core.taxonomy.categories import in_super_category
    from core.taxonomy.prompts import LETTERS
    from core.zoo.question_models import describe

    names = check_models(options.models)
    choices = read_options(options.options)
    if len(choices) > len(LETTERS):
        raise UserError(f"Give at most {len(LETTERS)} options.")
    for name in names:
        describe(name)  # one that there is not, or an endpoint without an address, is refused
    kind = in_super_category(options.super_category)[0].super_category if options.super_category else None
    encoder = SharedVisionEncoder(read_photo(Path(options.photo)).image)
    sides = [_side(name, kind, encoder) for name in names]
    outputs = _asked(sides, [empty_output(side.name) for side in sides], lambda side, output: side.identify(output))
    choices = choices or options_for(options.truth, outputs)
    if choices:
        outputs = _asked(sides, outputs, lambda side, output: side.choose(output, choices))
    if options.question:
        outputs = _asked(sides, outputs, lambda side, output: side.reply(output, options.question))
    told = verdict(outputs, options.truth)
    if options.json:
        print(json.dumps({"photo": options.photo, "verdict": told, "models": [_as_dict(one) for one in outputs]}))
    else:
        print("\n".join([*map(_text, outputs), told]))
    return int(any(output.error for output in outputs))


def _side(name: str, kind: "SuperCategory | None", encoder: "SharedVisionEncoder") -> "Side":
    """Return a model in front of the photo. Raises `UserError` if it cannot be had."""
    from core.evaluation.sides import Asked, Local, Remote
    from core.models.openai_endpoint import Endpoint
    from core.recognition.asked_model import AskedModel
    from core.zoo.question_models import ENDPOINT, endpoint_settings
    from core.zoo.registry import load

    if name.startswith(ENDPOINT):
        return Remote(Endpoint(endpoint_settings(name)), encoder.photo, kind)
    model = load(name, log.info)
    space = model.label_space(None, kind.name if kind else None)
    if isinstance(model, AskedModel):
        return Asked(model, space, encoder.photo)
    return Local(model, cast("LabelSpace", space), encoder)


def _asked(sides: "list[Side]", outputs: "list[ModelOutput]", ask: "Ask") -> "list[ModelOutput]":
    """Return the outputs of both sides once they are complete; a side that has failed is not asked again."""
    from core.evaluation.side_by_side import side_by_side

    alive = [None if output.error else side for side, output in zip(sides, outputs, strict=True)]
    *_, outputs = outputs, *side_by_side(alive, outputs, ask)
    return outputs


def _as_dict(output: "ModelOutput") -> dict:
    result = output.result
    return {
        "model": result.model,
        "species": [{"name": s.name, "probability": round(s.probability, 4)} for s in result.species],
        **({"conclusion": conclusion.as_dict()} if (conclusion := result.conclusion()) else {}),
        "answer": result.answer,
        "attributes": result.attributes,
        "choice": output.choice,
        "reply": output.reply,
        "note": result.note,
        "error": output.error,
    }


def _text(output: "ModelOutput") -> str:
    from core.zoo.hub import UNCALIBRATED

    result = output.result
    limits = result.note or ("" if result.calibrated else UNCALIBRATED)
    lines = [result.model, *(f"  {species.probability:6.1%}  {species.name}" for species in result.species)]
    said = {"Sure is only": less.phrase} if (less := result.backed_off()) else {}
    replies = {"Choice": output.choice, "Reply": output.reply}
    parts = {**said, "Free answer": result.answer, **result.attributes, **replies}
    lines += [f"  {part}: {text}" for part, text in parts.items() if text]
    lines += [f"  {sentence}" for sentence in (limits, output.error) if sentence]
    return "\n".join(lines)
