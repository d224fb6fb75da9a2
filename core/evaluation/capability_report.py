"""Report a `Diagnosis`: a table with the published numbers beside the measured ones, and prose computed from them."""

import csv
import io
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from core.embeddings.metrics import EXPLAINED
from core.evaluation.diagnosis import (
    ALIGNMENT,
    ENCODER,
    KNOWLEDGE,
    LLM,
    OBJECT,
    PARTIAL,
    PRESENT,
    TEXT_ENCODER,
    WORDS,
    Diagnosis,
    ProbeKey,
    Strength,
    above_chance,
)

PUBLISHED = Path(__file__).parents[2] / "assets" / "published_probes.csv"
PUBLISHED_COLUMNS = ("capability", "part", "features", "model", "accuracy", "source")
NO_CLS = "none: this vision encoder has no CLS token"
NO_TEXT_ENCODER = "none: the LLM is this model's only reader of text"
NO_LLM = "none: a contrastive model has no LLM"
LAST_ALONE = "not measured: of a model that is only asked, the last hidden state at the end alone is read"
NO_ANSWERS = "none: the model does not answer in this way"
NO_DESCRIPTIONS = "not measured: fewer than two of the categories have field marks in the tables"
SHARES = ("recall_at_1", "recall_at_5")  # of `core.embeddings.metrics.EXPLAINED`: shown in per cent
KEPT = 0.95  # of the vision encoder's strength: an LLM with less has lost some object information


@dataclass(frozen=True)
class CapabilityRow:
    """One row of the table."""

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

    def formatted(self, number: float) -> str:
        """Return a value or a chance of this row as text."""
        return f"{number:.1%}" if self.share else f"{number:.2f}"

    def measured(self) -> str:
        """Return the value with its spread, or the reason why there is none."""
        if self.value is None:
            return self.note
        return self.formatted(self.value) + (f" ± {100 * self.spread:.1f}" if self.spread is not None else "")

    def sample(self) -> str:
        """Return what the value was measured on."""
        if self.samples is None:
            return ""
        noun = "descriptions" if self.capability == KNOWLEDGE else "photos"
        folds = f", {self.folds} folds" if self.folds else ""
        small = f" ({self.left_out} too small)" if self.left_out else ""
        return f"{self.samples} {noun}, {self.classes} categories{small}{folds}"


@cache
def published() -> dict[ProbeKey, tuple[float, str, str]]:
    """Return (capability, part, features) -> (accuracy in [0, 1], model, source) of the published probes."""
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        rows = [[row[column] for column in PUBLISHED_COLUMNS] for row in csv.DictReader(file)]
    return {
        (capability, part, features): (float(accuracy) / 100, model, source)
        for capability, part, features, model, accuracy, source in rows
    }


def table(diagnosis: Diagnosis) -> list[CapabilityRow]:
    """Return the rows of the table: probes, alignment, answers; published parts that the model lacks have a note."""
    keys = [*published(), (KNOWLEDGE, WORDS, "TF-IDF")]
    return [*(_probe_row(diagnosis, key) for key in keys), *_alignment_rows(diagnosis), *_answer_rows(diagnosis)]


def _probe_row(diagnosis: Diagnosis, key: ProbeKey) -> CapabilityRow:
    accuracy, model, source = published().get(key, (None, "", ""))
    result = diagnosis.probes.get(key)
    if result is None:
        row = CapabilityRow(*key, True, note=_why_not(diagnosis, *key))
    else:
        numbers = (result.mean, result.spread, result.chance)
        row = CapabilityRow(*key, True, *numbers, result.samples, result.classes, result.folds, result.left_out)
    return replace(row, published=accuracy, published_model=model, source=source)


def _why_not(diagnosis: Diagnosis, capability: str, part: str, features: str) -> str:
    """Return why a probe is missing."""
    if part == LLM and not diagnosis.has_llm:
        return NO_LLM
    if part == TEXT_ENCODER and diagnosis.has_llm:
        return NO_TEXT_ENCODER
    if capability == KNOWLEDGE and not any(key[0] == KNOWLEDGE for key in diagnosis.probes):
        return NO_DESCRIPTIONS
    return NO_CLS if (OBJECT, ENCODER, "Avg.") in diagnosis.probes else LAST_ALONE


