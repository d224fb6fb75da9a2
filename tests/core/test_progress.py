"""The one form of long computations."""

import pytest

from core.progress import Progress, count_progress, part, run


def halves(closed=()):
    try:
        yield Progress(0.0, "first")
        yield Progress(0.5, "second")
        return "done"
    finally:
        if isinstance(closed, list):
            closed.append(True)


def test_running_returns_the_result_and_reports_each_progress():
    seen = []
    assert run(halves(), seen.append) == "done"
    assert [progress.message for progress in seen] == ["first", "second"]


def test_an_error_of_the_report_stops_the_work():
    closed = []

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(halves(closed), interrupt)
    assert closed


def test_a_part_lies_within_the_whole():
    seen, closed = [], []
    assert run(part(halves(closed), 0.4, 0.8, "a: "), seen.append) == "done"
    assert seen == [Progress(0.4, "a: first"), Progress(pytest.approx(0.6), "a: second")]
    steps = part(halves(closed), 0, 1)
    next(steps)
    steps.close()
    assert closed == [True, True]


def test_the_time_left_is_that_of_the_pace_so_far(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 112.0)
    assert count_progress(6, 46, 100.0) == Progress(6 / 46, "6 of 46 photos, about 1 min 20 s left.")
    assert count_progress(0, 46, 100.0).message == "0 of 46 photos."
    assert count_progress(6, 6, 100.0) == Progress(1.0, "6 of 6 photos.")
