"""Define the input of one training pass: photos, categories, texts and questions, as tensors and token ids."""

import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass
class Question:
    """A question about photo `photo` of the batch, and the answer to be learned, as token ids."""

    photo: int
    kind: str  # open | closed | description
    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass
class Batch:
    """The input of one process in one pass: b photos, their categories, texts and questions."""

    step: int
    photos: list[str]  # file names, for messages
    states: Tensor  # [b, P, D] vision features, [b, 3, H, W] pixel values, or [b, S, S, 3] uint8 decoded photos
    mask: Tensor  # [b, P] bool, or [b, H/p, W/p] patch mask of pixel values
    categories: Tensor  # [b]
    second: Tensor | None = None  # [b] the other category of a mixed photo
    share: Tensor | None = None  # [b] share of the first category in a mixed photo
    texts: list[list[int]] = field(default_factory=list)  # token ids [BOS, text, EOS], each text once
    descriptions: Tensor | None = None  # [b] index into `texts`
    names: Tensor | None = None  # [b] index into `texts`
    negatives: Tensor | None = None  # [b, K] categories
    negative_names: Tensor | None = None  # [b, K] index into `texts`
    negative_descriptions: Tensor | None = None  # [b, K] index into `texts`; None: taken from the memory bank
    questions: list[Question] = field(default_factory=list)
    answer_tokens: dict[str, float] = field(
        default_factory=dict
    )  # by kind of question: answer tokens of the step per pass

    @property
    def is_pixels(self) -> bool:
        """Whether `states` holds pixel values, which the vision encoder has not encoded."""
        return self.states.dim() == 4

    @property
    def is_photos(self) -> bool:
        """Whether `states` holds decoded photos, which are still to be augmented."""
        return self.states.dtype == torch.uint8

    def pin_memory(self) -> "Batch":
        """Return the batch with its tensors in page-locked memory, for faster copies to a GPU."""
        pinned = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(pinned, name, value.pin_memory())
        return pinned

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """Return the batch with its tensors on a device."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device, non_blocking=non_blocking))
        return moved

    def photo_part(self, part: slice) -> "Batch":
        """Return some of the photos with their questions, without texts and the indices into them."""
        rows = range(len(self.photos))[part]
        questions = [replace(q, photo=q.photo - rows.start) for q in self.questions if q.photo in rows]
        photos = self.photos[part], self.states[part], self.mask[part], self.categories[part]
        return Batch(self.step, *photos, questions=questions, answer_tokens=self.answer_tokens)
