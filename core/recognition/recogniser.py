"""Rank the names of a label space for a photo, and let the model answer and describe the photo in its own words."""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from core.data.images import load_photo
from core.models.calibration import Calibration, LabelBank
from core.models.scoring import answer_log_likelihoods, mean_states, word_similarity
from core.models.vlm import VisionFeatures, VisionLanguageModel
from core.recognition.conclusion import Species
from core.recognition.crops import Crop
from core.recognition.generation import TextWriter
from core.recognition.label_space import LabelSpace, LabelSpaceBuilder
from core.recognition.photo_encoding import PhotoEncoding, encode_views, tta_views
from core.recognition.regions import choose_part
from core.recognition.results import Identification
from core.taxonomy.categories import find_category
from core.taxonomy.descriptions import parse_description
from core.taxonomy.prompts import LETTERS, description_question, open_question

UNKNOWN = (
    "I don't know this one: it resembles none of the categories I was trained on. What follows only tells which of "
    "them is nearest."
)


@dataclass(frozen=True)
class Scores:
    """Raw scores of one photo over a label space, before calibration."""

    name_similarity: Tensor  # [N] o.c
    description_similarity: Tensor  # [N] o.a
    word_similarity: Tensor  # [N] of the image tokens with the words of name and attributes
    encoder_logits: Tensor  # [N] of the fine-tuned vision encoder's classifier; zeros where it does not know every name
    log_likelihood: Tensor  # [N]; names that were not scored have the lowest scored value, zeros if none was
    distance: float  # to the nearest of all known categories, in vision features; -inf where names are not known

    def stack(self) -> Tensor:
        """Return the scores as [5, N], with the rows of `SCORES`."""
        similarities = self.name_similarity, self.description_similarity, self.word_similarity
        return torch.stack([*similarities, self.encoder_logits, self.log_likelihood])


def _encoder_logits(encoding: PhotoEncoding, space: LabelSpace) -> Tensor:
    """Return the logits [N] of the vision encoder's classifier, the mean over the photo's views."""
    if space.classifier is None:
        return torch.zeros(len(space.labels))
    return space.classifier[:, :-1] @ mean_states(encoding.vision).mean(dim=0).cpu() + space.classifier[:, -1]


