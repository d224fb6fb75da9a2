"""Records of a model's results for one photo."""

from dataclasses import asdict, dataclass, field
from typing import Any

from core.models.calibration import SCORES
from core.recognition.conclusion import SURE, Conclusion, Species, conclude
from core.recognition.crops import Box, Region, rounded_box

MIN_DIFFERENCE = 0.04  # a smaller difference of similarities is right about as often as a coin
MAX_LISTED = 3  # attributes that a sentence lists for, and at most for the other, name


@dataclass(frozen=True)
class AttributeEvidence:
    """One attribute of one name; similarities are cosines in [-1, 1]."""

    attribute: str
    value: str
    image_similarity: float  # o.a: of the photo with the value
    name_similarity: float  # a.c: of the value with the name
    margin: float | None  # image_similarity less the mean over the other compared names' values; None: they all agree

    @property
    def verdict(self) -> str:
        """Return "agrees", "disagrees", "undecided", or "shared" by all the names that were compared."""
        if self.margin is None:
            return "shared"
        if abs(self.margin) < MIN_DIFFERENCE:
            return "undecided"
        return "agrees" if self.margin > 0 else "disagrees"


@dataclass(frozen=True)
class Evidence:
    """How the attributes of one name agree with the photo."""

    name: str  # as it is among the species
    attributes: list[AttributeEvidence]


@dataclass(frozen=True)
class Difference:
    """An attribute in which the first name and its runner-up differ."""

    attribute: str
    first: str  # the value of the first name
    second: str  # that of the runner-up
    lean: float  # o.a of the first value less that of the second: above zero, the photo is nearer to the first


@dataclass(frozen=True)
class Explanation:
    """Evidence for the first name and its runner-up, or the reason why there is none.

    The evidence says what the photo is consistent with, not why the name was ranked first: `ranking_shares` tell how
    much of the ranking rests on similarities of that kind, and on what else it rests.
    """

    evidence: list[Evidence]  # the first name's, then the runner-up's if there is one
    differences: list[Difference]  # the strongest first
    reason: str = ""  # one sentence, where nothing can be explained
    ranking_shares: dict[str, float] = field(default_factory=dict)  # see `ranking_shares`; empty without a runner-up

    @property
    def sentence(self) -> str:
        """Return what the photo is consistent with, and how much that counts in the ranking."""
        if self.reason:
            return self.reason
        if len(self.evidence) < 2:
            return f"None of the other names shown can be compared with {self.evidence[0].name} by its attributes."
        first, second = (evidence.name for evidence in self.evidence)
        decided = [d for d in self.differences if abs(d.lean) >= MIN_DIFFERENCE]
        for_first = [f"{d.attribute} “{d.first}” more than “{d.second}”" for d in decided if d.lean > 0]
        for_second = [f"{d.attribute} “{d.second}” more than “{d.first}”" for d in decided if d.lean < 0]
        parts = [f"Consistent with {first}: {_listed(for_first)}."] if for_first else []
        if for_second:
            parts.append(f"Speaks for {second}: {_listed(for_second)}.")
        if not parts:
            parts.append(f"No single attribute tells {first} from {second} in this photo.")
        if self.ranking_shares:
            parts.append(f"What ranks {first} before {second}: {_parts_of_ranking(self.ranking_shares)}.")
        return " ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        evidence = [
            {"name": e.name, "attributes": [{**_rounded(asdict(a)), "verdict": a.verdict} for a in e.attributes]}
            for e in self.evidence
        ]
        differences = [_rounded(asdict(difference)) for difference in self.differences]
        return {
            "sentence": self.sentence,
            "ranking_shares": {score: round(share, 6) for score, share in self.ranking_shares.items()},
            "evidence": evidence,
            "differences": differences,
        }


def ranking_shares(first: Species, second: Species) -> dict[str, float]:
    """Return the share in [0, 1] that each of `SCORES` has in the order of two ranked names.

    It is its part of the absolute differences between the names' weighted scores (which add up to their difference of
    logits). Empty where the weighted scores are missing or do not differ.
    """
    differences = [abs(a - b) for a, b in zip(first.weighted_scores, second.weighted_scores, strict=True)]
    total = sum(differences)
    return {s: d / total for s, d in zip(SCORES, differences, strict=True)} if total else {}


def _parts_of_ranking(shares: dict[str, float]) -> str:
    aligned = shares["name"] + shares["description"]
    parts = [
        (aligned, "the similarities with names and descriptions"),
        (shares["words"], "the words in the image tokens"),
        (shares["encoder"], "the vision encoder's own classifier, without the language model"),
        (shares["likelihood"], "the likelihood of the names as answers"),
    ]
    others = sorted((part for part in parts[1:] if part[0]), reverse=True)
    return ", ".join(f"{what} ({_percent(share)})" for share, what in [parts[0], *others])


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _listed(items: list[str]) -> str:
    *others, last = items[:MAX_LISTED]
    return f"{', '.join(others)} and {last}" if others else last


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}


@dataclass(frozen=True)
class Identification:
    """What a model says of one photo.

    `seconds` maps each part (species, answer, attributes, and explanation where there is one) to its duration.
    """

    model: str
    known: bool
    species: list[Species]  # the first names of the ranking
    answer: str = ""
    description: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    explanation: Explanation | None = None
    calibrated: bool = True  # else the probabilities rank the names, and tell no more
    explained: bool = False  # the explanation is complete: growing results have a preliminary one before
    note: str = ""  # what to know of this model's ranking, and what it does not give
    box: Box | None = None  # the part of the photo that it was named from; None: the whole photo
    objects: list[Region] = field(default_factory=list)  # all that were looked for and found, the named one first
    ranking: list[Species] = field(default_factory=list)  # all names, where the probabilities are calibrated

    @property
    def named(self) -> str:
        """Return the name given to the photo: the first of the ranking, else the answer; "" if there is none."""
        if not self.known:
            return ""
        return self.species[0].name if self.species else self.answer.strip(" .")

    def conclusion(self, sure: float = SURE) -> Conclusion | None:
        """Return the most specific thing that is sure (see `conclude`).

        None for an unknown photo, and without calibrated probabilities.
        """
        return conclude(self.ranking, sure) if self.known and self.ranking else None

    def backed_off(self, sure: float = SURE) -> Conclusion | None:
        """Return the conclusion where it is less than a name: the group, the kind, or nothing."""
        conclusion = self.conclusion(sure)
        return conclusion if conclusion and conclusion.rank != "name" else None

    def as_dict(self, photo: str, sure: float = SURE) -> dict[str, Any]:
        """Return the JSON form shared by the page and the command line, with the conclusion that is `sure` enough."""
        conclusion = self.conclusion(sure)
        return {
            "photo": photo,
            "model": self.model,
            "known": self.known,
            "calibrated": self.calibrated,
            **({"box": rounded_box(self.box)} if self.box else {}),
            **({"objects": [found.as_dict() for found in self.objects]} if self.objects else {}),
            **({"note": self.note} if self.note else {}),
            "species": [{"name": s.name, "probability": round(s.probability, 4)} for s in self.species],
            **({"conclusion": conclusion.as_dict()} if conclusion else {}),
            "answer": self.answer,
            "attributes": self.attributes,
            "description": self.description,
            **({"explanation": self.explanation.as_dict()} if self.explanation else {}),
            "seconds": round(sum(self.seconds.values()), 3),
        }
