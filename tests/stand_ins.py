"""Recognisers of the zoo on a reduced model, for tests of pages that show whatever a model says."""

from functools import cache
from pathlib import Path

import torch

from core.errors import UserError
from core.models.base_models import open_base
from core.models.calibration import Calibration, LabelBank
from core.recognition.recogniser import Recogniser
from core.taxonomy.categories import categories
from core.taxonomy.descriptions import words_of


@cache
def _reduced_model(folder: Path):
    """The model, and the embeddings of all categories of the tables."""
    mllm = open_base(str(folder), dtype=torch.float32)
    names = list(categories())
    embeddings = mllm.embed_texts(names)
    means = torch.nn.functional.normalize(torch.ones(len(names), mllm.model.config.vision_config.hidden_size), dim=-1)
    return mllm, LabelBank(names, embeddings, embeddings, means, mllm.word_ids([words_of(name) for name in names]))


def reduced_recogniser(folder: Path, name: str) -> Recogniser:
    """Return a recogniser on a reduced model under a name of the zoo; other names are refused as there."""
    if name not in ("finedefics-tiny", "idefics2-tiny"):
        raise UserError(f"There is no model {name!r}: choose one of finedefics-tiny, idefics2-tiny.")
    return Recogniser(name, *_reduced_model(folder), Calibration(name_weight=1.0, candidates=4))
