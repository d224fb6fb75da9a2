"""Made-up results of `train evaluate --foci`, for tests of what is made of them."""

from core.evaluation.foci_results import FociResult


def result(data_set="dog-120", n=8580, official=8580, model="idefics2-8b", **changes):
    """The results of one model on one data set."""
    correct = {"generated_letter": n // 2, "generated_letter_foci_rule": n // 4, "letter_logprob": n, "ranking": 0}
    facts = {"weights": "v1", "questions_sha256": "0", "seed": 0, "reply_tokens": 10, "failures": 3, "seen": None}
    facts |= {"correct": correct, "seconds": 1.0, "date": "2026-01-02", "command": "python -m train evaluate --x a_b"}
    return FociResult(model=model, data_set=data_set, n=n, official=official, **facts | changes)
