"""The card of one photo: its name, how sure the model is, and what agrees and disagrees."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from core.data.images import data_url
from core.evaluation.html_report import html_report, report_templates
from core.recognition.conclusion import SURE, Conclusion, Species
from core.recognition.crops import Box, Region, rounded_box
from core.recognition.recogniser import UNKNOWN
from core.recognition.results import AttributeEvidence, Identification
from core.taxonomy.categories import SuperCategory, find_category
from core.zoo.hub import UNCALIBRATED
from demo.components.templates import FOLDER, render

ASSETS = Path(__file__).parents[1] / "assets"
STYLE = ASSETS / "card.css"
SCRIPT = ASSETS / "identify.js"
CERTAINTIES = ((0.9, "Almost certain"), (0.6, "Likely"), (0.3, "Perhaps"), (0.0, "A guess"))  # from this probability on
NOT_SURE = "Which one is not sure"
NOTHING_SURE = "No kind of thing is sure enough"
SIGNS = {"agrees": "▲", "disagrees": "▼", "undecided": "≈", "shared": "="}
UNCERTAIN = "Best match"  # of a model whose probabilities are not calibrated
OWN_ANSWER = "Its own answer"  # of a model that ranks no names
SHARED = report_templates(FOLDER)


@dataclass(frozen=True)
class Card:
    """One photo and what a model says of it. `correction` is the name that a person gave it, or empty."""

    photo: str  # the name of its file
    picture: bytes  # a small copy as JPEG
    result: Identification
    note: str = ""  # what was done to the photo that a person should know
    correction: str = ""
    sure: float = SURE  # how probable a name, or a group of names, must be to be said
    size: tuple[int, int] = (1, 1)  # of the photo in pixels
    found: list[Region] = field(default_factory=list)  # objects that were looked for, each with the number of its place

    @property
    def name(self) -> str:
        """Return the most specific name that is sure enough, "Unknown" or, of an empty answer, "No name"."""
        if self.correction:
            return self.correction
        if not self.result.known:
            return "Unknown"
        if self.backed_off:
            return self.backed_off.thing[:1].upper() + self.backed_off.thing[1:]
        return self.result.named or "No name"

    @property
    def certainty(self) -> str:
        """Return in plain words how sure the model is, with the probability where it is calibrated."""
        if not self.result.known:
            return UNKNOWN.partition(".")[0]
        if not self.result.species:
            return OWN_ANSWER
        if not self.result.calibrated:
            return UNCERTAIN
        if self.backed_off and self.backed_off.rank != "group":
            return NOT_SURE if self.backed_off.rank == "kind" else NOTHING_SURE
        probability = (self.backed_off or self.result.species[0]).probability
        word = next(word for lowest, word in CERTAINTIES if probability >= lowest)
        return f"{word} ({percent(probability)})"

    @property
    def summary(self) -> str:
        """Return the name and how sure it is, on one line."""
        return f"{self.name}, {self.certainty.lower()}" if self.result.known and not self.correction else self.name

    @property
    def kind(self) -> SuperCategory | None:
        """Return the kind of thing that was named, if it is known."""
        category = find_category(self.result.named)
        return category.super_category if category else None

    @property
    def others(self) -> list[Species]:
        """Return the names of the ranking that are not said of the photo, the most probable first."""
        return self.result.species[1:] if self.result.known and not self.backed_off else self.result.species

    @property
    def backed_off(self) -> Conclusion | None:
        """Return what is said in place of a name that is not sure enough; None where a name is said."""
        return None if self.correction else self.result.backed_off(self.sure)

    @property
    def second(self) -> str:
        """Return the runner-up in a few words, or the names that it may be; "" if there is none.

        Of an unknown photo it is the nearest name.
        """
        if not self.others:
            return ""
        if self.backed_off:
            members = [species for species in self.result.species if species.name in self.backed_off.members]
            return "Perhaps: " + ", ".join(f"{s.name} ({percent(s.probability)})" for s in members)
        second = self.others[0]
        return f"Or: {second.name} ({percent(second.probability)})" if self.result.known else f"Nearest: {second.name}"

    @property
    def also_found(self) -> list[tuple[int, Region]]:
        """Return the numbers and the objects that were found, without the one that the photo was named from."""
        box = self.result.box
        named = rounded_box(box) if box else None
        return [(i, region) for i, region in enumerate(self.found, start=1) if rounded_box(region.box) != named]

    def attributes_that(self, verdict: str) -> list[AttributeEvidence]:
        """Return the attributes of the first name that agree (or "disagrees") with the photo."""
        explanation = self.result.explanation
        evidence = explanation.evidence[:1] if explanation else []
        return [attribute for one in evidence for attribute in one.attributes if attribute.verdict == verdict]

    @property
    def remarks(self) -> list[str]:
        """Return what to know of this photo and of this model's probabilities."""
        uncalibrated = "" if self.result.calibrated else self.result.note or UNCALIBRATED
        return [remark for remark in (self.note, uncalibrated) if remark]

    @property
    def origin(self) -> str:
        """Return the model and the time that it took."""
        return f"{self.result.model}, {sum(self.result.seconds.values()):.1f} s"

    @property
    def text(self) -> str:
        """Return the card as plain text."""
        lines = [self.summary]
        lines += [self.second] if self.second else []
        lines += [f"Named from a part of the photo: {place_of(self.result.box)}"] if self.result.box else []
        for verdict, heading in (("agrees", "Agrees"), ("disagrees", "Disagrees")):
            if found := [f"{a.attribute} {a.value}" for a in self.attributes_that(verdict)]:
                lines.append(f"{heading}: {'; '.join(found)}")
        lines += [f"{attribute}: {value}" for attribute, value in self.result.attributes.items()]
        return "\n".join([*lines, f"{self.photo}, {self.origin}"])


def percent(probability: float) -> str:
    """Return a probability in per cent, without decimals."""
    return "under 1 %" if probability < 0.01 else f"{probability:.0%}".replace("%", " %")


def place_of(box: Box) -> str:
    """Return where in the photo a box is, in words."""
    sides = zip(("left", "top", "width", "height"), box, strict=True)
    return ", ".join(f"{side} {percent(share) if share else '0 %'}" for side, share in sides)


def card_html(card: Card, photo_id: str = "") -> str:
    """Return a card as HTML, all text escaped. With the id of its photo, a part of that can be chosen on the page."""
    return render("card.html", **_content(card, photo_id))


def card_page(card: Card) -> str:
    """Return a card as one HTML page that carries its style and photo; it loads and runs nothing."""
    return html_report(SHARED, "card_page.html", STYLE, **_content(card))


def head() -> str:
    """Return the part of the page's <head> with the style of cards and the script of their tab."""
    files = {"style": STYLE, "script": SCRIPT}
    return render("card_head.html", **{name: path.read_text(encoding="utf-8") for name, path in files.items()})


def result_json(result: Identification, photo: str, sure: float = SURE) -> bytes:
    """Return a result as the JSON file that the page offers."""
    return json.dumps(result.as_dict(photo, sure), indent=1, ensure_ascii=False).encode()


def _content(card: Card, photo_id: str = "") -> dict[str, object]:
    return {
        "card": card,
        "url": data_url(card.picture),
        "explanation": card.result.explanation,
        "signs": SIGNS,
        "photo_id": photo_id,
        "place_of": place_of,
        "percent": percent,
    }
