"""Say the most specific name that is sure enough: a category, else a group of look-alikes, else the kind of thing."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.errors import UserError
from core.taxonomy.categories import find_category, same_category

SURE = 0.9  # the default level
MEMBERS = 3  # names of a group that are told

Rank = Literal["name", "group", "kind", "nothing"]


@dataclass(frozen=True)
class Species:
    """One name of the ranking."""

    name: str
    probability: float
    weighted_scores: tuple[float, ...] = ()  # in the order of `SCORES`; their sum is the logit


@dataclass(frozen=True)
class Conclusion:
    """The most specific thing that can be said of a photo with a probability of at least `sure`.

    At rank "nothing" not even the kind of thing is sure; `name` and `noun` are empty, and the members those that come
    first in the ranking.
    """

    rank: Rank
    name: str  # of the category, of the group, or of the super-category
    noun: str  # what one calls it; the name itself at rank "name"
    probability: float
    members: tuple[str, ...]  # its most probable names
    sure: float

    @property
    def thing(self) -> str:
        """Return the name, the group or kind as "a wood warbler", or "not sure"."""
        if self.rank in ("name", "nothing"):
            return self.name or "not sure"
        return f"{'an' if re.match('[aeiou]', self.noun, re.IGNORECASE) else 'a'} {self.noun}"

    @property
    def phrase(self) -> str:
        """Return it with its members, as "a wood warbler: Bay-breasted Warbler or Cape May Warbler"."""
        if self.rank == "name":
            return self.name
        *others, last = self.members
        names = f"{', '.join(others)} or {last}" if others else last
        return f"nothing, perhaps {names}" if self.rank == "nothing" else f"{self.thing}: {names}"

    def covers(self, label: str) -> bool:
        """Return whether the category that a label names is the one, or one of those, that this says."""
        category, member = find_category(label), find_category(self.members[0])
        if self.rank == "name":
            return same_category(label, self.name)
        if not (category and member and category.super_category == member.super_category):
            return False
        return self.rank == "kind" or any(group.name == self.name for group in category.groups)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "rank": self.rank,
            "name": self.name,
            "noun": self.noun,
            "probability": round(self.probability, 4),
            "members": list(self.members),
            "sure": self.sure,
        }


def check_sure(sure: float | None) -> float:
    """Return a level of certainty. Raises `UserError` unless it is between 0.5 and 1: then one group at most has it."""
    if sure is None or not 0.5 < sure < 1:
        given = "Nothing" if sure is None else f"{sure:g}"
        raise UserError(f"{given} cannot be how sure a name must be: give a number above 0.5 and below 1, such as 0.9.")
    return sure


def conclude(ranking: Sequence[Species], sure: float = SURE) -> Conclusion:
    """Return the deepest category, group or kind whose names have a probability of at least `sure` together.

    `ranking` has all names of a label space, the most probable first, and calibrated probabilities that sum to 1.
    The groups are those of the attribute tables; a name that is in no table is in none.
    """
    first = ranking[0]
    if first.probability >= sure:
        return Conclusion("name", first.name, first.name, first.probability, (first.name,), sure)
    masses: dict[tuple[int, str, str, str], list[Species]] = defaultdict(list)  # by depth, kind, name and noun
    for species in ranking:
        category = find_category(species.name)
        if category is None:
            continue
        kind = category.super_category
        masses[0, kind.name, kind.name, kind.noun].append(species)
        for depth, group in enumerate(category.groups, start=1):
            masses[depth, group.kind, group.name, group.noun].append(species)
    for (depth, _, name, noun), members in sorted(masses.items(), key=lambda item: -item[0][0]):
        probability = sum(species.probability for species in members)
        if probability >= sure:
            return Conclusion("group" if depth else "kind", name, noun, probability, _leading(members, sure), sure)
    return Conclusion("nothing", "", "", first.probability, _leading(ranking, sure), sure)


def _leading(members: Sequence[Species], sure: float) -> tuple[str, ...]:
    """Return the first names until they have `sure` of their probability together, two at least."""
    names: list[str] = []
    wanted, mass = sure * sum(species.probability for species in members), 0.0
    for species in members[:MEMBERS]:
        if len(names) > 1 and mass >= wanted:
            break
        names.append(species.name)
        mass += species.probability
    return tuple(names)
