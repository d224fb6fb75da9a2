"""Ask a recogniser the questions of an evaluation."""

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from core.models.scoring import answer_log_likelihoods
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import Recogniser
from core.taxonomy.prompts import LETTERS


class RecogniserQuestions:
    """A recogniser as a `core.models.question_model.QuestionModel`; a photo is encoded once for all its questions.

    `answers_with_names` says whether it was trained to answer closed questions with letter and name, as "B. Name".
    """

    def __init__(self, recogniser: Recogniser, *, answers_with_names: bool = False) -> None:
        self.name = recogniser.name
        self._answers_with_names = answers_with_names
        self._recogniser = recogniser
        self._last: tuple[Image.Image, PhotoEncoding] | None = None

    def ask(self, photo: Image.Image, question: str, max_tokens: int) -> str:
        """Return the greedy reply to a question."""
        return self._recogniser.writer.answers(question, self._encode(photo).tokens, max_tokens)[0]

    def letter_scores(self, photo: Image.Image, question: str, count: int) -> Tensor:
        """Return the log-probabilities [count] of A, B, ... as the first token of the answer."""
        return self._recogniser.letter_scores(question, count, self._encode(photo).tokens)

    def name_scores(self, photo: Image.Image, question: str, names: Sequence[str]) -> Tensor:
        """Return the calibrated sums [N] by which the recogniser ranks distinct names; the question plays no part."""
        space = self._recogniser.label_space(list(names))
        return self._recogniser.logits(self._recogniser.score(self._encode(photo), space))

    def reply_scores(self, photo: Image.Image, question: str, options: Sequence[str]) -> Tensor:
        """Return log p(reply, EOS | photo, question) [N] of the options' names, with their letters if so trained."""
        replies = list(options)
        if self._answers_with_names:
            replies = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
        mllm = self._recogniser.mllm
        return answer_log_likelihoods(mllm, mllm.question_ids(question), self._encode(photo).tokens, replies).cpu()

    def _encode(self, photo: Image.Image) -> PhotoEncoding:
        if self._last is None or self._last[0] is not photo:
            self._last = photo, self._recogniser.encode(photo)
        return self._last[1]
