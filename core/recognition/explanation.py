"""Why this name: which attributes bind a photo to its first name, and which to the runner-up.

All of it is in the space that stage I has aligned: "seen" is the similarity o.a of the photo with the phrase of one
attribute's value, "known" the similarity a.c of that phrase with the name. The values are those of the tables.
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
from torch.nn import functional as F
from transformers import DynamicCache

from core.errors import UserError
from core.models.scoring import expand_kv_cache
from core.models.vlm import VisionLanguageModel
from core.recognition.label_space import LabelSpace
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import Recogniser
from core.recognition.results import Difference, Evidence, Explanation, Identification, Mark
from core.taxonomy.categories import Category, SuperCategory, find_category

NAMES = 5  # names that are compared: the first, its runner-up, and the look-alikes behind them
ALIGNED = 0.5  # of the described categories, whose name must lie nearest to its own description
PHRASES_PER_BATCH = 16


class Explainer:
    """Explains what a `Recogniser` says. Phrases that were embedded once are kept."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.aligned = aligned_share(recogniser)
        self._phrases: dict[str, Tensor] = {}

    def identify(self, photo: Image.Image, space: LabelSpace, top: int = NAMES) -> Identification:
        """`Recogniser.identify` with the explanation."""
        started = time.perf_counter()
        encoding = self.recogniser.encode(photo)
        *_, last = self.stream(encoding, space, top, time.perf_counter() - started)
        return last

    def stream(
        self, encoding: PhotoEncoding, space: LabelSpace, top: int = NAMES, looked: float = 0.0
    ) -> Iterator[Identification]:
        """`Recogniser.stream`, with the explanation from the second state on. Closing it stops the work.

        `looked` is how many seconds the look took: the species' time includes them.
        """
        with closing(self.recogniser.stream(encoding, space, max(top, NAMES))) as states:
            first = next(states)
            species, seconds = first.species[:top], {"species": first.seconds["species"] + looked}
            yield replace(first, species=species, seconds=seconds)
            started = time.perf_counter()
            for compared in (2, NAMES):  # the runner-up alone first, so that the bars are there at once
                explanation = self.explain(encoding, space, first, compared)
                seconds = {**seconds, "explanation": time.perf_counter() - started}
                yield replace(first, species=species, explanation=explanation, seconds=seconds)
            for state in states:
                yield replace(state, species=species, explanation=explanation, seconds={**state.seconds, **seconds})

    def explain(
        self, encoding: PhotoEncoding, space: LabelSpace, result: Identification, compared: int = NAMES
    ) -> Explanation:
        """What binds the photo of `encoding` to the first names of `result`, which were chosen from `space`.

        A mark's margin is over the first `compared` names.
        """
        name = result.species[0].name
        if reason := self._why_not(name, result.known):
            return Explanation([], [], reason)
        categories = _comparable(result, compared)
        group = categories[name].super_category
        pairs = sorted({(a, c.values[a]) for c in categories.values() for a in group.attributes})
        phrases = dict(zip(pairs, self._embedded([phrase(group, *pair) for pair in pairs]), strict=True))
        seen = {pair: (embedding @ encoding.embedding).item() for pair, embedding in phrases.items()}
        evidence = []
        for label, category in list(categories.items())[:2]:
            embedding = space.names[space.labels.index(label)]
            known = {pair: (phrases[pair] @ embedding).item() for pair in category.values.items()}
            evidence.append(Evidence(label, _marks(category, seen, known)))
        return Explanation(evidence, _differences(list(categories.values())[:2], seen))

    def direction(self, result: Identification, attribute: str) -> Tensor:
        """[H]: from the other compared names' values of an attribute to that of the first name of `result`.

        Where they all have one value: the embedding of that value. Raises `UserError` for an unknown attribute.
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
        if self.aligned < ALIGNED:
            return (
                f"No explanation: {self.recogniser.name} was not trained to bring photos, attributes and names "
                f"together (only {self.aligned:.0%} of its names lie nearest to their own description)."
            )
        return ""

    def _embedded(self, texts: list[str]) -> list[Tensor]:
        """The embedding [H] of each text, on the CPU."""
        new = [text for text in texts if text not in self._phrases]
        if new:
            self._phrases.update(zip(new, embed_with_shared_prefix(self.recogniser.mllm, new).cpu(), strict=True))
        return [self._phrases[text] for text in texts]


def _comparable(result: Identification, compared: int = NAMES) -> dict[str, Category]:
    """Of the first names those that share the very first one's attributes, with their categories."""
    names = [species.name for species in result.species[:compared]]
    described = {name: c for name in names if (c := find_category(name)) and c.values}
    first = described.get(names[0])
    return {n: c for n, c in described.items() if first and c.super_category == first.super_category}


def phrase(group: SuperCategory, attribute: str, value: str) -> str:
    """The text that stands for one attribute's value: one clause of a description in wording 2."""
    return f"A photo of one {group.noun}. {attribute.capitalize()}: {value}."


def _marks(category: Category, seen: dict[tuple[str, str], float], known: dict[tuple[str, str], float]) -> list[Mark]:
    """The marks of a category; `seen` has every compared (attribute, value), `known` the category's own."""
    marks = []
    for pair in category.values.items():
        rivals = [similarity for other, similarity in seen.items() if other[0] == pair[0] and other != pair]
        margin = seen[pair] - mean(rivals) if rivals else None
        marks.append(Mark(*pair, seen[pair], known[pair], margin))
    return marks


def _differences(pair: list[Category], seen: dict[tuple[str, str], float]) -> list[Difference]:
    if len(pair) < 2:
        return []
    both = [(a, pair[0].values[a], pair[1].values[a]) for a in pair[0].super_category.attributes]
    found = [Difference(a, x, y, seen[a, x] - seen[a, y]) for a, x, y in both if x != y]
    return sorted(found, key=lambda difference: -abs(difference.lean))


def aligned_share(recogniser: Recogniser) -> float:
    """Of the described categories that a checkpoint knows, the share whose name lies nearest to its own description.

    Near 1 behind stage I, near 0 without it: then the similarities that explain a name mean nothing.
    """
    space = recogniser.label_space()
    rows = [i for i, name in enumerate(space.categories) if (c := find_category(name)) and c.values]
    if not rows:
        return 0.0
    nearest = (space.names[rows] @ space.descriptions[rows].T).argmax(dim=1)
    return (nearest == torch.arange(len(rows))).float().mean().item()


@torch.no_grad()
def embed_with_shared_prefix(mllm: VisionLanguageModel, texts: list[str]) -> Tensor:
    """`embed_texts` of texts that share a beginning, which is computed once: [N, H] float32."""
    sequences = [mllm.text_ids(text) for text in texts]
    heads = zip(*(sequence[:-1] for sequence in sequences), strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, heads))
    cache = DynamicCache(config=mllm.text_model.config)
    mllm.hidden_states([sequences[0][:shared]], cache=cache)
    order = sorted(range(len(texts)), key=lambda i: len(sequences[i]))  # like lengths go together
    rows = []
    for start in range(0, len(order), PHRASES_PER_BATCH):
        batch = [sequences[i][shared:] for i in order[start : start + PHRASES_PER_BATCH]]
        states = mllm.hidden_states(batch, cache=expand_kv_cache(mllm, cache, len(batch)))
        ends = torch.tensor([len(sequence) - 1 for sequence in batch], device=states.device)
        rows.append(F.normalize(states[torch.arange(len(batch)), ends].float(), dim=-1))
    embedded = torch.cat(rows)
    return embedded[torch.tensor(order, device=embedded.device).argsort()]
