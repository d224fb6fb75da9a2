"""What can be asked about a photo: the evaluation's view of a model."""

from collections.abc import Sequence
from typing import Protocol

from PIL import Image
from torch import Tensor


class QuestionModel(Protocol):
    """A model that answers questions about one photo, whatever it is made of or wherever it runs."""

    name: str

    def ask(self, photo: Image.Image, question: str, max_tokens: int) -> str:
        """Return the greedy reply of at most `max_tokens` tokens, as generated: no prompt, no special tokens."""
        ...

    def letter_scores(self, photo: Image.Image, question: str, count: int) -> Tensor | None:
        """Return log p(letter | photo, question) [count] of A, B, ... as the first token of the answer.

        None where they are not to be had, as from an endpoint.
        """
        ...

    def name_scores(self, photo: Image.Image, question: str, names: Sequence[str]) -> Tensor | None:
        """Return scores [N] by which the model itself ranks names as answers to the question, higher is better.

        None where they are not to be had.
        """
        ...
