"""The named choices of recipes and of the command line. Nothing heavy is imported, so that --help is instant."""

from typing import Literal

Variant = Literal["full", "object-category", "finetune", "finetune-longer"]
ARMS = ("all", "few-shot-4", "few-shot-8", "unseen")  # which photos an ablation trains on
NegativesBy = Literal["descriptions", "photos", "both"]
STAGE_NAMES = ("encoder", "warmup", "align", "instruct")
