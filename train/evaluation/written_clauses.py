"""Measure how many clauses of the descriptions that a model writes agree with the table of the true category."""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from core.data.images import read_photo
from core.recognition.recogniser import Recogniser
from core.taxonomy.categories import Category, find_category, in_super_category
from core.taxonomy.descriptions import content_words, parse_description
from core.taxonomy.names import normalise
from core.taxonomy.prompts import description_question
from core.taxonomy.similarity import most_similar
from train.data.records import Record

log = logging.getLogger(__name__)

LOOK_ALIKES = 3  # the nearest by description, one of which is drawn


def same_value(written: str, known: str) -> bool:
    """Return whether two values are the same by the rule for names."""
    return normalise(written) == normalise(known)


def shares_a_word(written: str, known: str) -> bool:
    """Return whether two values have a content word in common."""
    return bool(content_words(written) & content_words(known))


AGREEMENTS: dict[str, Callable[[str, str], bool]] = {"clauses": same_value, "clauses_partial": shares_a_word}
TABLES = {"": "true", "_chance": "other", "_look_alike": "look_alike"}  # end of a column's name -> whose table


@dataclass(frozen=True)
class Written:
    """The clauses that a model wrote of a photo, and the tables that they are compared with."""

    clauses: dict[str, str]  # attribute -> value
    true: Category
    other: Category  # any other of the super-category
    look_alike: Category  # one of the others that are described most alike

    def share(self, table: Category, agrees: Callable[[str, str], bool]) -> float:
        """Return the share of clauses that agree with a category's table; 0 where nothing was written."""
        right = sum(agrees(value, table.values[attribute]) for attribute, value in self.clauses.items())
        return right / len(self.clauses) if self.clauses else 0.0


def written_clauses(recogniser: Recogniser, records: Sequence[Record], photos: int, seed: int) -> list[Written]:
    """Let the model describe so many of the photos, drawn by `seed`, each as an object of its true super-category.

    Photos of categories that no table describes, or whose table describes no other, are left out before.
    """
    rng = random.Random(seed)
    usable = [
        (record, category, others)
        for record in records
        if (category := find_category(record.category)) and (others := _others(category))
    ]
    chosen = rng.sample(usable, min(photos, len(usable)))
    written = []
    for record, category, others in chosen:
        group = category.super_category
        tokens = recogniser.encode(read_photo(record.image).image).tokens
        text = "".join(recogniser.writer.describe(description_question(group), group.attributes, tokens))
        nearest = most_similar([category.name, *(other.name for other in others)], LOOK_ALIKES)[0]
        look_alike = others[rng.choice(nearest) - 1]
        written.append(Written(parse_description(text, group), category, rng.choice(others), look_alike))
        log.info("%d of %d descriptions", len(written), len(chosen))
    return written


def _others(category: Category) -> list[Category]:
    return [other for other in in_super_category(category.super_category.name) if other is not category]


def clause_summary(written: Sequence[Written]) -> dict[str, float]:
    """Return the columns of a data set: mean shares over the photos, their number, standard errors (of at least two).

    `clauses` agree exactly with the table of the true category, `clauses_chance` with that of a random other one of its
    super-category, `clauses_look_alike` with that of a random look-alike; `clauses_partial...` share a content word.
    """
    result: dict[str, float] = {"clauses_photos": len(written)}
    for agreement, agrees in AGREEMENTS.items():
        for end, whose in TABLES.items():
            shares = [one.share(getattr(one, whose), agrees) for one in written]
            result[agreement + end] = mean(shares)
            if len(shares) > 1:
                result[f"{agreement}{end}_error"] = stdev(shares) / len(shares) ** 0.5
    return result


def mean_of(summaries: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the unweighted mean of data sets' columns, with all photos and the standard error of that mean."""
    result = {}
    for key in summaries[0]:
        values = [summary[key] for summary in summaries if key in summary]
        if key == "clauses_photos":
            result[key] = sum(values)
        elif key.endswith("_error"):
            if len(values) == len(summaries):
                result[key] = sum(value**2 for value in values) ** 0.5 / len(values)
        else:
            result[key] = mean(values)
    return result
