"""From a photo to ranked species, the model's own answer and the attributes it reads off the photo."""

import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import torch
from PIL import Image, ImageOps
from torch import Tensor
from transformers import StoppingCriteria, TextIteratorStreamer

from core.errors import UserError
from core.models.calibration import Calibration, LabelBank
from core.models.scoring import answer_log_likelihoods, log_probabilities, pooled_features, word_similarity
from core.models.vlm import VisionFeatures, VisionLanguageModel
from core.recognition.results import Identification, Species
from core.taxonomy.categories import (
    SuperCategory,
    canonical_name,
    find_category,
    in_super_category,
    shared_super_category,
)
from core.taxonomy.descriptions import clause_start, parse_description, words_of
from core.taxonomy.prompts import LETTERS, closed_question, description_question, open_question

MAX_LABELS = 2_000
MAX_LABEL_LENGTH = 100  # characters
MAX_LABEL_CHARACTERS = 30_000  # of all names together: what a laptop embeds in half a minute
ANSWER_TOKENS = 24
VALUE_TOKENS = 16  # of one attribute of the description
END_OF_CLAUSE = "."
CENTER_CROP = 0.9  # of each side of a photo
UNKNOWN = (
    "I don't know this one: it resembles none of the categories I was trained on. What follows only tells which of "
    "them is nearest."
)
SCORES = ("name", "description", "words", "likelihood")  # what a name is ranked by


@dataclass(frozen=True)
class LabelSpace:
    """The names a photo is ranked against, with their embeddings."""

    labels: list[str]  # as they were given
    categories: list[str]  # the same, as the model learned them: a label may be another spelling
    group: SuperCategory | None  # the super-category that all labels share, if they do
    names: Tensor  # [N, H]
    descriptions: Tensor  # [N, H]; the name's embedding where no description is known
    words: Tensor  # [N, L, H] input embeddings of the first words of name and attributes
    known: bool  # every label is a category that the checkpoint was trained on


@dataclass(frozen=True)
class PhotoEncoding:
    """What a model sees in the `tta_views` of a photo; similarities are means over them."""

    vision: VisionFeatures  # states [V, P, D], the photo's own first
    image_tokens: Tensor  # [V, L, H] likewise
    embedding: Tensor  # [H] mean of their object embeddings
    features: Tensor  # [D] mean of their pooled vision features

    @property
    def tokens(self) -> Tensor:
        """[1, L, H] the photo's own image tokens, for whatever is asked about it."""
        return self.image_tokens[:1]


@dataclass(frozen=True)
class Scores:
    """Raw scores of one photo over a label space, before calibration."""

    name_similarity: Tensor  # [N] o.c
    description_similarity: Tensor  # [N] o.a
    word_similarity: Tensor  # [N] of the image tokens with the words of name and attributes
    log_likelihood: Tensor  # [N]; candidates that were not scored have the lowest scored value
    distance: float  # to the nearest of all known categories, in vision features; -inf where names are not known

    def stack(self) -> Tensor:
        """[4, N]: the rows are those of `SCORES`."""
        return torch.stack(
            [self.name_similarity, self.description_similarity, self.word_similarity, self.log_likelihood]
        )


class _Stop(StoppingCriteria):
    def __init__(self, event: threading.Event) -> None:
        self.event = event

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        return torch.full((input_ids.shape[0],), self.event.is_set(), device=input_ids.device)


def tta_views(photo: Image.Image) -> list[Image.Image]:
    """The photo, its middle, and the mirror images of both: together they are named more surely than one alone."""
    left, top = (round(side * (1 - CENTER_CROP) / 2) for side in photo.size)
    middle = photo.crop((left, top, photo.width - left, photo.height - top))
    return [view for picture in (photo, middle) for view in (picture, ImageOps.mirror(picture))]


