"""What can be asked about a photo: the one view that evaluations have of models of all families."""

from collections.abc import Sequence
from typing import Protocol

from PIL import Image
from torch import Tensor


class QuestionModel(Protocol):
    """What can be asked about a photo: the evaluation's view of a model."""

    name: str

    def ask(self, photo: Image.Image, question: str, max_tokens: int) -> str | None:
        """Return the greedy reply to a question as generated, without prompt and special tokens; None: no text."""

    def letter_scores(self, photo: Image.Image, question: str, count: int) -> Tensor | None:
        """Return the log-probabilities [count] of A, B, ... as the first token of the answer; None: not to be had."""

    def name_scores(self, photo: Image.Image, question: str, names: Sequence[str]) -> Tensor | None:
        """Return the scores [N] by which the model itself ranks names; None: not to be had."""

    def reply_scores(self, photo: Image.Image, question: str, options: Sequence[str]) -> Tensor | None:
        """Return log p(reply, its end | photo, closed question) [N] of the options as replies; None: not to be had.

        The reply is the option's name, or what the model was trained to answer with, as "B. Name".
        """
