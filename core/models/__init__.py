"""Networks, their weights and their checkpoints."""

from core.models.hub_models import open_question_model

__all__ = ["open_question_model"]