class Recogniser:
    """A loaded model with the label embeddings and the calibration of its checkpoint."""

    def __init__(self, name: str, mllm: VisionLanguageModel, labels: LabelBank, calibration: Calibration) -> None:
        self.name = name
        self.mllm = mllm
        self.calibration = calibration
        self._labels = labels
        self._known = {label: i for i, label in enumerate(labels.categories)}
        self._centre = mllm.word_embeddings(labels.words).mean(dim=(0, 1))

    def _words(self, names: list[str]) -> Tensor:
        ids = self.mllm.word_ids([words_of(name) for name in names])
        for row, name in zip(ids, names, strict=True):
            if name in self._known:  # as it was when the checkpoint was trained, whatever the tables say now
                row.copy_(self._labels.words[self._known[name]])
        return self.mllm.word_embeddings(ids)

    def label_space(self, labels: list[str] | None = None, super_category: str | None = None) -> LabelSpace:
        """The names to choose from: given ones, one super-category's, or everything the checkpoint knows.

        Given names may be unknown to the checkpoint: they are embedded by the text side (zero-shot). Of several
        spellings of one name the first is kept, as it was given. Raises `UserError` for fewer than two distinct names,
        more than `MAX_LABELS`, one over `MAX_LABEL_LENGTH`, or more than `MAX_LABEL_CHARACTERS` in all.
        """
        if labels is not None:
            distinct: dict[str, str] = {}
            for label in labels:
                distinct.setdefault(canonical_name(label).casefold(), " ".join(label.replace("_", " ").split()))
            distinct.pop("", None)
            chosen = list(distinct.values())
        elif super_category:
            chosen = [c.name for c in in_super_category(super_category) if c.name in self._known]
        else:
            chosen = list(self._labels.categories)
        if len(chosen) < 2:
            raise UserError("Give at least two different candidate names.")
        if len(chosen) > MAX_LABELS:
            raise UserError(f"There are {len(chosen)} candidate names: the limit is {MAX_LABELS}.")
        if too_long := [label for label in chosen if len(label) > MAX_LABEL_LENGTH]:
            raise UserError(f"The name {too_long[0][:30]!r}... is longer than {MAX_LABEL_LENGTH} characters.")
        if sum(map(len, chosen)) > MAX_LABEL_CHARACTERS:
            raise UserError(f"The candidate names have more than {MAX_LABEL_CHARACTERS} characters in all: give fewer.")
        names = [canonical_name(label) for label in chosen]
        group = shared_super_category(names)
        known = all(name in self._known for name in names)
        return LabelSpace(chosen, names, group, *self._label_embeddings(names), self._words(names), known)

    def _label_embeddings(self, names: list[str]) -> tuple[Tensor, Tensor]:
        fresh = [name for name in names if name not in self._known]
        new = dict(zip(fresh, self.mllm.embed_texts(fresh).cpu(), strict=True)) if fresh else {}

        def rows(known: Tensor) -> Tensor:
            return torch.stack([known[self._known[name]] if name in self._known else new[name] for name in names])

        return rows(self._labels.names), rows(self._labels.descriptions)

    def encode(self, photo: Image.Image) -> PhotoEncoding:
        """The photo's views, through the tower, the connector and the text model."""
        return self.encode_features(self.mllm.vision_features(tta_views(photo)))

    @torch.no_grad()
    def encode_features(self, vision: VisionFeatures) -> PhotoEncoding:
        """The same from the vision features of the `tta_views`: models that share a tower see a photo once."""
        tokens = self.mllm.image_tokens(vision)
        embedding = self.mllm.embed_photos(tokens).mean(dim=0).cpu()
        return PhotoEncoding(vision, tokens, embedding, pooled_features(vision).mean(dim=0).cpu())

    def compare(self, encoding: PhotoEncoding, space: LabelSpace) -> Scores:
        """The similarities of a photo with every name; no likelihoods yet (all zero)."""
        distance = float("-inf")
        if space.known:
            distance = 1 - (self._labels.feature_means @ encoding.features).max().item()
        return Scores(
            space.names @ encoding.embedding,
            space.descriptions @ encoding.embedding,
            word_similarity(encoding.image_tokens, space.words, self._centre).mean(dim=0).cpu(),
            torch.zeros(len(space.labels)),
            distance,
        )

    @torch.no_grad()
    def score(self, encoding: PhotoEncoding, space: LabelSpace) -> Scores:
        """The raw scores of a photo: similarities, and log-likelihoods of the names that these put first."""
        scores = self.compare(encoding, space)
        kept = self.logits(scores).topk(min(self.calibration.candidates, len(space.labels))).indices
        likely = answer_log_likelihoods(
            self.mllm,
            self.mllm.question_ids(open_question(space.group)),
            encoding.tokens,
            [space.categories[i] for i in kept.tolist()],
        ).cpu()
        log_likelihood = torch.full((len(space.labels),), likely.min().item())
        log_likelihood[kept] = likely
        return replace(scores, log_likelihood=log_likelihood)

    def logits(self, scores: Scores) -> Tensor:
        """[N] weighted sums of the scores; their softmax over a label space is calibrated."""
        return self.calibration.ranking_weights() @ scores.stack()

    @torch.no_grad()
    def letter_scores(self, options: list[str], group: SuperCategory | None, tokens: Tensor) -> Tensor:
        """[K] log p(letter | photo, closed-set question) of up to four options, from one forward pass."""
        prompt = self.mllm.question_ids(closed_question(group, options))
        last = self.mllm.hidden_states([prompt], tokens)[0, -1]
        letters = [self.mllm.answer_ids(letter)[0] for letter in LETTERS[: len(options)]]
        return log_probabilities(self.mllm, last)[letters].cpu()

    def knows(self, scores: Scores) -> bool:
        """Whether the photo is near enough to some known category to be one at all.

        Among names that the checkpoint was not trained on there is nothing to be near to: the answer is yes.
        """
        return scores.distance <= self.calibration.unknown_distance

    def choose(self, scores: Scores, space: LabelSpace, options: list[str], letters: Tensor) -> Tensor:
        """[K] probabilities of the options of a closed-set question, from the ranking and its `letter_scores` [K]."""
        rows = [space.labels.index(option) for option in options]
        return (self.logits(scores)[rows] + self.calibration.letter_weight * letters).softmax(dim=0)

    def identify(
        self, photo: Image.Image | PhotoEncoding, space: LabelSpace | None = None, top: int = 5
    ) -> Identification:
        """Everything the model says of a photo: the last state of `stream`."""
        *_, last = self.stream(photo, space, top)
        return last

    def stream(
        self, photo: Image.Image | PhotoEncoding, space: LabelSpace | None = None, top: int = 5
    ) -> Generator[Identification]:
        """Growing identifications: first the species, then the answer and the description word by word.

        An unknown photo is not described, nor one whose first name has no known attributes.
        Closing the iterator stops the work within one token.
        """
        started = time.perf_counter()
        space = space or self.label_space()
        encoding = photo if isinstance(photo, PhotoEncoding) else self.encode(photo)
        scores = self.score(encoding, space)
        probabilities, order = self.logits(scores).softmax(dim=0).sort(descending=True)
        species = [
            Species(space.labels[i], p) for i, p in zip(order[:top].tolist(), probabilities[:top].tolist(), strict=True)
        ]
        result = Identification(
            self.name,
            self.knows(scores),
            species,
            seconds={"species": time.perf_counter() - started},
            calibrated=self.calibration.fitted,
        )
        yield result

        answer = self.generate(open_question(space.group), encoding.tokens, ANSWER_TOKENS)
        for grown in self._write(result, "answer", answer):
            result = grown
            yield result
        category = find_category(species[0].name)
        if category is None or not result.known:
            return
        group = category.super_category
        for grown in self._write(result, "attributes", self._describe(group, encoding.tokens)):
            yield replace(grown, attributes=parse_description(grown.description, group))

    def _describe(self, group: SuperCategory, tokens: Tensor) -> Iterator[str]:
        """The attribute description, piece by piece.

        The beginning of every clause is given ("Crown is") and the model writes the value, so that no attribute of
        the super-category is left out and none of another one comes in.
        """
        text = ""
        for attribute in group.attributes:
            start = f"{' ' if text else ''}{clause_start(attribute)}"
            yield start
            text += start
            for piece in self.generate(description_question(group), tokens, VALUE_TOKENS, text, END_OF_CLAUSE):
                yield piece
                text += piece
            text = text.rstrip()
            if not text.endswith(END_OF_CLAUSE):
                yield END_OF_CLAUSE
                text += END_OF_CLAUSE

    def _write(self, result: Identification, part: str, pieces: Iterator[str]) -> Iterator[Identification]:
        started = time.perf_counter()
        text = ""
        for piece in pieces:
            text += piece
            seconds = {**result.seconds, part: time.perf_counter() - started}
            if part == "answer":
                yield replace(result, answer=text.strip(), seconds=seconds)
            else:
                yield replace(result, description=text.strip(), seconds=seconds)

    @torch.no_grad()
    def answers(self, question: str, tokens: Tensor, limit: int = ANSWER_TOKENS) -> list[str]:
        """The greedy answers to one question about B photos [B, L, H], without streaming."""
        embeddings, mask = self.mllm.input_embeddings([self.mllm.question_ids(question)] * len(tokens), tokens)
        written = self.mllm.model.generate(
            inputs_embeds=embeddings, attention_mask=mask.long(), **self._generation_settings(limit)
        )
        return [text.strip() for text in self.mllm.tokenizer.batch_decode(written, skip_special_tokens=True)]

    def _generation_settings(self, limit: int, until: str = "") -> dict:
        ends = self.mllm.tokenizer(until, add_special_tokens=False).input_ids if until else []
        return {
            "max_new_tokens": limit,
            "do_sample": False,
            "eos_token_id": [self.mllm.tokenizer.eos_token_id, self.mllm.answer_end, *ends],
            "pad_token_id": self.mllm.tokenizer.pad_token_id,
        }

    def generate(self, question: str, tokens: Tensor, limit: int, said: str = "", until: str = "") -> Iterator[str]:
        """The model's greedy answer to a question about the photo, piece by piece.

        It continues what it has `said` already, and stops behind the token `until`, at its end, or at the `limit`.
        """
        prompt = [*self.mllm.question_ids(question), *self.mllm.answer_ids(said)[:-1]]
        with torch.no_grad():
            embeddings, mask = self.mllm.input_embeddings([prompt], tokens)
        streamer = TextIteratorStreamer(self.mllm.tokenizer, skip_prompt=False, skip_special_tokens=True, timeout=120)
        cancelled = threading.Event()
        failure: list[BaseException] = []

        def work() -> None:
            try:
                self.mllm.model.generate(
                    inputs_embeds=embeddings,
                    attention_mask=mask.long(),
                    streamer=streamer,
                    stopping_criteria=[_Stop(cancelled)],
                    **self._generation_settings(limit, until),
                )
            except BaseException as error:  # handed to the caller's thread below
                failure.append(error)
                streamer.end()

        worker = threading.Thread(target=work, name="writing", daemon=True)
        worker.start()
        try:
            yield from streamer
        finally:
            cancelled.set()
            worker.join()
        if failure:
            raise failure[0]
