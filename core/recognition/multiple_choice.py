"""Whether a closed-set or an open-set question about a photo is answered rightly."""

from core.recognition.label_space import LabelSpace
from core.recognition.photo_encoding import PhotoEncoding
from core.recognition.recogniser import Recogniser, Scores
from core.taxonomy.categories import same_category


def answered(
    recogniser: Recogniser, encoding: PhotoEncoding, scores: Scores, space: LabelSpace, options: list[str], truth: str
) -> tuple[bool, bool]:
    """Whether a closed-set question is answered rightly, and whether the letter alone would have answered it so."""
    letters = recogniser.letter_scores(options, space.group, encoding.tokens)
    chosen = recogniser.choose(scores, space, options, letters)
    right = options.index(truth)
    return int(chosen.argmax()) == right, int(letters.argmax()) == right


def names_category(answer: str, category: str) -> bool:
    """Whether a free answer is the category's name or one of its aliases (capitals and punctuation aside)."""
    return same_category(answer, category)
