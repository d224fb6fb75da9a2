"""Prompts that ask a question about one photo, as a family of models was trained to see them.

A processor with a chat template words the prompt itself. Families without one get the template of the FOCI benchmark
(its `model_template`).
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from jinja2 import TemplateError
from PIL import Image
from torch import Tensor, is_tensor
from transformers import AutoImageProcessor, AutoProcessor, Idefics3Processor, PreTrainedConfig
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from core.errors import UserError, first_line
from core.models.base_models import IDEFICS2_CHAT
from core.models.special_tokens import SpecialTokens

TEMPLATES = {  # BLIP-2 and InstructBLIP put the photo before the text by themselves
    "llava": "USER: <image>\n{}\nASSISTANT:",
    "llava_next": "[INST] <image>\n{} [/INST]",
    "paligemma": "<image>{}",
    "blip-2": "{}",
    "instructblip": "{}",
}
END_OF_TURN = "<end_of_utterance>"  # of Idefics, which takes strings and photos in one list
RENDER_SECONDS = 5.0
THINKING_SWITCH = "enable_thinking"  # of the chat templates of models that think only if told to
THOUGHT = ("<think>", "</think>")


@dataclass(frozen=True)
class Prompt:
    """The inputs of a model for one photo and question. `thinks`: a thought is open where the reply begins."""

    inputs: dict[str, Tensor]  # input_ids [1, T], attention_mask [1, T], pixel values, ...
    thinks: bool = False


def open_processor(folder: Path, config: PreTrainedConfig) -> Any:
    """Open the processor of a model for photos, which resizes them with Pillow whatever else is installed.

    Its part for videos, which needs packages that photos do not, is left out. Raises `ValueError` if the files are those
    of a tokenizer or of an image processor alone.
    """
    family = PROCESSOR_MAPPING.get(type(config), None)
    if family is None or "video_processor" not in family.get_attributes():
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    else:
        family = Idefics3Processor if config.model_type == "smolvlm" else family  # SmolVLM2 words photos as SmolVLM
        processor = _without_videos(family).from_pretrained(folder, trust_remote_code=False)
    if not hasattr(processor, "tokenizer"):
        raise ValueError("it has no processor for photos and texts")
    processor.image_processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, backend="pil")
    if config.model_type == "idefics2":
        processor.image_processor.do_image_splitting = False  # as the paper measures it: 64 tokens a photo
        processor.chat_template = processor.chat_template or IDEFICS2_CHAT
    return processor


def _without_videos(family: Any) -> Any:
    """Return the class of processors without its part for videos."""

    class PhotoProcessor(family):
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != "video_processor"]

    return PhotoProcessor


class Prompter:
    """Makes the prompts of one model from its processor."""

    def __init__(self, name: str, processor: Any, family: str) -> None:
        self._name = name
        self._processor = processor
        self._family = family
        self.tokenizer = processor.tokenizer
        self._special = SpecialTokens(self.tokenizer)
        chat = processor.chat_template or (None if family in TEMPLATES else self.tokenizer.chat_template)
        self._chat: str = (chat.get("default") if isinstance(chat, dict) else chat) or ""
        if not self._chat and family not in TEMPLATES and family != "idefics":
            raise UserError(
                f"{name} has no chat template, and none is known for {family} models: add chat_template.jinja to its "
                "folder."
            )

    def ask(self, photo: Image.Image, question: str) -> Prompt:
        """Return the prompt that asks a question about a photo, up to where the answer starts.

        Raises `UserError` if the chat template fails or has no place for a photo.
        """
        question = self._special.break_up(question)
        try:
            if self._family == "idefics":
                parts = ["User:", photo, question, END_OF_TURN, "\nAssistant:"]
                return Prompt(self._tensors(text=[parts]))
            text = self._render(question) if self._chat else TEMPLATES[self._family].format(question)
            own_start = self.tokenizer.bos_token and text.startswith(self.tokenizer.bos_token)
            more = {"add_special_tokens": False} if own_start else {}
            inputs = self._tensors(text=[text], images=[photo], **more)
        except (TemplateError, ArithmeticError, LookupError, MemoryError, TimeoutError, TypeError, ValueError) as error:
            raise UserError(
                f"{self._name} cannot be asked about a photo: its chat template or processor fails "
                f"({first_line(error)})."
            ) from error
        opened, closed = (text.rfind(mark) for mark in THOUGHT)
        return Prompt(inputs, thinks=opened > closed)

    def _render(self, question: str) -> str:
        """Return the chat of one question. Raises `TimeoutError` for a template that loops."""
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        switch = {THINKING_SWITCH: False} if THINKING_SWITCH in self._chat else {}
        with _time_limit(RENDER_SECONDS):
            return self._processor.apply_chat_template(
                [turn], chat_template=self._chat, add_generation_prompt=True, **switch
            )

    def _tensors(self, **parts: Any) -> dict[str, Tensor]:
        inputs = self._processor(**parts, return_tensors="pt")
        return {key: value for key, value in inputs.items() if is_tensor(value) and key != "labels"}

    def answer_ids(self, prompt: Prompt, answer: str) -> list[int]:
        """Return the tokens of an answer as it follows a prompt: behind a space, unless the prompt ends in one."""
        answer = self._special.break_up(answer)
        last = prompt.inputs["input_ids"][0, -1].item()
        if last not in self.tokenizer.all_special_ids:
            before = self.tokenizer.decode([last])[-1:]
            behind = self._ids(before + ("" if before.isspace() else " ") + answer)
            start = self._ids(before)
            if behind[: len(start)] == start:
                return behind[len(start) :]
        return self._ids(answer)

    def letter_ids(self, prompt: Prompt, letter: str) -> list[int]:
        """Return the tokens that are the letter alone, with or without a space before it, one of each."""
        found = {self.answer_ids(prompt, letter)[0], self._ids(letter)[-1], self._ids(f" {letter}")[-1]}
        return sorted(token for token in found if self.tokenizer.decode([token]).strip() == letter)

    def text_ids(self, text: str) -> list[int]:
        """Return `[BOS, text]`, without BOS where the tokenizer has none."""
        start = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        return [*start, *self._ids(self._special.break_up(text))]

    def reply(self, ids: Tensor, prompt: Prompt) -> str:
        """Return the text of a reply behind its thought, if it has one. Of an unfinished thought nothing is left."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        _, end, answer = text.rpartition(THOUGHT[1])
        if end:
            return answer.strip()
        return "" if prompt.thinks or text.lstrip().startswith(THOUGHT[0]) else text.strip()

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` in the Python code of the block, such as a compiled template, once its time is over."""
    end = time.monotonic() + seconds

    def check(frame: FrameType, event: str, argument: Any) -> Any:
        if time.monotonic() > end:
            raise TimeoutError(f"it is not done after {seconds:g} s")
        return check

    before = sys.gettrace()
    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(before)
