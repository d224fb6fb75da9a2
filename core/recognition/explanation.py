"""Compare a photo with the attributes of its first name and of the runner-up.

Similarities are taken in the space that stage I aligns: o.a of the photo with the phrase of one attribute's value, and
a.c of that phrase with the name. The values are those of the attribute tables. This is evidence about the photo, not
the cause of the ranking, which weighs other scores as well: `Explanation.ranking_shares` say by how much.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import takewhile
from statistics import mean

import torch
from PIL import Image
from torch import Tensor
from transformers import DynamicCache

from core.errors import UserError
from core.models.scoring import expand_kv_cache
from core.models.vlm import VisionLanguageModel, by_length, eos_states
from core.recognition.crops import Crop
from core.recognition.label_space import LabelSpace
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import Recogniser
from core.recognition.regions import choose_part
from core.recognition.results import (
    AttributeEvidence,
    Difference,
    Evidence,
    Explanation,
    Identification,
    ranking_shares,
)
from core.taxonomy.categories import Category, SuperCategory, find_category

NAMES = 5  # names that are compared: the first, its runner-up, and the look-alikes behind them
ALIGNED = 0.5  # of the described categories, whose name must lie nearest to its own description
PHRASES_PER_BATCH = 16


class Explainer:
    """Explains the identifications of a `Recogniser`. Embeddings of phrases are kept."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.aligned = aligned_share(recogniser)
        self._phrases: dict[str, Tensor] = {}

    def identify(self, photo: Image.Image, space: LabelSpace, top: int = NAMES, crop: Crop = "none") -> Identification:
        """Return the identification of a photo with its explanation; see `Recogniser.identify`."""
        part = choose_part(self.recogniser, photo, space, crop)
        *_, last = self.stream(part.encoding, space, top)
        return part.placed(last)

    def stream(self, encoding: PhotoEncoding, space: LabelSpace, top: int = NAMES) -> Iterator[Identification]:
        """Yield the states of `Recogniser.stream`, with a growing explanation, complete where they are `explained`.

        Closing it stops the work.
        """
        with closing(self.recogniser.stream(encoding, space, max(top, NAMES))) as states:
            first = next(states)
            species, seconds = first.species[:top], first.seconds
            yield replace(first, species=species)
            started = time.perf_counter()
            for compared in (2, NAMES):  # the runner-up alone first, so that the bars are there at once
                explanation = self.explain(encoding, space, first, compared)
                seconds = {**seconds, "explanation": time.perf_counter() - started}
                first = replace(first, explanation=explanation, explained=compared == NAMES)
                yield replace(first, species=species, seconds=seconds)
            for state in states:
                state = replace(state, explanation=explanation, explained=True)
                yield replace(state, species=species, seconds={**state.seconds, **seconds})

    def explain(
        self, encoding: PhotoEncoding, space: LabelSpace, result: Identification, compared: int = NAMES
    ) -> Explanation:
        """Compare the photo of `encoding` with the first names of `result`, which were chosen from `space`.

        The margin of an attribute is over the first `compared` names.
        """
        name = result.species[0].name
        if reason := self._why_not(name, result.known):
            return Explanation([], [], reason)
        categories = _comparable(result, compared)
        group = categories[name].super_category
        pairs = sorted({(a, c.values[a]) for c in categories.values() for a in group.attributes})
        phrases = dict(zip(pairs, self._embedded([phrase(group, *pair) for pair in pairs]), strict=True))
        image = {pair: (embedding @ encoding.embedding).item() for pair, embedding in phrases.items()}
        evidence = []
        for label, category in list(categories.items())[:2]:
            embedding = space.names[space.labels.index(label)]
            names = {pair: (phrases[pair] @ embedding).item() for pair in category.values.items()}
            evidence.append(Evidence(label, _attribute_evidence(category, image, names)))
        species = {species.name: species for species in result.species}
        shares = ranking_shares(*(species[e.name] for e in evidence)) if len(evidence) == 2 else {}
        return Explanation(evidence, _differences(list(categories.values())[:2], image), ranking_shares=shares)

    def direction(self, result: Identification, attribute: str) -> Tensor:
        """Return the direction [H] from the other compared names' values of an attribute to that of the first name.

        Where they all have one value, it is the embedding of that value. Raises `UserError` for an unknown attribute.
        """
        categories = list(_comparable(result).values())
        if not categories or attribute not in categories[0].values:
            raise UserError(f"{result.species[0].name} has no attribute {attribute!r}.")
        group = categories[0].super_category
        values = dict.fromkeys(category.values[attribute] for category in categories)
        own, *others = self._embedded([phrase(group, attribute, value) for value in values])
        return own - torch.stack(others).mean(dim=0) if others else own

    def _why_not(self, name: str, known: bool) -> str:
        category = find_category(name)
        if not known:
            return "No explanation: the photo shows nothing that the model knows."
        if category is None or not category.values:
            return f"No explanation: the attributes of {name} are not known."
        if self.aligned is None:
            return (
                f"No explanation: {self.recogniser.name} has no descriptions of its categories, so it is not known "
                "whether photos, attributes and names lie together in its space."
            )
        if self.aligned < ALIGNED:
            return (
                f"No explanation: {self.recogniser.name} was not trained to bring photos, attributes and names "
                f"together (only {self.aligned:.0%} of its names lie nearest to their own description)."
            )
        return ""

    def _embedded(self, texts: list[str]) -> list[Tensor]:
        """Return the embedding [H] of each text, on the CPU."""
        new = [text for text in texts if text not in self._phrases]
        if new:
            self._phrases.update(zip(new, embed_with_shared_prefix(self.recogniser.mllm, new).cpu(), strict=True))
        return [self._phrases[text] for text in texts]


