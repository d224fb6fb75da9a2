"""What a model says of a photo, as plain records."""

from dataclasses import asdict, dataclass, field

LEAN = 0.04  # a smaller difference of similarities is right about as often as a coin
TOLD = 3  # attributes that a sentence names for, and at most against, a name


@dataclass(frozen=True)
class Mark:
    """One attribute of one name; similarities are cosines in [-1, 1]."""

    attribute: str
    value: str
    seen: float  # o.a: how well the photo fits the value
    known: float  # a.c: how well the value fits the name
    margin: float | None  # `seen` less the mean over the other values among the compared names; None: they all agree

    @property
    def verdict(self) -> str:
        """ "supports", "contradicts", "undecided", or "shared" by all the names that were compared."""
        if self.margin is None:
            return "shared"
        return "undecided" if abs(self.margin) < LEAN else "supports" if self.margin > 0 else "contradicts"


@dataclass(frozen=True)
class Evidence:
    """What binds the photo to one name."""

    name: str  # as it is among the species
    marks: list[Mark]


@dataclass(frozen=True)
class Difference:
    """An attribute in which the first name and its runner-up differ."""

    attribute: str
    first: str  # the value of the first name
    second: str  # that of the runner-up
    lean: float  # o.a of the first value less that of the second: above zero, the photo leans to the first name


@dataclass(frozen=True)
class Explanation:
    """Evidence for the first name and its runner-up, or the reason why there is none."""

    evidence: list[Evidence]  # the first name's, then the runner-up's if there is one
    differences: list[Difference]  # the strongest first
    reason: str = ""  # one sentence, where nothing can be explained

    @property
    def sentence(self) -> str:
        """ "X rather than Y because ...", and what speaks against it."""
        if self.reason:
            return self.reason
        if len(self.evidence) < 2:
            return f"None of the other names shown can be compared with {self.evidence[0].name} by its attributes."
        pair = " rather than ".join(evidence.name for evidence in self.evidence)
        leaning = [d for d in self.differences if abs(d.lean) >= LEAN]
        for_it = [f"{d.attribute} “{d.first}” more than “{d.second}”" for d in leaning if d.lean > 0]
        against = [f"{d.attribute} “{d.second}” more than “{d.first}”" for d in leaning if d.lean < 0]
        said = (
            f"{pair} because the photo shows {_listed(for_it)}."
            if for_it
            else f"{pair}, but not because of a single attribute: the name's words and likelihood put it first."
        )
        return f"{said} Against it: {_listed(against)}." if against else said

    def as_dict(self) -> dict:
        """The JSON form: what the page shows."""
        evidence = [
            {"name": e.name, "attributes": [{**_rounded(asdict(m)), "verdict": m.verdict} for m in e.marks]}
            for e in self.evidence
        ]
        differences = [_rounded(asdict(difference)) for difference in self.differences]
        return {"sentence": self.sentence, "evidence": evidence, "differences": differences}


def _listed(items: list[str]) -> str:
    *others, last = items[:TOLD]
    return f"{', '.join(others)} and {last}" if others else last


def _rounded(values: dict) -> dict:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}


@dataclass(frozen=True)
class Species:
    """One name of the ranking."""

    name: str
    probability: float


@dataclass(frozen=True)
class Identification:
    """What a model says of one photo.

    `seconds` maps each part (species, answer, attributes, and explanation where there is one) to its duration.
    """

    model: str
    known: bool
    species: list[Species]
    answer: str = ""
    description: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    explanation: Explanation | None = None
    calibrated: bool = True  # else the probabilities rank the names, and tell no more

    def as_dict(self, photo: str) -> dict:
        """The JSON form shared by the page and the command line."""
        return {
            "photo": photo,
            "model": self.model,
            "known": self.known,
            "calibrated": self.calibrated,
            "species": [{"name": s.name, "probability": round(s.probability, 4)} for s in self.species],
            "answer": self.answer,
            "attributes": self.attributes,
            "description": self.description,
            **({"explanation": self.explanation.as_dict()} if self.explanation else {}),
            "seconds": round(sum(self.seconds.values()), 3),
        }
