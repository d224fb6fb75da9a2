"""`python -m train leaderboard`."""

from measured_results import result

from core.evaluation.foci_results import save_result
from core.evaluation.leaderboard import FORMATS
from train.cli import main


def test_the_command_prints_each_format(tmp_path, capsys):
    save_result(tmp_path / "m" / "dog-120-seed0.json", result())
    for name in FORMATS:
        assert main(["leaderboard", "--results", str(tmp_path), "--format", name]) == 0
        assert "idefics2-8b" in capsys.readouterr().out
    assert main(["leaderboard", "--results", str(tmp_path / "none")]) == 0
    assert "Nothing was measured" in capsys.readouterr().err
    (tmp_path / "other.json").write_text("{}")
    assert main(["leaderboard", "--results", str(tmp_path)]) == 1
    assert "other.json holds no results" in capsys.readouterr().err
