"""What was measured of a model's three capabilities, as a table, and in words computed from its numbers.

The capabilities and the published numbers beside them are those of the method's analysis (arXiv 2501.15140): object
information extraction, category knowledge reserve, object-category alignment.
"""

import csv
import io
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import sqrt
from pathlib import Path

from core.embeddings.metrics import EXPLAINED
from core.evaluation.linear_probe import ProbeResult

PUBLISHED = Path(__file__).parents[2] / "assets" / "published_probes.csv"
PUBLISHED_COLUMNS = ("capability", "part", "features", "model", "accuracy", "source")
OBJECT, KNOWLEDGE, ALIGNMENT = "object information", "category knowledge", "object-category alignment"
ENCODER, LLM, TEXT_ENCODER, WORDS = "vision encoder", "LLM", "text encoder", "words alone"
NO_CLS = "none: this vision encoder has no CLS token"
NO_TEXT_ENCODER = "none: the LLM is this model's only reader of text"
NO_DESCRIPTIONS = "not measured: fewer than two of the categories have field marks in the tables"
SHARES = ("retrieval_1", "retrieval_5")  # of `core.embeddings.metrics.EXPLAINED`, in [0, 1] and so with a chance

ProbeKey = tuple[str, str, str]  # capability, part of the model, features

# Strengths are shares of the way from chance (0) to faultless (1).
THERE = 0.8  # a capability of at least this strength is there
PARTLY = 0.4  # below it, a capability is missing
KEPT = 0.95  # of the vision encoder's strength: an LLM with less has lost some object information
STANDS_OUT = 0.15  # a capability that is weaker by more than this, and by more than chance explains, stands out
ERRORS = 2  # standard errors of a difference that chance explains


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    capability: str
    part: str  # of the model
    measure: str
    share: bool  # value, spread and chance are shares in [0, 1], shown in per cent
    value: float | None = None  # None: see `note`
    spread: float | None = None  # standard deviation over the folds
    chance: float | None = None
    samples: int | None = None
    classes: int | None = None
    folds: int | None = None
    left_out: int | None = None  # classes with fewer samples than folds
    note: str = ""
    published: float | None = None  # accuracy in [0, 1], on other photos and categories
    published_model: str = ""
    source: str = ""

    def shown(self, number: float) -> str:
        """A value or a chance of this row, for people."""
        return f"{number:.1%}" if self.share else f"{number:.2f}"

    def measured(self) -> str:
        """The value with its spread, or why there is none."""
        if self.value is None:
            return self.note
        return self.shown(self.value) + (f" ± {100 * self.spread:.1f}" if self.spread is not None else "")

    def on(self) -> str:
        """What it was measured on."""
        if self.samples is None:
            return ""
        noun = "descriptions" if self.capability == KNOWLEDGE else "photos"
        folds = f", {self.folds} folds" if self.folds else ""
        small = f" ({self.left_out} too small)" if self.left_out else ""
        return f"{self.samples} {noun}, {self.classes} categories{small}{folds}"


@dataclass(frozen=True)
class Questions:
    """Shares of questions that were answered rightly."""

    photos: int
    closed: float  # four options, by ranking and letter together as the app answers them
    letter: float  # four options, by the letter alone
    open: float  # free answers
    chance: float  # of a guess among the options


@dataclass(frozen=True)
class Strength:
    """How strong a capability is: a share of the way from chance to faultless, and its standard error."""

    capability: str
    share: float
    error: float

    @property
    def state(self) -> str:
        """ "there", "there in part" or "missing"."""
        return "there" if self.share >= THERE else "there in part" if self.share >= PARTLY else "missing"


