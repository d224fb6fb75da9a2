"""A model that is only asked questions, by a scripted one; `tests/test_any_model.py` has those of all families."""

import pytest
import torch
from PIL import Image

from core.errors import UserError
from core.models.general import GeneralModel
from core.recognition.asked_model import BY_LIKELIHOOD, NO_ANSWER, THINKS, AskedModel

PHOTO = Image.new("RGB", (8, 8))


class Scripted(GeneralModel):
    """Replies with one text, and ranks names by their length or, if it thinks, not at all."""

    def __init__(self, reply, thinks=False):
        self.reply, self.thinks, self.asked = reply, thinks, []

    def stream(self, photo, question, max_tokens):
        self.asked.append((question, max_tokens))
        yield from (self.reply[:1], self.reply)

    def letter_scores(self, photo, question, count):
        return None if self.thinks else torch.arange(count).float()

    def name_scores(self, photo, question, names):
        return None if self.thinks else torch.tensor([float(len(name)) for name in names])


def test_a_model_that_thinks_ranks_nothing_and_has_room_for_its_thought():
    scripted = Scripted("Birman.", thinks=True)
    model = AskedModel("thinker", scripted, reply_tokens=1024)
    result = model.identify(PHOTO, labels=["Siamese", "Birman"])
    assert (result.species, result.note, result.named) == ([], THINKS, "Birman")
    assert [tokens for _, tokens in scripted.asked] == [1024, 1024]
    assert scripted.asked[0][0].endswith("Answer with the name only.")
    assert scripted.asked[1][0] == "Describe the cat in the image."


def test_an_answer_tells_the_kind_of_thing_that_is_described():
    model = AskedModel("m", Scripted("Birman"))
    assert model.identify(PHOTO, labels=["Siamese", "Common Raven"]).description == "Birman"
    *_, last = model.stream(PHOTO, model.label_space(["Siamese", "Common Raven"]), describe=False)
    assert last.description == ""
    assert AskedModel("m", Scripted("A cat")).identify(PHOTO, labels=["Siamese", "Common Raven"]).description == ""


def test_an_empty_answer_is_said():
    result = AskedModel("m", Scripted("")).identify(PHOTO, labels=["Siamese", "Birman"])
    assert result.note == f"{BY_LIKELIHOOD} {NO_ANSWER}"
    assert (result.answer, result.description) == ("", "")
    assert result.species[0].name == "Siamese"


def test_an_option_is_chosen_by_letters_or_else_as_the_reply_reads():
    options = ["Siamese", "Birman"]
    choice, shares = AskedModel("m", Scripted("A")).choose(PHOTO, options)
    assert (choice, shares.keys()) == ("Birman", set(options))
    assert AskedModel("m", Scripted("The answer is A.", thinks=True)).choose(PHOTO, options) == ("Siamese", {})
    with pytest.raises(UserError, match="m answers 'Both', which is none of the options"):
        AskedModel("m", Scripted("Both", thinks=True)).choose(PHOTO, options)


def test_names_that_cannot_be_used_are_refused_as_elsewhere():
    model = AskedModel("m", Scripted(""))
    with pytest.raises(UserError, match="two different candidate names"):
        model.label_space(["Birman", "birman"])
    with pytest.raises(UserError, match="choose one of"):
        model.label_space(super_category="fish")
    assert model.label_space(["egyptian mau", "Birman"]).categories == ["Egyptian Mau", "Birman"]


def test_it_takes_a_part_by_hand_and_looks_for_none():
    seen = []

    class Looks(Scripted):
        def stream(self, photo, question, limit):
            seen.append(photo.size)
            return super().stream(photo, question, limit)

    photo = Image.new("RGB", (200, 100))
    result = AskedModel("m", Looks("Birman")).identify(photo, labels=["Siamese", "Birman"], crop=(0.5, 0.0, 0.5, 0.5))
    assert set(seen) == {(100, 50)}
    assert result.as_dict("photo")["box"] == [0.5, 0.0, 0.5, 0.5]
    with pytest.raises(UserError, match="m does not look for the object by itself"):
        AskedModel("m", Scripted("Birman")).identify(photo, labels=["Siamese", "Birman"], crop="auto")


def test_scores_that_are_no_numbers_are_no_result():
    class Broken(Scripted):
        def name_scores(self, photo, question, names):
            return torch.full((len(names),), torch.nan)

    with pytest.raises(UserError, match="scores that are not numbers: its files are damaged"):
        AskedModel("broken", Broken("Birman.")).identify(PHOTO, labels=["Siamese", "Birman"])
