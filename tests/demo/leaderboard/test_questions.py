"""Where two measured models differ; names, replies and paths are those of files that anybody may have written."""

import pytest
from measured_results import answer, save_run
from PIL import Image

from core.errors import UserError
from core.evaluation.foci_results import GENERATED, RANKING, result_files
from demo.components.photo_folder import Folder
from demo.leaderboard.questions import (
    NO_FOLDER,
    NO_PHOTO,
    compare,
    question_card,
    question_rows,
    run_choices,
    runs_of,
)

HOSTILE = "<img src=x onerror=hit()>"
FIRST, SECOND = "one/pet-37-seed0.json", "two/pet-37-seed0.json"


@pytest.fixture
def photos(tmp_path):
    """A folder of photos with one in it, and one beside it."""
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "photos" / "a.png", tmp_path / "b.png"):
        Image.new("RGB", (60, 40), "red").save(path)
    return tmp_path / "photos"


@pytest.fixture
def runs(tmp_path):
    """Two models that answered the same questions, and others that did not."""

    def save(first, second):
        folder = tmp_path / "results"
        save_run(folder, "one", first)
        save_run(folder, "two", second)
        save_run(folder, "seeded", first, seed=1)
        save_run(folder, "unkept", first).with_suffix(".jsonl").unlink()
        return runs_of(folder, result_files(folder))

    return save


def test_runs_are_offered_beside_those_of_the_same_questions(runs):
    found = runs([answer()], [answer()])
    assert list(found) == [FIRST, "seeded/pet-37-seed1.json", SECOND]
    assert run_choices(found)[0] == ("one, pet-37, 1 questions, seed 0 (v1)", FIRST)
    assert [name for _, name in run_choices(found, FIRST)] == [SECOND]
    assert run_choices(found, "gone") == []


def test_two_runs_are_compared_in_one_column(runs):
    found = runs([answer("q1", "A"), answer("q2", "B"), answer("q3")], [answer("q1", "B"), answer("q2"), answer("q3")])
    comparison = compare(found, FIRST, SECOND, GENERATED)
    assert comparison.summary() == (
        "generated letter: of 3 questions that both answered, they differ on 2: one alone is right on 1, two alone on "
        "1, and both are wrong on 0."
    )
    assert question_rows(comparison.found)[0] == [
        "q1",
        "A. Abyssinian",
        "✓ right",
        "A. Abyssinian",
        "✗ wrong",
        "B. Bengal",
    ]
    assert compare(found, FIRST, SECOND, RANKING).found == []


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (None, SECOND, "Choose two models"),
        (FIRST, "../../etc/passwd", "no longer there"),
        (FIRST, FIRST, "did not answer the same questions"),
        (FIRST, "seeded/pet-37-seed1.json", "did not answer the same questions"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(runs, first, second, message):
    with pytest.raises(UserError, match=message):
        compare(runs([answer()], [answer()]), first, second, GENERATED)


def test_a_model_without_the_column_says_so(runs):
    found = runs([answer(reply=None, letter=None)], [answer()])
    with pytest.raises(UserError, match="one has no generated letter"):
        compare(found, FIRST, SECOND, GENERATED)


def test_a_question_has_its_photo_words_options_and_both_replies(runs, photos):
    photo = str(photos / "a.png")
    found = runs([answer(reply=f"A {HOSTILE}", photo=photo)], [answer(letter="B", error=HOSTILE, photo=photo)])
    comparison = compare(found, FIRST, SECOND, GENERATED)
    card = question_card(comparison, "q1", Folder(photos))
    assert card.count("<img") == 1
    assert 'src="data:image/jpeg;base64,' in card
    assert card.count("&lt;img src=x onerror=hit()&gt;") == 2
    assert "Which of these pets is shown in the image?\nChoices:\nA. Abyssinian\n" in card
    assert "<b>A. Abyssinian</b>" in card
    assert NO_FOLDER in question_card(comparison, "q1", None)
    with pytest.raises(UserError, match="no longer there"):
        question_card(comparison, "q2", None)


def test_a_question_is_shown_in_the_words_it_was_asked_in(tmp_path):
    folder = tmp_path / "asked"
    for model, letter in (("one", "A"), ("two", "B")):
        save_run(folder, model, [answer(letter=letter)], question="Which of these cats is shown in the image?")
    comparison = compare(runs_of(folder, result_files(folder)), FIRST, SECOND, GENERATED)
    assert "Which of these cats is shown in the image?\nChoices:\nA. Abyssinian\n" in question_card(
        comparison, "q1", None
    )


@pytest.mark.parametrize("photo", ["{}/../b.png", "/etc/passwd", "a.png", "{}", "{}/missing.png", "{}/link", "a\0b"])
def test_only_photos_in_the_owners_folder_are_shown(runs, photos, photo):
    (photos / "link").symlink_to(photos.parent / "b.png")
    changed = {"photo": photo.format(photos)}
    comparison = compare(runs([answer(**changed)], [answer(letter="B", **changed)]), FIRST, SECOND, GENERATED)
    card = question_card(comparison, "q1", Folder(photos))
    assert "<img" not in card
    assert NO_PHOTO in card
