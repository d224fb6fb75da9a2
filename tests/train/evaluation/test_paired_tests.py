import pytest

from train.evaluation.paired_tests import holm, mcnemar


def test_mcnemar_by_hand():
    # Of 8 discordant photos one is the second model's: 2 * (C(8, 0) + C(8, 1)) / 2 ** 8
    first, second = "1" * 7 + "0" + "11100", "0" * 7 + "1" + "11100"
    assert mcnemar(first, second) == (7, 1, pytest.approx(2 * 9 / 256))
    assert mcnemar(second, first) == (1, 7, pytest.approx(2 * 9 / 256))


def test_models_that_agree_do_not_differ():
    assert mcnemar("1010", "1010") == (0, 0, 1.0)
    assert mcnemar("10", "01") == (1, 1, 1.0)


def test_answers_about_different_photos_are_not_paired():
    with pytest.raises(ValueError, match="shorter"):
        mcnemar("101", "10")


def test_holm_by_hand():
    # sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2, 0.9 * 1, never less than the one before
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
