"""Ask a model behind an endpoint the questions of an evaluation."""

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from core.models.openai_endpoint import Endpoint, EndpointSettings, Limits


class EndpointQuestions:
    """A model behind an endpoint as a `core.models.question_model.QuestionModel`: it writes, and gives no scores.

    It gets photos as the Compare tab sends them: JPEG, at most `PHOTO_SIDE` pixels a side.
    """

    def __init__(self, name: str, settings: EndpointSettings, limits: Limits | None = None) -> None:
        self.name = name
        self._settings = settings
        self._limits = limits or Limits(retries=4, reply_seconds=3600.0)  # a busy server is slow
        self._endpoints: dict[int, Endpoint] = {}  # by the limit of tokens; each remembers how its server wants requests

    def ask(self, photo: Image.Image, question: str, max_tokens: int) -> str:
        """Return the greedy reply to a question, however it ended.

        Raises `EndpointError` if the endpoint gives no reply, and `ReplyError` if the model refuses or writes nothing.
        """
        limits = replace(self._limits, tokens=max_tokens, characters=100 * max_tokens, greedy=True)
        endpoint = self._endpoints.setdefault(max_tokens, Endpoint(self._settings, limits))
        text = ""
        for reply in endpoint.stream_reply(question, photo):
            text = reply.text
        return text

    def letter_scores(self, photo: Image.Image, question: str, count: int) -> None:
        """Return None: the protocol has no log-probabilities of tokens that are not generated."""

    def name_scores(self, photo: Image.Image, question: str, names: Sequence[str]) -> None:
        """Return None: an endpoint ranks no names."""

    def reply_scores(self, photo: Image.Image, question: str, options: Sequence[str]) -> None:
        """Return None: the protocol has no log-probabilities of replies that are not generated."""
