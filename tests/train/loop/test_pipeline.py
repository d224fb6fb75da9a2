"""The folder of a run."""

from contextlib import nullcontext

import pytest

from core.errors import UserError
from train.data.source import read_folder
from train.data.training_split import TrainingSplit
from train.loop.pipeline import in_use, open_work, run_facts


def test_a_work_folder_is_of_one_run(birds, tmp_path, recipe):
    photos = TrainingSplit.of("birds", read_folder(birds, "none.csv"))
    open_work(tmp_path, run_facts(photos, recipe))
    open_work(tmp_path, run_facts(photos, recipe.changed(variant="finetune")))  # variants share their warm-up
    with pytest.raises(UserError, match="or another recipe"):
        open_work(tmp_path, run_facts(photos, recipe.changed(temperature=0.1)))


def test_a_work_folder_is_of_one_vision_encoder(birds, tmp_path, recipe):
    photos = TrainingSplit.of("birds", read_folder(birds, "none.csv"))
    file = tmp_path / "encoder.safetensors"
    for content, refusal in ((b"one", nullcontext()), (b"another", pytest.raises(UserError, match="or another recipe"))):
        file.write_bytes(content)
        with refusal:
            open_work(tmp_path / "work", run_facts(photos, recipe.changed(encoder_file=str(file))))


def test_two_runs_cannot_share_a_folder(tmp_path):
    with in_use(tmp_path), pytest.raises(UserError, match="Another run is training"), in_use(tmp_path):
        pass
    with in_use(tmp_path):
        pass
