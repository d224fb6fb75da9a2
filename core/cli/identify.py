"""`python -m core identify`: what photos show."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.arguments import add_model
from core.console import at_least_one, checking_arguments

if TYPE_CHECKING:
    from PIL import Image

    from core.cli.arguments import Commands
    from core.recognition.crops import Box, Crop
    from core.recognition.results import Explanation, Identification

    Name = Callable[[Image.Image], Identification]

log = logging.getLogger(__name__)

UNKNOWN_PHOTO = 3  # exit status with --fail-unknown


class _PrintSchema(argparse.Action):
    """The option --schema, for which no photo is needed."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print the schema and exit."""
        from core.recognition.result_schema import result_schema

        print(json.dumps(result_schema(), indent=1))
        parser.exit()


def add_command(commands: "Commands") -> None:
    """Add the command to the parser of `python -m core`."""
    command = commands.add_parser(
        "identify",
        help="name what photos show",
        epilog="Exit status: 0 done, an unknown photo too; 1 a photo or the model could not be used; 2 wrong arguments; "
        f"{UNKNOWN_PHOTO} with --fail-unknown, a photo is unknown and none has failed.",
    )
    command.add_argument("photos", nargs="+", metavar="PHOTO")
    add_model(command)
    choice = command.add_mutually_exclusive_group()
    choice.add_argument("--labels", metavar="FILE", help="candidate names, one per line")
    choice.add_argument("--super-category", metavar="S", help="bird, dog, cat, flower, car or aircraft")
    command.add_argument("--top", type=at_least_one, default=5, metavar="K", help="how many names to show")
    command.add_argument(
        "--crop",
        default="none",
        metavar="x,y,w,h|auto|none",
        help="the part of each photo: left, top, width and height as shares of the photo between 0 and 1, auto to look "
        "for the object, none for the whole photo (the default)",
    )
    command.add_argument(
        "--sure",
        type=float,
        default=0.9,
        metavar="P",
        help="how probable a name must be; else its group or kind is said, if that is (default: %(default)s)",
    )
    command.add_argument("--json", action="store_true", help="one JSON object per photo and line")
    command.add_argument("--schema", action=_PrintSchema, nargs=0, help="print the JSON schema of --json, and exit")
    command.add_argument("--fail-unknown", action="store_true", help=f"exit with {UNKNOWN_PHOTO} if a photo is unknown")
    command.add_argument("--explain", action="store_true", help="say which attributes speak for the first name")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Identify the photos one by one; a photo that cannot be used is reported and the next one is taken."""
    from core.recognition.conclusion import check_sure
    from core.recognition.crops import parse_crop
    from core.recognition.label_space import check_labels
    from core.storage.files import read_text
    from core.taxonomy.categories import distinct_names, in_super_category
    from core.zoo.registry import find_source

    with checking_arguments():
        labels = read_text(Path(options.labels)).splitlines() if options.labels is not None else None
        if labels is not None:
            check_labels(distinct_names(labels)[0])
        if options.super_category:
            in_super_category(options.super_category)  # an unknown one is refused
        crop = parse_crop(options.crop)
        check_sure(options.sure)
        find_source(options.model)
    name = _load(options, labels, crop)
    results = [_identify(path, name, options) for path in options.photos]
    if None in results:
        return 1
    unknown = any(result and not result.known for result in results)
    return UNKNOWN_PHOTO if options.fail_unknown and unknown else 0


def _load(options: argparse.Namespace, labels: list[str] | None, crop: "Crop") -> "Name":
    """Return what identifies a photo with the model and names of the options; print what it does not do."""
    from core.recognition.asked_model import UNEXPLAINED
    from core.recognition.explanation import Explainer
    from core.recognition.recogniser import Recogniser
    from core.zoo.hub import UNCALIBRATED
    from core.zoo.registry import load

    model = load(options.model, log.info)
    if not isinstance(model, Recogniser):
        if options.explain:
            print(f"{options.model}: {UNEXPLAINED}", file=sys.stderr)
        space = model.label_space(labels, options.super_category)
        return partial(model.identify, space=space, top=options.top, crop=crop)
    if not model.calibration.fitted:
        print(f"{options.model}: {UNCALIBRATED}", file=sys.stderr)
    namer = Explainer(model) if options.explain else model
    space = model.label_space(labels, options.super_category)
    return partial(namer.identify, space=space, top=options.top, crop=crop)


def _identify(path: str, name: "Name", options: argparse.Namespace) -> "Identification | None":
    """Print what a photo shows, and return it; None if the photo cannot be used."""
    from core.data.images import read_photo
    from core.errors import UserError

    try:
        photo = read_photo(Path(path))
    except UserError as error:
        _report_failure(path, str(error), options)
        return None
    if photo.note:
        print(f"{path}: {photo.note}", file=sys.stderr)
    try:
        result = name(photo.image)
    except UserError as error:
        _report_failure(path, f"{path}: {error}", options)
        return None
    sure = options.sure
    print(json.dumps(result.as_dict(path, sure)) if options.json else _text(path, result, sure), flush=True)
    return result


def _report_failure(path: str, error: str, options: argparse.Namespace) -> None:
    """Print why a photo cannot be used."""
    print(error, file=sys.stderr)
    if options.json:
        print(json.dumps({"photo": path, "error": error}), flush=True)


def _text(path: str, result: "Identification", sure: float) -> str:
    from core.recognition.recogniser import UNKNOWN

    lines = [path]
    if not result.known:
        lines.append(f"  {UNKNOWN}")
    if less := result.backed_off(sure):
        probability = f" ({less.probability:.0%})" if less.noun else ""
        lines.append(f"  Sure is: {less.phrase}{probability}")
    lines += [f"  {species.probability:6.1%}  {species.name}" for species in result.species]
    if result.box:
        lines.append(f"  Named from the part {_box(result.box)}; --crop none uses the whole photo.")
    if len(result.objects) > 1:
        lines += [f"  Also found: {o.name} ({o.probability:.0%}) in {_box(o.box)}" for o in result.objects[1:]]
    if result.answer:
        lines.append(f"  Free answer: {result.answer}")
    lines += [f"  {attribute}: {value}" for attribute, value in result.attributes.items()]
    if result.description and not result.attributes:
        lines.append(f"  Description: {result.description}")
    if result.note:
        lines.append(f"  {result.note}")
    if result.explanation:
        lines += _reasons(result.explanation)
    lines.append("  " + ", ".join(f"{part} {seconds:.1f} s" for part, seconds in result.seconds.items()))
    return "\n".join(lines)


def _box(box: "Box") -> str:
    return ",".join(f"{share:.3f}" for share in box)


def _reasons(explanation: "Explanation") -> list[str]:
    lines = [f"  {explanation.sentence}"]
    for evidence in explanation.evidence:
        lines.append(f"  {evidence.name}:")
        lines += [
            f"    {e.verdict:9} photo {e.image_similarity:5.2f}  name {e.name_similarity:5.2f}  {e.attribute}: {e.value}"
            for e in evidence.attributes
        ]
    return lines
