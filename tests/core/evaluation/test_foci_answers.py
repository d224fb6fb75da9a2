import json

import pytest
from measured_results import OPTIONS, answer, result, save_run

from core.errors import UserError
from core.evaluation.foci_answers import FILTERS, FociAnswer, disagreements, read_answers, same_questions
from core.evaluation.foci_results import GENERATED, LOGPROB, answers_file, read_results, result_files, save_result


def read(*lines):
    return {line["question"]: FociAnswer(**line) for line in lines}


def test_what_was_saved_is_read_by_question(tmp_path):
    path = save_run(tmp_path, "one", [answer(), answer("q2", None, error="it refuses")])
    answers = read_answers(answers_file(path))
    assert list(answers) == ["q1", "q2"]
    assert answers["q1"].named("A") == "A. Abyssinian"
    assert (answers["q2"].chosen(GENERATED), answers["q2"].chosen(LOGPROB)) == (None, "A")
    assert answers["q2"].named(None) == "none"
    assert list(result_files(tmp_path)) == [path]


def test_models_differ_where_they_choose_otherwise_in_one_column():
    first = read(answer("q1", "A"), answer("q2", "B"), answer("q3", None), answer("q4", "C"), answer("q5", "A"))
    second = read(answer("q1", "B"), answer("q2", "A"), answer("q3", "D"), answer("q4", "C"))
    found, common = disagreements(first, second, GENERATED)
    assert common == 4
    assert [one.right for one in found] == [(True, False), (False, True), (False, False)]
    assert [[one.answers[0].question for one in found if keep(one)] for keep in FILTERS.values()] == [
        ["q1", "q2", "q3"],
        ["q1"],
        ["q2"],
        ["q3"],
    ]
    assert disagreements(first, second, LOGPROB) == ([], 4)


def test_another_order_of_options_is_another_question():
    first, second = read(answer()), read(answer(letter="B", options=OPTIONS[::-1]))
    assert disagreements(first, second, GENERATED) == ([], 0)
    assert same_questions(result(), result(model="other"))
    for change in ({"seed": 1}, {"questions_sha256": "1"}, {"data_set": "pet-37"}):
        assert not same_questions(result(), result(**change))


@pytest.mark.parametrize(
    "changes",
    [
        {"options": "ABCD"},
        {"options": ["one"]},
        {"truth": "E"},
        {"truth": "D", "options": OPTIONS[:3], "letter_scores": None, "ranking": None},
        {"letter": "../x"},
        {"ranking": [1.0]},
        {"reply": 3},
        {"photo": "\ud800"},
    ],
)
def test_a_line_that_is_no_answer_is_one_sentence(tmp_path, changes):
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(answer())}\n{json.dumps(answer('q2', **changes))}\n")
    with pytest.raises(UserError, match="line 2 holds no answer"):
        read_answers(tmp_path / "a.jsonl")


@pytest.mark.parametrize("line", ["[" * 100_000, '{"key": 1, "reply": ""}', "{"])
def test_damaged_lines_are_one_sentence(tmp_path, line):
    (tmp_path / "a.jsonl").write_text(f"{line}\n")
    with pytest.raises(UserError, match="line 1"):
        read_answers(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match="cannot be read"):
        read_answers(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 0},
        {"correct": {"generated_letter": 9}},
        {"correct": {"ranking": -1}},
        {"correct": {"best": 1}},
        {"model": "\ud800"},
    ],
)
def test_results_that_cannot_be_counted_are_one_sentence(tmp_path, changes):
    path = tmp_path / "a.json"
    save_result(path, result(n=8))
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UserError, match="holds no results"):
        read_results(tmp_path)
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match="holds no results"):
        read_results(tmp_path)
