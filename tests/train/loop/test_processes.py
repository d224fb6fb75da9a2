"""Two processes train as one does: the command line under `torchrun`, and under `accelerate launch`, on the CPU."""

import os
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

STAGE = {"photos": 8, "steps": 3, "connector_lr": 1e-2, "adapter_lr": 1e-2, "warmup_steps": 1, "schedule": "cosine"}
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
LAUNCH = [
    "accelerate.commands.launch",
    "--cpu",
    "--num_processes",
    "1",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
]
RUNS = {
    "one": ([sys.executable], 0),
    "two": (TWO, 0),
    "two in chunks": (TWO, 2),
    "one by accelerate": ([sys.executable, "-m", *LAUNCH, "--dynamo_backend", "no"], 0),  # more on CPUs would need MPI
}


@pytest.fixture(scope="module")
def trained(birds, reduced_idefics2, tmp_path_factory):
    """What every run of stage I and stage II left behind."""
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
    results = {}
    for number, (name, (launcher, chunk)) in enumerate(RUNS.items()):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**preset, "chunk": chunk}))
        subprocess.run(
            [
                *[*launcher, "-m", "train", "run", "--preset", str(folder / f"{name}.yaml"), "--name", f"run{number}"],
                *["--data", str(birds), "--work", str(folder / name), "--out", str(folder / "out")],
            ],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            timeout=150,
        )
        stages = {stage: load_file(folder / name / f"full/{stage}.safetensors") for stage in ("align", "instruct")}
        results[name] = stages, (folder / f"out/run{number}/checkpoint.json").exists()
    return results


@pytest.mark.parametrize("run", list(RUNS)[1:])
def test_every_way_to_start_ends_where_one_process_does(trained, run):
    (one, _), (two, saved) = trained["one"], trained[run]
    assert saved
    for stage in ("align", "instruct"):
        for name, weights in one[stage].items():
            assert torch.allclose(two[stage][name], weights, atol=2e-4), (stage, name)
