"""Two processes train as one does: the command line under `torchrun`, and under `accelerate launch`, on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from train.cli import main

ROOT = Path(__file__).parents[3]
STAGE = {"photos": 8, "steps": 3, "connector_lr": 1e-2, "adapter_lr": 1e-2, "warmup_steps": 1, "schedule": "cosine"}
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ACCELERATE = ["accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
ACCELERATE += ["--mixed_precision", "no", "--dynamo_backend", "no"]  # more processes on CPUs would need MPI
LAUNCHES = {  # what is launched, and the sizes of the chunks that are trained with one after the other
    "two": ([*TORCHRUN, "{script}"], (0, 2)),
    "one by accelerate": ([*ACCELERATE, "-m", "train"], (0,)),
}
RUN_ALL = """
import sys
from train.cli import main

cut = sys.argv.index("then")
for arguments in (sys.argv[1:cut], sys.argv[cut + 1 :]):
    assert main(arguments) == 0
"""


@pytest.fixture(scope="module")
def folder(birds, reduced_idefics2, tmp_path_factory):
    """A folder with a preset for each size of chunks, and the script that trains with two presets."""
    folder = tmp_path_factory.mktemp("runs")
    preset = {
        "base": str(reduced_idefics2),
        "precision": "float32",
        "adapter": {"rank": 2, "alpha": 4, "dropout": 0.0, "on_connector": False},
        "learned_temperature": True,
        "groups_per_batch": 2,
        "categories_per_group": 2,
        "described_share": 0.4,
        "closed_share": 0.4,
        "align": {**STAGE, "photos_at_once": 0},
        "instruct": {**STAGE, "photos_at_once": 2},
    }
    for chunk in (0, 2):
        (folder / f"{chunk}.yaml").write_text(yaml.safe_dump({**preset, "chunk": chunk}))
    (folder / "run_all.py").write_text(RUN_ALL)
    return folder


def arguments(folder, birds, launch, chunk):
    """The command of a run that leaves its weights in a folder of its own."""
    name = f"{launch}-{chunk}".replace(" ", "-")
    options = ["--preset", str(folder / f"{chunk}.yaml"), "--name", name, "--data", str(birds)]
    return ["run", *options, "--work", str(folder / name), "--out", str(folder / "out")]


def weights(folder, launch, chunk):
    """The weights after each stage."""
    run = f"{launch}-{chunk}".replace(" ", "-")
    assert (folder / "out" / run / "checkpoint.json").exists()
    return {stage: load_file(folder / run / f"full/{stage}.safetensors") for stage in ("align", "instruct")}


@pytest.fixture(scope="module")
def alone(folder, birds):
    """The weights that this process trains by itself."""
    assert main(arguments(folder, birds, "alone", 0)) == 0
    return weights(folder, "alone", 0)


@pytest.mark.parametrize("launch", list(LAUNCHES))
def test_every_way_to_start_ends_where_one_process_does(alone, folder, birds, launch):
    launcher, chunks = LAUNCHES[launch]
    runs = [arguments(folder, birds, launch, chunk) for chunk in chunks]
    asked = [*runs[0], *(word for run in runs[1:] for word in ("then", *run))]
    command = [part.format(script=folder / "run_all.py") for part in launcher]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command, *asked], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for chunk in chunks:
        trained = weights(folder, launch, chunk)
        for stage, expected in alone.items():
            for name, values in expected.items():
                assert torch.allclose(trained[stage][name], values, atol=2e-4), (chunk, stage, name)
