import pytest
import torch

from core.evaluation.outcomes import Outcome
from core.recognition.multiple_choice import Correct
from train.evaluation.accuracy import Detail, expected_calibration_error, summary
from train.loop import calibration
from train.loop.calibration import fit_weights


def outcome(rank=0, confidence=0.9):
    return Outcome(
        "Cedar Waxwing",
        "Cedar Waxwing" if rank == 0 else "another",
        rank,
        confidence,
        known=True,
        alone=(True, rank == 0, False, False, False),
        options=4,
        closed=Correct(app=False, ranking=rank == 0, letter=False),
        open=False,
        detail=Detail(torch.ones(4), "another", 0.5),
    )


def test_calibration_error_by_hand():
    confidences, rights = [0.95] * 4 + [0.31] * 4, [True] * 3 + [False] * 5
    assert expected_calibration_error(confidences, rights) == pytest.approx((4 * 0.2 + 4 * 0.31) / 8, abs=1e-6)


def test_summary_counts():
    result = summary([outcome(0), outcome(3), outcome(7), outcome(0)])
    assert (result["n"], result["top1"], result["top5"], result["options4_ranking"]) == (4, 0.5, 0.75, 0.5)
    assert result["ece"] == pytest.approx(0.4)
    assert (result["top1_auto"], result["ece_auto"]) == (0, 0.5)
    assert (result["top1_name_alone"], result["top1_description_alone"], result["top1_words_alone"]) == (1, 0.5, 0)


def test_weights_find_the_informative_score():
    generator = torch.Generator().manual_seed(0)
    scored = []
    for _ in range(200):
        informative = torch.randn(5, generator=generator)
        truth = int((informative * 2).softmax(0).multinomial(1, generator=generator))
        noise, constant = torch.randn(5, generator=generator), torch.full((5,), 3.0)
        scored.append((torch.stack([informative, noise, constant]), truth))
    weights = fit_weights(scored, [1.0, 1.0, 1.0])
    assert weights[0].item() == pytest.approx(2, abs=0.5)
    assert weights[1].item() < 0.3
    assert weights[2].item() == 0


def test_a_likelihood_that_tells_nothing_more_is_not_computed_for_every_photo():
    generator = torch.Generator().manual_seed(0)
    telling, idle = [], []
    for _ in range(200):
        words, likelihood = torch.randn(2, 5, generator=generator)
        rest = [torch.zeros(5), torch.zeros(5), words, torch.zeros(5), likelihood]
        truth = int((words + likelihood).softmax(0).multinomial(1, generator=generator))
        telling.append((torch.stack(rest), truth))
        truth = int((2 * words).softmax(0).multinomial(1, generator=generator))
        idle.append((torch.stack(rest), truth))
    assert calibration._ranking_weights(telling)[-1] > 0.5
    assert calibration._ranking_weights(idle).tolist()[-1] == 0