def _alignment_rows(diagnosis: Diagnosis) -> list[CapabilityRow]:
    n, c = diagnosis.photos, diagnosis.categories
    chances = {"recall_at_1": 1 / c, "recall_at_5": min(5, c) / c, "mrr": sum(1 / k for k in range(1, c + 1)) / c}
    rows = []
    for name, value in diagnosis.alignment.items():
        note = "" if value is not None else "nothing to measure"
        numbers = (name in SHARES, value, None, chances.get(name))
        part = LLM if diagnosis.has_llm else "shared space"
        rows.append(CapabilityRow(ALIGNMENT, part, EXPLAINED[name], *numbers, n, c, note=note))
    return rows


def _answer_rows(diagnosis: Diagnosis) -> list[CapabilityRow]:
    questions = diagnosis.questions
    measures = (
        ("four options (truth and look-alikes), ranking and letter together", questions.closed, questions.chance),
        ("four options, ranking", questions.ranking, questions.chance),
        ("four options, letter by log-probability", questions.letter, questions.chance),
        ("free answer", questions.open, None),
    )
    counts = (diagnosis.photos, diagnosis.categories)
    return [
        CapabilityRow(ALIGNMENT, "answers", measure, True, value, None, chance, *counts)
        if value is not None
        else CapabilityRow(ALIGNMENT, "answers", measure, True, note=NO_ANSWERS)
        for measure, value, chance in measures
    ]


def as_dict(diagnosis: Diagnosis) -> dict:
    """Return the JSON form: numbers, not per cent; the published ones were measured on other photos and categories."""
    return {
        "model": diagnosis.model,
        "photos": diagnosis.photos,
        "categories": diagnosis.categories,
        "skipped": diagnosis.skipped,
        "without_label": diagnosis.without_label,
        "trained_on": diagnosis.trained_on,
        **diagnosis.provenance,
        "rows": [asdict(row) for row in table(diagnosis)],
        "strengths": {strength.capability: asdict(strength) for strength in diagnosis.strengths()},
        "reading": reading(diagnosis),
    }


