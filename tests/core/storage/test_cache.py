"""Reading through the cache: damaged, locked and unwritable entries."""

import threading

import numpy as np
import pytest

from core.errors import UserError
from core.progress import Progress
from core.storage.cache import CACHE_VARIABLE, cached, cached_steps, entry_path, fingerprint
from core.storage.files import write_atomically


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return entry_path("numbers", 1, fingerprint("a"), ".txt")


def save(number, path):
    write_atomically(path, str(number).encode())


def load(path):
    return int(path.read_text())


def never():
    pytest.fail("it was computed again")


def test_an_entry_is_computed_once(path):
    assert cached(path, lambda: 7, save, load) == 7
    assert cached(path, never, save, load) == 7
    assert entry_path("numbers", 2, fingerprint("a"), ".txt") != path


@pytest.mark.parametrize("error", [ValueError, UserError, KeyError, OSError])
def test_a_damaged_entry_is_computed_again_and_logged(path, caplog, error):
    save("nonsense", path)

    def broken(path):
        if path.read_text() == "nonsense":
            raise error("broken")
        return load(path)

    assert cached(path, lambda: 8, save, broken) == 8
    assert f"{path} is damaged" in caplog.text
    assert cached(path, never, save, load) == 8


def test_a_cache_that_cannot_be_written_still_gives_the_result(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert cached(entry_path("numbers", 1, "a", ".txt"), lambda: 9, save, load) == 9
    assert "cannot be kept" in caplog.text


def test_an_error_of_the_computation_is_raised_and_keeps_nothing(path):
    def fail():
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        cached(path, fail, save, load)
    assert not path.exists()
    assert cached(path, lambda: 1, save, load) == 1


def test_a_second_computation_waits_for_the_first(path, monkeypatch):
    monkeypatch.setattr("core.storage.cache.LOCK_POLL_SECONDS", 0.01)

    def compute():
        yield Progress(0.5, "half")
        return 3

    first, second = (cached_steps(path, compute, save, load) for _ in range(2))
    assert next(first).message == "half"
    assert next(second).message.startswith("Waiting")
    results = []

    def finish():  # in another thread, as a server resumes its generators
        try:
            next(first)
        except StopIteration as end:
            results.append(end.value)

    thread = threading.Thread(target=finish)
    thread.start()
    thread.join()
    with pytest.raises(StopIteration) as end:
        next(second)
    assert results == [3] == [end.value.value]


def test_closing_frees_the_entry(path):
    def compute():
        yield Progress(0.5, "half")
        return 3

    steps = cached_steps(path, compute, save, load)
    next(steps)
    steps.close()
    assert not path.exists()
    assert cached(path, lambda: 4, save, load) == 4


def test_fingerprints_differ_with_content_type_and_shape():
    zeros = np.zeros((2, 3), np.float32)
    prints = [fingerprint(zeros), fingerprint(zeros.T), fingerprint(zeros.astype(np.float64)), fingerprint(zeros + 1)]
    assert len({*prints, fingerprint("a"), fingerprint(["a"]), fingerprint("a", None)}) == 7
    assert fingerprint({"a": 1, "b": zeros}) == fingerprint({"b": zeros.copy(), "a": 1})
    with pytest.raises(TypeError, match="set has no fingerprint"):
        fingerprint({1})
