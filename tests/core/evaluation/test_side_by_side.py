"""Two models side by side: scripted ones, the committed checkpoints, and one behind an endpoint."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from skimage import data as pictures

from core.errors import UserError
from core.evaluation.outcomes import SharedVisionEncoder
from core.evaluation.side_by_side import CORES, look_alikes, read_options, side_by_side, verdict
from core.evaluation.sides import Local, ModelOutput, Remote, empty_output
from core.models.openai_endpoint import Reply
from core.recognition.conclusion import Species
from core.recognition.results import Identification
from core.taxonomy.categories import find_category, same_category, super_categories
from core.zoo.registry import load


class Scripted:
    """A side that replies by a script; it raises the exceptions in it and waits for the events."""

    def __init__(self, name, script):
        self.name = name
        self.script = script
        self.said = 0
        self.closed = threading.Event()

    def identify(self, said):
        try:
            for reply in self.script:
                if isinstance(reply, Exception):
                    raise reply
                if isinstance(reply, threading.Event):
                    assert reply.wait(60)
                    continue
                self.said += 1
                time.sleep(0.005)
                yield ModelOutput(said.result, reply=reply)
        finally:
            self.closed.set()


def ask(side, said):
    return side.identify(said)


def run(*sides):
    return list(side_by_side(sides, [empty_output(side.name) for side in sides], ask))


def test_both_columns_grow_at_the_same_time():
    both = threading.Event()  # set when both have begun; neither ends before
    sides = [Scripted("a", ["a", both, "b"]), Scripted("b", ["A", both, "B"])]
    for outputs in side_by_side(sides, [empty_output(side.name) for side in sides], ask):
        if [output.reply for output in outputs] == ["a", "A"]:
            both.set()
    assert [output.reply for output in outputs] == ["b", "B"]


@pytest.mark.parametrize(
    ("failure", "sentence"), [(UserError("Out of ink."), "Out of ink."), (KeyError("x"), "a failed: the log says why.")]
)
def test_one_fails_and_the_other_goes_on(failure, sentence, caplog):
    left, right = run(Scripted("a", ["one", failure]), Scripted("b", "ABC"))[-1]
    assert (left.reply, left.error) == ("one", sentence)
    assert (right.reply, right.error) == ("C", "")
    assert ("KeyError" in caplog.text) == isinstance(failure, KeyError)


def test_a_side_that_is_missing_stays_silent():
    states = list(
        side_by_side([None, Scripted("b", "AB")], [empty_output("a", "No such model."), empty_output("b")], ask)
    )
    assert [said.error for said in states[-1]] == ["No such model.", ""]
    assert states[-1][1].reply == "B"
    assert list(side_by_side([None, None], [empty_output("a"), empty_output("b")], ask)) == []


def test_closing_stops_both_within_a_token():
    sides = [Scripted(name, map(str, itertools.count())) for name in "ab"]
    states = side_by_side(sides, [empty_output(side.name) for side in sides], ask)
    for _ in range(5):
        next(states)
    states.close()
    assert all(side.closed.is_set() for side in sides)
    said = [side.said for side in sides]
    time.sleep(0.1)
    assert [side.said for side in sides] == said
    assert not [thread for thread in threading.enumerate() if thread.name == "column"]


class Counting(Local):
    """A local side that only looks at how many threads torch would use."""

    encoding = None

    def __init__(self, name):
        self.name = name
        self.threads = []

    def identify(self, said):
        for _ in range(3):
            writing = threading.Thread(target=lambda: self.threads.append(torch.get_num_threads()))
            writing.start()
            writing.join()
            self.threads.append(torch.get_num_threads())
            yield said


def threads_of_a_new_thread():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_local_models_share_the_cores_and_give_them_back(monkeypatch):
    monkeypatch.setattr("core.evaluation.side_by_side.CORES", 4)
    here = torch.get_num_threads()
    pair = [Counting("b"), Counting("c")]
    run(*pair)
    assert {n for side in pair for n in side.threads} == {2}
    assert threads_of_a_new_thread() == 4
    alone = Counting("a")
    run(alone, Scripted("x", "abc"))
    assert set(alone.threads) == {4}
    assert torch.get_num_threads() == here
    monkeypatch.undo()
    run(Scripted("x", "abc"), Scripted("y", "abc"))
    assert threads_of_a_new_thread() == CORES


def said(model, name="", answer="", known=True, **more):
    return ModelOutput(Identification(model, known, [Species(name, 1.0)] if name else [], answer), **more)


def test_names_are_compared_as_categories():
    assert same_category("egyptian_mau", "Egyptian Mau.")
    assert not same_category("Bengal", "Egyptian Mau")
    assert not same_category("猫", "犬")


@pytest.mark.parametrize(
    ("columns", "truth", "text"),
    [
        ([said("a", "Bengal"), said("b", answer="bengal.")], "", "Asked for the name, both say Bengal."),
        (
            [said("a", "Bengal"), said("b", "Birman")],
            "birman",
            "Asked for the name, they differ: a says Bengal, b says Birman. Right: b.",
        ),
        (
            [said("a", "Bengal"), said("b", "Birman", known=False)],
            "Birman",
            "Asked for the name, they differ: a says Bengal, b does not know. Right: neither.",
        ),
        ([said("a", "Bengal"), said("b", "Bengal")], "Bengal", "Asked for the name, both say Bengal. Right: a and b."),
        ([said("a", "Bengal"), said("b")], "Bengal", ""),
        (
            [said("a", "Bengal", choice="Birman"), said("b", "Bengal", choice="Birman")],
            "Birman",
            "Asked for the name, both say Bengal. Right: neither.\nAsked to choose, both say Birman. Right: a and b.",
        ),
    ],
)
def test_the_verdict(columns, truth, text):
    assert verdict(columns, truth) == text


def test_options_are_read():
    assert read_options(["a_b", " ", "c", ""]) == ["a b", "c"]
    assert read_options(["", ""]) == []
    for typed, sentence in (
        (["a", ""], "at least two"),
        (["Bengal", "bengal"], "the same"),
        (["a", "b" * 101], "longer than 100"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_options(typed)


def test_look_alikes_are_of_one_kind():
    options = look_alikes("egyptian_mau")
    assert len(set(options)) == 4
    assert "Egyptian Mau" in options
    assert {find_category(option).super_category.name for option in options} == {"cat"}
    assert look_alikes("a mug") == []


class Oracle:
    """In place of an endpoint: it is asked, and replies."""

    name = "oracle"

    def __init__(self, *replies):
        self.replies = list(replies)
        self.asked = []

    def stream_reply(self, question, photo):
        self.asked.append(question)
        text = self.replies.pop(0)
        yield Reply()
        yield Reply(text, len(text.split()), ended=True)


def test_an_endpoint_is_asked_the_same_questions():
    oracle = Oracle("Bengal.", "B", "It is asleep.", "Bengal or Abyssinian")
    side = Remote(oracle, Image.new("RGB", (8, 8)), super_categories()["cat"])
    *_, named = side.identify(empty_output("oracle"))
    assert named.result.named == "Bengal"
    assert named.tokens_per_second > 0
    options = ["Abyssinian", "Bengal"]
    *_, chose = side.choose(named, options)
    assert (chose.choice, chose.result.named) == ("Bengal", "Bengal")
    *_, replied = side.reply(chose, "What does it do?")
    assert replied.reply == "It is asleep."
    assert "breed of the cat" in oracle.asked[0]
    assert oracle.asked[1] == (
        "Which of these cats is shown in the image?\nChoices:\nA. Abyssinian\nB. Bengal\n"
        "Answer with the letter from the given choices directly."
    )
    assert oracle.asked[2] == "What does it do?"
    with pytest.raises(UserError, match="oracle answers 'Bengal or Abyssinian', which is none of the options"):
        list(side.choose(named, options))


@pytest.fixture(scope="module")
def baseline():
    return load("idefics2-tiny")


@pytest.fixture(scope="module")
def cat():
    return Image.fromarray(pictures.chelsea())


def test_two_models_on_one_base_say_what_each_says_alone(recogniser, baseline, cat, monkeypatch):
    alone = recogniser.identify(cat, super_category="cat")
    photos = []
    for model in (recogniser, baseline):
        see = model.mllm.vision_features
        monkeypatch.setattr(model.mllm, "vision_features", lambda views, see=see: photos.append(views) or see(views))
    eyes = SharedVisionEncoder(cat)
    sides = [Local(model, model.label_space(super_category="cat"), eyes) for model in (recogniser, baseline)]
    states = list(side_by_side(sides, [empty_output(side.name) for side in sides], ask))
    assert len(photos) == 1
    ours, theirs = states[-1]
    assert (ours.result.answer, ours.result.description) == (alone.answer, alone.description)
    assert [s.name for s in ours.result.species] == [s.name for s in alone.species]
    assert theirs.result.model == "idefics2-tiny"
    assert set(theirs.result.seconds) == {"species", "answer", "attributes"}
    for said in states[-1]:
        assert not said.error
        assert said.tokens > 10
        assert said.tokens_per_second > 0
    growing = [(len(left.result.description), len(right.result.description)) for left, right in states]
    assert any(0 < left < growing[-1][0] and 0 < right < growing[-1][1] for left, right in growing)

    options = look_alikes(ours.result.named)
    *_, chosen = side_by_side(sides, states[-1], lambda side, said: side.choose(said, options))
    for said in chosen:
        assert list(said.probabilities) == options
        assert sum(said.probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert said.probabilities[said.choice] == max(said.probabilities.values())
    *_, replied = side_by_side(sides, chosen, lambda side, said: side.reply(said, "<image> What colour is it?"))
    assert all(said.reply and not said.error for said in replied)
    assert len(photos) == 1


def test_models_on_different_bases_look_for_themselves(recogniser, cat):
    class Other:
        model = torch.nn.Module()
        vision_features = staticmethod(lambda tta_views: len(tta_views))

    Other.model.model = torch.nn.Module()
    Other.model.model.vision_model = torch.nn.Linear(2, 2)
    encoder = SharedVisionEncoder(cat)
    assert encoder.encode(SimpleNamespace(mllm=Other, encode_features=lambda views: views))[0] == 4
    assert encoder.encode(recogniser)[0].vision.states.shape[0] == 4


def test_closing_stops_the_writing_of_both(recogniser, baseline, cat):
    eyes = SharedVisionEncoder(cat)
    sides = [Local(model, model.label_space(super_category="cat"), eyes) for model in (recogniser, baseline)]
    states = side_by_side(sides, [empty_output(side.name) for side in sides], ask)
    for state in states:
        if all(said.result.answer for said in state):
            break
    states.close()
    assert not [thread for thread in threading.enumerate() if thread.name in ("column", "writing")]
