"""`python -m core compare`: two models on one photo."""

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.arguments import MODELS
from core.console import checking_arguments

if TYPE_CHECKING:
    from core.cli.arguments import Commands
    from core.evaluation.outcomes import SharedVisionEncoder
    from core.evaluation.side_by_side import Side
    from core.evaluation.sides import ModelOutput
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
    from core.evaluation.outcomes import SharedVisionEncoder
    from core.evaluation.side_by_side import compare, read_options
    from core.evaluation.study import check_models
    from core.taxonomy.categories import in_super_category
    from core.zoo.question_models import ENDPOINT, endpoint_settings
    from core.zoo.registry import find_source

    with checking_arguments():
        names = check_models(options.models)
        choices = read_options(options.options)
        for name in names:
            (endpoint_settings if name.startswith(ENDPOINT) else find_source)(name)  # one that there is not is refused
        kind = in_super_category(options.super_category)[0].super_category if options.super_category else None
    encoder = SharedVisionEncoder(read_photo(Path(options.photo)).image)
    result = compare([_side(name, kind, encoder) for name in names], options.truth, choices, options.question)
    if options.json:
        print(json.dumps(result.as_dict(options.photo)))
    else:
        print("\n".join([*map(_text, result.outputs), result.verdict]))
    return int(any(output.error for output in result.outputs))


def _side(name: str, kind: "SuperCategory | None", encoder: "SharedVisionEncoder") -> "Side":
    """Return a model in front of the photo. Raises `UserError` if it cannot be had."""
    from core.evaluation.sides import Remote, local_side
    from core.models.openai_endpoint import Endpoint
    from core.zoo.question_models import ENDPOINT, endpoint_settings
    from core.zoo.registry import load

    if name.startswith(ENDPOINT):
        return Remote(Endpoint(endpoint_settings(name)), encoder.photo, kind)
    model = load(name, log.info)
    return local_side(model, model.label_space(None, kind.name if kind else None), encoder)


def _text(output: "ModelOutput") -> str:
    from core.zoo.hub import UNCALIBRATED

    result = output.result
    limits = result.note or ("" if result.calibrated else UNCALIBRATED)
    lines = [result.model, *(f"  {species.probability:6.1%}  {species.name}" for species in result.species)]
    said = {"Sure is": less.phrase} if (less := result.backed_off()) else {}
    replies = {"Choice": output.choice, "Reply": output.reply}
    parts = {**said, "Free answer": result.answer, **result.attributes, **replies}
    lines += [f"  {part}: {text}" for part, text in parts.items() if text]
    lines += [f"  {sentence}" for sentence in (limits, output.error) if sentence]
    return "\n".join(lines)
