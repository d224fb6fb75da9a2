"""Texts of users must not hold the special tokens of a model."""

import re
from typing import Any


class SpecialTokens:
    """The special tokens of a tokenizer, which end turns and stand for photos."""

    def __init__(self, tokenizer: Any) -> None:
        tokens = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._pattern = re.compile("|".join(map(re.escape, tokens)) or r"(?!)")

    def break_up(self, text: str) -> str:
        """Return the text with a space in every special token, so that it cannot end a turn or stand for a photo."""
        return self._pattern.sub(lambda match: match.group()[0] + " " + match.group()[1:], text)