class Recogniser:
    """A loaded model with the label embeddings and the calibration of its checkpoint."""

    def __init__(self, name: str, mllm: VisionLanguageModel, labels: LabelBank, calibration: Calibration) -> None:
        self.name = name
        self.mllm = mllm
        self.calibration = calibration
        self.writer = TextWriter(mllm)
        self._label_spaces = LabelSpaceBuilder(mllm, labels)
        self._feature_means = labels.feature_means  # [C, D]
        self._word_centre = mllm.word_embeddings(labels.words).mean(dim=(0, 1))  # [H]

    def label_space(self, labels: list[str] | None = None, super_category: str | None = None) -> LabelSpace:
        """Return the names to choose from: given ones, one super-category's, or all that the checkpoint knows.

        Raises `UserError` for names that cannot be used; see `LabelSpaceBuilder.build`.
        """
        return self._label_spaces.build(labels, super_category)

    def encode(self, photo: Image.Image) -> PhotoEncoding:
        """Encode the `tta_views` of a photo."""
        return self.encode_features(self.mllm.vision_features(tta_views(photo)))

    def encode_features(self, vision: VisionFeatures) -> PhotoEncoding:
        """Encode a photo from the vision features of its `tta_views`, which models on one vision encoder share."""
        return encode_views(self.mllm, vision)

    def compare(self, encoding: PhotoEncoding, space: LabelSpace) -> Scores:
        """Return the similarities of a photo with every name, without likelihoods (all zero)."""
        distance = float("-inf")
        if space.known:
            distance = 1 - (self._feature_means @ encoding.features).max().item()
        return Scores(
            space.names @ encoding.embedding,
            space.descriptions @ encoding.embedding,
            word_similarity(encoding.image_tokens, space.words, self._word_centre).mean(dim=0).cpu(),
            _encoder_logits(encoding, space),
            torch.zeros(len(space.labels)),
            distance,
        )

    @torch.no_grad()
    def score(self, encoding: PhotoEncoding, space: LabelSpace, likelihoods: bool = False) -> Scores:
        """Return the raw scores of a photo: similarities, and log-likelihoods of the names that these rank first.

        Likelihoods are computed where they count in the ranking, or if asked for.
        """
        scores = self.compare(encoding, space)
        if not (likelihoods or self.calibration.likelihood_weight):
            return scores
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
        """Return weighted sums of the scores [N]; their softmax over a label space is calibrated."""
        return self.calibration.ranking_weights() @ scores.stack()

    def ranking(self, scores: Scores, space: LabelSpace) -> list[Species]:
        """Return all names of a label space, the most probable first."""
        probabilities, order = self.logits(scores).softmax(dim=0).sort(descending=True)
        weighted = (self.calibration.ranking_weights()[:, None] * scores.stack()).T.tolist()  # [N, 5]
        return [
            Species(space.labels[row], probability, tuple(weighted[row]))
            for row, probability in zip(order.tolist(), probabilities.tolist(), strict=True)
        ]

    @torch.no_grad()
    def letter_scores(self, question: str, count: int, tokens: Tensor) -> Tensor:
        """Return log p(letter | photo, question) [count] of A, B, ... as the first token of the answer.

        The letters' logits are computed in float32: in bfloat16 some would be equal, and the first of them chosen.
        """
        last, head = self.mllm.hidden_states([self.mllm.question_ids(question)], tokens)[0, -1], self.mllm.model.lm_head
        letters = [self.mllm.answer_ids(letter)[0] for letter in LETTERS[:count]]
        scores: Tensor = head.weight[letters].float() @ last.float() - head(last).float().logsumexp(dim=0)
        return scores.cpu()

    def knows(self, scores: Scores) -> bool:
        """Return whether the photo is within `Calibration.unknown_distance` of some trained category.

        Always True for a label space with names that the checkpoint was not trained on: no distance is known there.
        """
        return scores.distance <= self.calibration.unknown_distance

    def choose(self, scores: Scores, space: LabelSpace, options: list[str], letters: Tensor) -> Tensor:
        """Return the options' probabilities [K] in a closed-set question, from the ranking and `letter_scores` [K]."""
        rows = [space.labels.index(option) for option in options]
        return (self.logits(scores)[rows] + self.calibration.letter_weight * letters).softmax(dim=0)

    def identify(
        self,
        photo: str | Path | bytes | Image.Image | PhotoEncoding,
        space: LabelSpace | None = None,
        top: int = 5,
        *,
        labels: list[str] | None = None,
        super_category: str | None = None,
        crop: Crop = "none",
    ) -> Identification:
        """Identify a photo: a path, the bytes of a file, a PIL image, or an encoding.

        The names to choose from are those of `space`, or of `label_space(labels, super_category)`. The result has the
        `top` most probable ones. `crop` is the part of a photo that is identified: a box, "auto" for the one that
        `choose_part` finds, "none" for the whole photo; an encoding is identified as it is. Raises `UserError` for a
        photo, names or a box that cannot be used.
        """
        space = space or self.label_space(labels, super_category)
        if isinstance(photo, PhotoEncoding):
            *_, last = self.stream(photo, space, top)
            return last
        part = choose_part(self, load_photo(photo).image, space, crop)
        *_, last = self.stream(part.encoding, space, top)
        return part.placed(last)

    def stream(
        self, photo: Image.Image | PhotoEncoding, space: LabelSpace | None = None, top: int = 5
    ) -> Generator[Identification]:
        """Yield growing identifications: first the species, then the answer and the description word by word.

        A photo that is unknown, or whose first name has no known attributes, is not described.
        Closing the iterator stops the work within one token.
        """
        started = time.perf_counter()
        space = space or self.label_space()
        encoding = photo if isinstance(photo, PhotoEncoding) else self.encode(photo)
        scores = self.score(encoding, space)
        ranking = self.ranking(scores, space)
        result = Identification(
            self.name,
            self.knows(scores),
            ranking[:top],
            seconds={"species": time.perf_counter() - started},
            calibrated=self.calibration.fitted,
            ranking=ranking if self.calibration.fitted else [],
        )
        yield result

        answer = self.writer.stream(open_question(space.group), encoding.tokens)
        for grown in self._write(result, "answer", answer):
            result = grown
            yield result
        category = find_category(result.species[0].name)
        if category is None or not result.known:
            return
        group = category.super_category
        description = self.writer.describe(description_question(group), group.attributes, encoding.tokens)
        for grown in self._write(result, "attributes", description):
            yield replace(grown, attributes=parse_description(grown.description, group))

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
