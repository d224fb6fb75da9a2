"""Made-up results of `train evaluate --foci`, for tests of what is made of them."""

import json

from core.evaluation.foci_results import FociResult, count_correct, result_file, save_result

OPTIONS = ["Abyssinian", "Bengal", "Birman", "Bombay"]


def result(data_set="dog-120", n=8580, official=8580, model="idefics2-8b", **changes):
    """The results of one model on one data set."""
    correct = {"generated_letter": n // 2, "generated_letter_foci_rule": n // 4, "letter_logprob": n, "ranking": 0}
    facts = {"weights": "v1", "questions_sha256": "0", "seed": 0, "reply_tokens": 10, "failures": 3, "seen": None}
    facts |= {"correct": correct, "seconds": 1.0, "date": "2026-01-02", "command": "python -m train evaluate --x a_b"}
    return FociResult(model=model, data_set=data_set, n=n, official=official, **facts | changes)


def answer(question="q1", letter="A", truth="A", **changes):
    """One line of a file of answers; the scores prefer A."""
    facts = {"key": question, "question": question, "photo": f"photos/{question}.jpg", "options": OPTIONS}
    facts |= {"truth": truth, "reply": letter or "", "letter": letter, "foci_letter": letter, "seconds": 0.1}
    facts |= {"letter_scores": [-1.0, -2.0, -3.0, -4.0], "ranking": [1.0, 0.0, 0.0, 0.0]}
    return facts | changes


def save_run(folder, model, answers, **facts):
    """Save answers about pets and what is counted of them; return the file of results."""
    counted = result("pet-37", len(answers), 3669, model, **{"correct": count_correct(answers), **facts})
    path = result_file(folder, model, "pet-37", counted.seed, ".json")
    save_result(path, counted)
    path.with_suffix(".jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in answers))
    return path