@dataclass(frozen=True)
class Diagnosis:
    """The measurements of one model on one set of photos."""

    model: str
    probes: dict[ProbeKey, ProbeResult]
    alignment: dict[str, float | None]  # `core.embeddings.metrics.alignment_numbers`
    questions: Questions
    photos: int
    categories: int
    skipped: int  # files that cannot be read as a photo, or are there twice
    without_label: int
    trained_on: int  # of the photos: the model has seen them, with their names, in training
    provenance: dict  # seed, date, what the photos are told by

    def rows(self) -> list[Row]:
        """The table: what was measured, what the model has not, and the published number beside it if there is one."""
        keys = [*published(), (KNOWLEDGE, WORDS, "TF-IDF")]
        rows = [self._probe_row(key) for key in keys]
        n, c = self.photos, self.categories
        chances = {"retrieval_1": 1 / c, "retrieval_5": min(5, c) / c, "mrr": sum(1 / k for k in range(1, c + 1)) / c}
        for name, value in self.alignment.items():
            note, share = "" if value is not None else "nothing to measure", name in SHARES
            chance = chances.get(name)
            rows.append(Row(ALIGNMENT, LLM, EXPLAINED[name], share, value, None, chance, n, c, note=note))
        asked, guess = self.questions, self.questions.chance
        rows += [
            Row(ALIGNMENT, "answers", measure, True, value, None, chance, n, c)
            for measure, value, chance in (
                ("four options (truth and look-alikes), as the app answers", asked.closed, guess),
                ("four options, by the letter alone", asked.letter, guess),
                ("free answer", asked.open, None),
            )
        ]
        return rows

    def _probe_row(self, key: ProbeKey) -> Row:
        beside = published().get(key, (None, "", ""))
        result = self.probes.get(key)
        if result:
            numbers = (result.mean, result.spread, result.chance)
            counts = (result.samples, result.classes, result.folds, result.left_out)
            return Row(*key, True, *numbers, *counts, "", *beside)
        note = NO_CLS if key[1] == ENCODER else NO_TEXT_ENCODER if key[1] == TEXT_ENCODER else NO_DESCRIPTIONS
        row = Row(*key, True, note=note)
        return replace(row, published=beside[0], published_model=beside[1], source=beside[2])

    def as_dict(self) -> dict:
        """The JSON form: numbers, not per cent; the published ones were measured on other photos and categories."""
        return {
            "model": self.model,
            "photos": self.photos,
            "categories": self.categories,
            "skipped": self.skipped,
            "without_label": self.without_label,
            "trained_on": self.trained_on,
            **self.provenance,
            "rows": [asdict(row) for row in self.rows()],
            "strengths": {strength.capability: asdict(strength) for strength in self.strengths()},
            "reading": self.reading(),
        }

    def as_csv(self) -> str:
        """The table, one line per row, with the model's name."""
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, ["diagnosed", *Row.__dataclass_fields__])
        writer.writeheader()
        writer.writerows({"diagnosed": self.model, **asdict(row)} for row in self.rows())
        return buffer.getvalue()

    def as_text(self) -> str:
        """The table and the reading, for a terminal."""
        lines = []
        for row in self.rows():
            chance = "" if row.chance is None else f"  chance {row.shown(row.chance):>6}"
            told = "" if row.published is None else f"  (published: {row.published_model} {row.published:.2%})"
            what = f"{row.part}: {row.measure}"
            lines.append(f"{row.capability:27}{what:88}{row.measured():>13}{chance}{told}")
        return "\n".join([*lines, self.measured(), self.reading()])

    def measured(self) -> str:
        """On what, when and how: one sentence or two."""
        left_out = [
            f"{count} {what}"
            for count, what in (
                (self.skipped, "files that are no readable photo, or there twice,"),
                (self.without_label, "photos without a true name"),
            )
            if count
        ]
        skipped = f" {' and '.join(left_out)} were left out." if left_out else ""
        return (
            f"Measured here on {self.provenance['date']} with {self.model} and seed {self.provenance['seed']}: "
            f"{self.photos} photos of {self.categories} categories; ± is the standard deviation over the folds.{skipped}"
        )

    def best(self, capability: str) -> ProbeResult | None:
        """The better of the probes on the LLM's "Last" and "Avg." features, if there are any."""
        found = [result for (kind, part, _), result in self.probes.items() if (kind, part) == (capability, LLM)]
        return max(found, key=lambda result: result.mean, default=None)

    def strengths(self) -> list[Strength]:
        """Of the capabilities that were measured, in the order of the method: a, b, c."""
        found = []
        for capability in (OBJECT, KNOWLEDGE):
            if result := self.best(capability):
                error = result.spread / sqrt(result.folds) / (1 - result.chance)
                found.append(Strength(capability, _strength(result.mean, result.chance), error))
        nearest, chance = self.alignment["retrieval_1"], 1 / self.categories
        assert nearest is not None  # every photo here has a label
        error = sqrt(nearest * (1 - nearest) / self.photos) / (1 - chance)
        return [*found, Strength(ALIGNMENT, _strength(nearest, chance), error)]

    def weakest(self) -> Strength | None:
        """The capability that is weaker than every other by more than `STANDS_OUT` and by more than chance explains."""
        first, *others = sorted(self.strengths(), key=lambda strength: strength.share)
        for other in others:
            margin = max(STANDS_OUT, ERRORS * sqrt(first.error**2 + other.error**2))
            if other.share - first.share <= margin:
                return None
        return first

    def reading(self) -> str:
        """One paragraph that says what the numbers say: each capability, then the weakest link if one stands out."""
        by_name = {strength.capability: strength for strength in self.strengths()}
        parts = [self._read_object(by_name[OBJECT]), self._read_knowledge(by_name.get(KNOWLEDGE))]
        parts += [self._read_alignment(by_name[ALIGNMENT]), self._conclusion()]
        if self.trained_on:
            parts.append(
                f"Beware: the model was trained on {self.trained_on} of these {self.photos} photos, which flatters its "
                "object information and its alignment."
            )
        return " ".join(parts)

    def _read_object(self, strength: Strength) -> str:
        llm, encoder = self.best(OBJECT), self.probes[OBJECT, ENCODER, "Avg."]
        assert llm is not None
        seen = _strength(encoder.mean, encoder.chance)
        if strength.share < KEPT * seen:
            compared = "the LLM loses some of what its vision encoder tells"
        elif strength.share * KEPT > seen:
            compared = "they are told apart better behind the LLM than before it"
        elif strength.share < THERE:
            compared = "the LLM loses little, but its vision encoder tells no more"
        else:
            compared = "the LLM loses little of what its vision encoder tells"
        return (
            f"Object information is {strength.state}: a linear probe names {llm.mean:.0%} of the photos by the LLM's "
            f"features, {encoder.mean:.0%} by the vision encoder's (chance {llm.chance:.0%}); {compared}."
        )

    def _read_knowledge(self, strength: Strength | None) -> str:
        llm = self.best(KNOWLEDGE)
        if strength is None or llm is None:
            return f"Category knowledge was {NO_DESCRIPTIONS}."
        words = self.probes[KNOWLEDGE, WORDS, "TF-IDF"]
        return (
            f"Category knowledge is {strength.state}: of descriptions, a probe names {llm.mean:.0%} by the LLM's "
            f"features, {words.mean:.0%} by their words alone (chance {llm.chance:.0%})."
        )

    def _read_alignment(self, strength: Strength) -> str:
        numbers, asked = self.alignment, self.questions
        return (
            f"Object-category alignment is {strength.state}: a photo's nearest name is right for "
            f"{numbers['retrieval_1']:.0%} (chance {1 / self.categories:.0%}), and the centroids of photos and names "
            f"are {numbers['gap']:.2f} apart; the model answers {asked.closed:.0%} of the questions with options "
            f"rightly (chance {asked.chance:.0%}) and {asked.open:.0%} of the free ones."
        )

    def _conclusion(self) -> str:
        strengths, weakest = self.strengths(), self.weakest()
        told = ", ".join(f"{s.capability} {s.share:.2f}" for s in strengths)
        scale = f"(from chance, 0, to faultless, 1: {told})"
        if weakest is None:
            if all(s.share < PARTLY for s in strengths):
                return f"None of them stands out as the bottleneck, for all are missing {scale}."
            return f"None of them stands out as the bottleneck {scale}."
        if weakest.share >= THERE:
            return f"The weakest link is {weakest.capability}, though it is there {scale}."
        return f"The bottleneck is {weakest.capability} {scale}."


def _strength(value: float, chance: float) -> float:
    return max(0.0, (value - chance) / (1 - chance))


@cache
def published() -> dict[ProbeKey, tuple[float, str, str]]:
    """(capability, part, features) -> (accuracy in [0, 1], model, source) of the published probes."""
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        rows = [[row[column] for column in PUBLISHED_COLUMNS] for row in csv.DictReader(file)]
    return {
        (capability, part, features): (float(accuracy) / 100, model, source)
        for capability, part, features, model, accuracy, source in rows
    }