def _comparable(result: Identification, compared: int = NAMES) -> dict[str, Category]:
    """Return those of the first names that share the very first one's attributes, with their categories."""
    names = [species.name for species in result.species[:compared]]
    described = {name: c for name in names if (c := find_category(name)) and c.values}
    first = described.get(names[0])
    return {n: c for n, c in described.items() if first and c.super_category == first.super_category}


def phrase(group: SuperCategory, attribute: str, value: str) -> str:
    """Return the text of one attribute's value: one clause of a description in wording 2."""
    return f"A photo of one {group.noun}. {attribute.capitalize()}: {value}."


def _attribute_evidence(
    category: Category, image: dict[tuple[str, str], float], names: dict[tuple[str, str], float]
) -> list[AttributeEvidence]:
    """Return the evidence of a category; `image` has all compared (attribute, value), `names` the category's own."""
    evidence = []
    for pair in category.values.items():
        rivals = [similarity for other, similarity in image.items() if other[0] == pair[0] and other != pair]
        margin = image[pair] - mean(rivals) if rivals else None
        evidence.append(AttributeEvidence(*pair, image[pair], names[pair], margin))
    return evidence


def _differences(pair: list[Category], image: dict[tuple[str, str], float]) -> list[Difference]:
    if len(pair) < 2:
        return []
    both = [(a, pair[0].values[a], pair[1].values[a]) for a in pair[0].super_category.attributes]
    found = [Difference(a, x, y, image[a, x] - image[a, y]) for a, x, y in both if x != y]
    return sorted(found, key=lambda difference: -abs(difference.lean))


def aligned_share(recogniser: Recogniser) -> float | None:
    """Return the share of described categories whose name lies nearest to its own description.

    Near 1 after stage I, near 0 without it: then the similarities of an explanation mean nothing. None where the model
    has the names' embeddings in place of descriptions, as models of the hub do.
    """
    space = recogniser.label_space()
    rows = [i for i, name in enumerate(space.categories) if (c := find_category(name)) and c.values]
    if not rows:
        return 0.0
    if torch.equal(space.names[rows], space.descriptions[rows]):
        return None
    nearest = (space.names[rows] @ space.descriptions[rows].T).argmax(dim=1)
    return (nearest == torch.arange(len(rows))).float().mean().item()


@torch.no_grad()
def embed_with_shared_prefix(mllm: VisionLanguageModel, texts: list[str]) -> Tensor:
    """Return `embed_texts` [N, H] of texts that share a beginning, which is computed once."""
    sequences = [mllm.text_ids(text) for text in texts]
    heads = zip(*(sequence[:-1] for sequence in sequences), strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, heads))
    cache = DynamicCache(config=mllm.text_model.config)
    mllm.hidden_states([sequences[0][:shared]], cache=cache)

    def embed(tails: list[list[int]]) -> Tensor:
        return eos_states(mllm.hidden_states(tails, cache=expand_kv_cache(mllm, cache, len(tails))), tails)

    return by_length([sequence[shared:] for sequence in sequences], embed, most=PHRASES_PER_BATCH)
