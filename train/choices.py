"""The named choices of recipes and of the command line. Nothing heavy is imported, so that --help is instant."""

from typing import Literal

Variant = Literal["full", "object-category", "finetune"]
NegativesBy = Literal["descriptions", "photos", "both"]
STAGE_NAMES = ("encoder", "warmup", "align", "instruct")
