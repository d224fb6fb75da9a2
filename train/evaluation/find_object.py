"""Measure how a model names photos of which the object is a part: as a whole, from the part it finds, from the true box.

Four kinds of pictures: photos as they are (tight crops), each pasted into a scene, two of them in one scene
(`train.evaluation.composites`), and whole photos whose boxes are known. Names are ranked among all that the model knows.
"""

import csv
import random
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import mean, stdev

from PIL import Image

from core.data.images import read_photo
from core.errors import UserError
from core.progress import Progress, count_progress
from core.recognition.crops import Box, Crop, checked_box
from core.recognition.label_space import LabelSpace
from core.recognition.recogniser import Recogniser
from core.recognition.regions import choose_part
from core.taxonomy.categories import same_category
from train.data.records import Record, by_data_set, record
from train.evaluation.bench import package_pictures
from train.evaluation.composites import blurred, composite, texture

TIGHT, PASTED, TWO, BOXED = "tight crops", "pasted into a scene", "two in a scene", "whole photos with boxes"
TWO_EVERY = 3  # records, of which one is pasted beside a second one
SCENE_SIDE = 200  # pixels of a picture's shorter side: smaller ones are no scenes


@dataclass(frozen=True)
class Case:
    """A picture, the names of what is in it, and their boxes (none: the photo is a tight crop)."""

    kind: str
    picture: Image.Image
    names: list[str]
    boxes: list[Box]


@dataclass(frozen=True)
class Named:
    """How one case was named, by crop: `none`, `auto`, and `box` where there is one."""

    kind: str
    right: dict[str, float]  # 1 or 0; of two objects the share that is named
    seconds: dict[str, float]  # until the names are ranked
    cropped: bool  # `auto` chose a part


def read_boxes(table: Path) -> dict[Record, Box]:
    """Return the boxes of the photos of a CSV (columns image_path, label, box) that have one.

    A box is left, top, width and height as shares of the photo, separated by spaces. Raises `UserError` for a table
    without one, and for a box that is none.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("box")]
        return {
            record(table.parent / row["image_path"], row["label"], table.parent.name): _box(row["box"]) for row in rows
        }
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise UserError(f"{table} is no CSV with the columns image_path, label and box.") from error


def _box(text: str) -> Box:
    try:
        left, top, width, height = map(float, text.split())
    except ValueError:
        raise UserError(f"{text!r} is no box: four shares of the photo, separated by spaces, are needed.") from None
    return checked_box((left, top, width, height))


def sample(records: Sequence[Record], count: int, chance: random.Random) -> list[Record]:
    """Return `count` records (or all), as evenly from every data set as they allow, in random order."""
    queues = [chance.sample(group, len(group)) for group in by_data_set(list(records)).values()]
    turns = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    chosen = turns[:count]
    chance.shuffle(chosen)
    return chosen


def measure(
    recogniser: Recogniser, records: Sequence[Record], boxes: dict[Record, Box], photos: int, seed: int
) -> Generator[Progress, None, list[Named]]:
    """Return how the three cases of `photos` of the records were named, and as many of those with `boxes`."""
    chance, started = random.Random(seed), time.monotonic()
    space, named = recogniser.label_space(), []
    chosen, whole = sample(records, photos, chance), sample(list(boxes), photos, chance)
    pictures = 2 * len(chosen) + -(-len(chosen) // TWO_EVERY) + len(whole)
    made = chain(cases(chosen, records, chance), (_boxed(one, boxes[one]) for one in whole))
    for case in made:
        named.append(name_case(recogniser, case, space))
        yield count_progress(len(named), pictures, started, "pictures")
    return named


def cases(records: Sequence[Record], others: Sequence[Record], chance: random.Random) -> Iterator[Case]:
    """Yield the cases of the records: the photo, in a scene, and of some in a scene with another kind of photo.

    Scenes are textures, pictures of installed packages and blurred photos in turn; those and the second objects come
    from `others` of another data set.
    """
    pictures = [picture for picture in package_pictures().values() if min(picture.size) >= SCENE_SIDE]
    for number, one in enumerate(records):
        photo = read_photo(one.image).image
        strangers = [other for other in others if other.data_set != one.data_set] or list(others)
        drawn = chance.sample(strangers, 2)
        second, behind = (read_photo(other.image).image for other in drawn)
        scene = (texture(chance), chance.choice(pictures), blurred(behind))[number % 3]
        yield Case(TIGHT, photo, [one.category], [])
        pasted = composite([photo], scene, chance)
        yield Case(PASTED, pasted.scene, [one.category], pasted.boxes)
        if number % TWO_EVERY == 0:
            two = composite(
                [photo, second], chance.choice((texture(chance), chance.choice(pictures), blurred(behind))), chance
            )
            yield Case(TWO, two.scene, [one.category, drawn[0].category], two.boxes)


def _boxed(one: Record, box: Box) -> Case:
    return Case(BOXED, read_photo(one.image).image, [one.category], [box])


def name_case(recogniser: Recogniser, case: Case, space: LabelSpace) -> Named:
    """Return how a case is named as a whole, from the part that is found, and from its true boxes."""
    crops: dict[str, list[Crop]] = {"none": ["none"], "auto": ["auto"], "box": list(case.boxes)}
    right, seconds, cropped = {}, {}, False
    for way, given in crops.items():
        if not given:
            continue
        started, said = time.perf_counter(), []
        for crop in given:
            part = choose_part(recogniser, case.picture, space, crop)
            logits = recogniser.logits(recogniser.score(part.encoding, space))
            said += [space.labels[int(logits.argmax())], *(region.name for region in part.regions[1:])]
            cropped |= way == "auto" and part.box is not None
        seconds[way] = time.perf_counter() - started
        found = [any(same_category(name, one) for one in said) for name in case.names]
        right[way] = sum(found) / len(found)
    return Named(case.kind, right, seconds, cropped)


def summary(named: Sequence[Named]) -> dict[str, dict[str, float]]:
    """Return by kind: n, shares of right names by crop, differences to `auto`, each with its standard error; times."""
    kinds: dict[str, list[Named]] = {}
    for one in named:
        kinds.setdefault(one.kind, []).append(one)
    return {kind: _row(group) for kind, group in kinds.items()}


def _row(group: list[Named]) -> dict[str, float]:
    row: dict[str, float] = {"n": len(group), "cropped": mean(one.cropped for one in group)}
    for way in group[0].right:
        row |= _with_error(f"top1_{way}", [one.right[way] for one in group])
    for way in group[0].right.keys() - {"auto"}:
        row |= _with_error(f"auto_less_{way}", [one.right["auto"] - one.right[way] for one in group])
    times = {way: mean(one.seconds[way] for one in group) for way in ("none", "auto")}
    return row | {"seconds_none": times["none"], "seconds_auto": times["auto"]}


def _with_error(name: str, values: list[float]) -> dict[str, float]:
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return {name: mean(values), f"{name}_error": error}