def as_csv(diagnosis: Diagnosis) -> str:
    """Return the table, one line per row, with the model's name."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, ["diagnosed", *CapabilityRow.__dataclass_fields__])
    writer.writeheader()
    writer.writerows({"diagnosed": diagnosis.model, **asdict(row)} for row in table(diagnosis))
    return buffer.getvalue()


def as_text(diagnosis: Diagnosis) -> str:
    """Return the table and the reading, for a terminal."""
    lines = []
    for row in table(diagnosis):
        chance = "" if row.chance is None else f"  chance {row.formatted(row.chance):>6}"
        published_text = "" if row.published is None else f"  (published: {row.published_model} {row.published:.2%})"
        measure = f"{row.part}: {row.measure}"
        lines.append(f"{row.capability:27}{measure:88}{row.measured():>13}{chance}{published_text}")
    return "\n".join([*lines, provenance(diagnosis), reading(diagnosis)])


def provenance(diagnosis: Diagnosis) -> str:
    """Return on what, when and how the numbers were measured, in one sentence or two."""
    left_out = [
        f"{count} {what}"
        for count, what in (
            (diagnosis.skipped, "files that are no readable photo, or duplicates,"),
            (diagnosis.without_label, "photos without a true name"),
        )
        if count
    ]
    skipped = f" {' and '.join(left_out)} were left out." if left_out else ""
    return (
        f"Measured here on {diagnosis.provenance['date']} with {diagnosis.model} and seed "
        f"{diagnosis.provenance['seed']}: {diagnosis.photos} photos of {diagnosis.categories} categories; ± is the "
        f"standard deviation over the folds.{skipped}"
    )


def reading(diagnosis: Diagnosis) -> str:
    """Return what the numbers say as one paragraph: each capability, then the weakest one if it stands out."""
    by_name = {strength.capability: strength for strength in diagnosis.strengths()}
    parts = [
        _read_object(diagnosis, by_name[OBJECT]),
        _read_knowledge(diagnosis, by_name.get(KNOWLEDGE)),
        _read_alignment(diagnosis, by_name[ALIGNMENT]),
        _conclusion(diagnosis),
    ]
    if diagnosis.trained_on:
        parts.append(
            f"Beware: the model was trained on {diagnosis.trained_on} of these {diagnosis.photos} photos, which "
            "inflates its object information and its alignment."
        )
    return " ".join(parts)


def _read_object(diagnosis: Diagnosis, strength: Strength) -> str:
    best, encoder = diagnosis.best(OBJECT), diagnosis.probes.get((OBJECT, ENCODER, "Avg."))
    assert best is not None
    start = f"Object information is {strength.state}: a linear probe names {best.mean:.0%} of the photos by the"
    if not diagnosis.has_llm:
        return f"{start} vision encoder's features (chance {best.chance:.0%})."
    if encoder is None:
        return f"{start} LLM's features (chance {best.chance:.0%})."
    before = above_chance(encoder.mean, encoder.chance)
    if strength.share < KEPT * before:
        compared = "the LLM loses some of what its vision encoder tells"
    elif strength.share * KEPT > before:
        compared = "they are told apart better behind the LLM than before it"
    elif strength.share < PRESENT:
        compared = "the LLM loses little, but its vision encoder tells no more"
    else:
        compared = "the LLM loses little of what its vision encoder tells"
    return f"{start} LLM's features, {encoder.mean:.0%} by the vision encoder's (chance {best.chance:.0%}); {compared}."


def _read_knowledge(diagnosis: Diagnosis, strength: Strength | None) -> str:
    best = diagnosis.best(KNOWLEDGE)
    if strength is None or best is None:
        return f"Category knowledge was {NO_DESCRIPTIONS}."
    words, part = diagnosis.probes[KNOWLEDGE, WORDS, "TF-IDF"], LLM if diagnosis.has_llm else TEXT_ENCODER
    return (
        f"Category knowledge is {strength.state}: of descriptions, a probe names {best.mean:.0%} by the {part}'s "
        f"features, {words.mean:.0%} by their words alone (chance {best.chance:.0%})."
    )


def _read_alignment(diagnosis: Diagnosis, strength: Strength) -> str:
    numbers, questions = diagnosis.alignment, diagnosis.questions
    ways = (
        ("by ranking and letter together", questions.closed),
        ("by ranking", questions.ranking if questions.closed is None else None),
        ("by letter", questions.letter if questions.closed is None else None),
    )
    answers = [
        f"{share:.0%} of the questions with options correctly {way} (chance {questions.chance:.0%})"
        for way, share in ways
        if share is not None
    ]
    if questions.open is not None:
        answers.append(f"{questions.open:.0%} of the free ones")
    return (
        f"Object-category alignment is {strength.state}: a photo's nearest name is right for "
        f"{numbers['recall_at_1']:.0%} (chance {1 / diagnosis.categories:.0%}), and the centroids of photos and names "
        f"are {numbers['gap']:.2f} apart; the model answers {', and '.join(answers)}."
    )


def _conclusion(diagnosis: Diagnosis) -> str:
    strengths, weakest = diagnosis.strengths(), diagnosis.weakest()
    shares = ", ".join(f"{s.capability} {s.share:.2f}" for s in strengths)
    scale = f"(from chance, 0, to perfect, 1: {shares})"
    if weakest is None:
        if all(s.share < PARTIAL for s in strengths):
            return f"None of them stands out as the bottleneck, for all are missing {scale}."
        return f"None of them stands out as the bottleneck {scale}."
    if weakest.share >= PRESENT:
        return f"The weakest link is {weakest.capability}, though it is there {scale}."
    return f"The bottleneck is {weakest.capability} {scale}."
