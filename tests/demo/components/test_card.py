import re
from dataclasses import replace

import pytest

from core.recognition.conclusion import Species
from core.recognition.crops import Region
from core.recognition.results import AttributeEvidence, Evidence, Explanation, Identification
from demo.components.card import NOT_SURE, OWN_ANSWER, UNCERTAIN, Card, card_html, card_page, head

HOSTILE = "</style><img src=x onerror=window.hit=1>${window.hit=1}{{x}}\"'"
MARKS = [AttributeEvidence(part, "long", 0.5, 0.1, margin) for part, margin in (("bill", 0.2), ("tail", -0.2))]
RESULT = Identification(
    "model",
    True,
    [Species("Bengal", 0.7), Species("Birman", 0.2), Species("Sphynx", 0.001)],
    answer="Bengal",
    attributes={"coat": "short"},
    seconds={"species": 1.0, "answer": 0.5},
    explanation=Explanation([Evidence("Bengal", MARKS), Evidence("Birman", MARKS)], []),
)
CARD = Card("cat.png", b"JPEG", RESULT)


def asked(**changes):
    result = Identification("model", True, [], answer="Bengal.", calibrated=False, note="It ranks no names.")
    return replace(CARD, result=replace(result, **changes))


def test_a_card_has_name_certainty_runner_up_attributes_and_what_agrees():
    shown = card_html(CARD)
    for text in ("<h2>Bengal</h2>", "<b>Likely (70 %)</b> &middot; cat", "Or: Birman (20 %)", "<dt>coat</dt>"):
        assert text in shown
    assert re.search(r"What agrees</h3>\s*<ul class=\"agrees\">\s*<li><b>bill</b> long</li>", shown)
    assert re.search(r"What disagrees</h3>\s*<ul class=\"disagrees\">\s*<li><b>tail</b> long</li>", shown)
    assert CARD.text.splitlines() == [
        "Bengal, likely (70 %)",
        "Or: Birman (20 %)",
        "Agrees: bill long",
        "Disagrees: tail long",
        "coat: short",
        "cat.png, model, 1.5 s",
    ]


@pytest.mark.parametrize(
    ("probability", "certainty"),
    [(0.93, "Almost certain (93 %)"), (0.6, "Likely (60 %)"), (0.4, "Perhaps (40 %)"), (0.004, "A guess (under 1 %)")],
)
def test_the_certainty_is_a_plain_word(probability, certainty):
    result = replace(RESULT, species=[Species("Bengal", probability)])
    assert replace(CARD, result=result).certainty == certainty


def test_no_certainty_is_claimed_where_none_was_measured():
    uncalibrated = replace(CARD, result=replace(RESULT, calibrated=False, note="Not calibrated."))
    assert uncalibrated.certainty == UNCERTAIN
    assert "Not calibrated." in card_html(uncalibrated)
    assert (asked().name, asked().certainty, asked().second, asked().others) == ("Bengal", OWN_ANSWER, "", [])
    assert "It ranks no names." in card_html(asked())
    assert "Other names" not in card_html(asked())
    assert asked(answer="").name == "No name"


def test_an_unknown_photo_is_not_named():
    unknown = replace(CARD, result=replace(RESULT, known=False, explanation=None, attributes={}))
    assert (unknown.name, unknown.second, unknown.summary) == ("Unknown", "Nearest: Bengal", "Unknown")
    assert [species.name for species in unknown.others] == ["Bengal", "Birman", "Sphynx"]
    assert "I don&#39;t know this one" in card_html(unknown)


def test_a_correction_takes_the_place_of_the_name():
    corrected = replace(CARD, correction="Ocicat")
    assert "<h2>Ocicat</h2>" in card_html(corrected)
    assert "The model said: Bengal." in card_html(corrected)
    assert "What agrees with Bengal" in card_html(corrected)
    assert corrected.text.startswith("Ocicat\n")


PARTS = [Region((0.5, 0.0, 0.5, 1.0), 0.9, "Bengal", 0.8), Region((0.0, 0.0, 0.25, 0.5), 0.8, "Birman", 0.6)]
BOXED = replace(CARD, result=replace(RESULT, box=PARTS[0].box), size=(400, 200), found=PARTS)


def test_a_named_part_is_on_the_photo_with_the_other_objects_that_were_found():
    shown = card_html(BOXED, "the-id")
    assert 'viewBox="0 0 400 200"' in shown
    assert '<rect class="named over" x="200.0" y="0.0" width="200.0" height="200.0"/>' in shown
    assert '<rect class="found over" x="0.0" y="0.0" width="100.0" height="100.0"/>' in shown
    assert "Named from this part." in shown
    assert 'data-photo="the-id"' in shown
    assert 'data-crop="none">Use the whole photo</button>' in shown
    assert 'data-crop="0.0,0.0,0.25,0.5">2. Birman (60 %)</button>' in shown
    assert "1. Bengal" not in shown
    assert "Named from a part of the photo: left 50 %, top 0 %, width 50 %, height 100 %" in BOXED.text


def test_of_the_whole_photo_all_objects_can_be_chosen_and_a_card_without_id_has_nothing_to_press():
    whole = replace(BOXED, result=RESULT)
    assert "1. Bengal (80 %)</button>" in card_html(whole, "the-id")
    assert "Use the whole photo" not in card_html(whole, "the-id")
    for plain in (card_html(BOXED), card_page(BOXED)):
        assert "2. Birman (60 %)" in plain
        assert '<rect class="named over"' in plain
        assert not re.search('<button|"draft|tabindex', plain)
    assert "<svg" not in card_html(CARD)


def page_with_tools(card):
    return card_html(card, HOSTILE if card.photo == HOSTILE else "the-id")


@pytest.mark.parametrize("render", [card_html, card_page, page_with_tools])
def test_all_content_is_escaped(render):
    result = replace(
        RESULT,
        model=HOSTILE,
        species=[Species(HOSTILE, 0.7), Species(HOSTILE, 0.2)],
        answer=HOSTILE,
        description=HOSTILE,
        attributes={HOSTILE: HOSTILE},
        explanation=Explanation([Evidence(HOSTILE, [AttributeEvidence(HOSTILE, HOSTILE, 0.5, 0.1, 0.2)])], []),
        calibrated=False,
        note=HOSTILE,
    )
    clean, shown = (
        render(CARD),
        render(Card(HOSTILE, b"JPEG", result, HOSTILE, HOSTILE, found=[replace(PARTS[0], name=HOSTILE)])),
    )
    assert shown.count("<img") == clean.count("<img") == 1
    assert shown.count("</style") == clean.count("</style")
    assert not re.search(r"<[^>]*\sonerror", re.sub(r'"[^"]*"', '""', shown))


def test_the_shared_page_loads_and_runs_nothing():
    page = card_page(CARD)
    assert "default-src 'none'; img-src data:" in page
    assert "<title>Bengal</title>" in page
    assert "<script" not in page
    assert not re.search(r"<[^>]* style=", page)  # the policy would drop it
    assert ".card .certainty" in page


def test_the_head_carries_style_and_script_as_they_are():
    assert 'id="card-style"' in head()
    assert "&lt;" not in head()
    assert "&gt;" not in head()
    assert "=>" in head()


def test_a_name_that_is_not_sure_gives_way_to_its_group():
    ranking = [Species("California Gull", 0.5), Species("Western Gull", 0.45), Species("Mallard", 0.05)]
    gulls = replace(CARD, result=replace(RESULT, species=ranking, ranking=ranking, explanation=None))
    assert (gulls.name, gulls.certainty) == ("A gull", "Almost certain (95 %)")
    assert gulls.others == ranking
    assert gulls.second == "Perhaps: California Gull (50 %), Western Gull (45 %)"
    assert "<h2>A gull</h2>" in card_html(gulls)
    wider = replace(gulls, sure=0.99)
    assert (wider.name, wider.certainty, wider.summary) == ("A bird", NOT_SURE, "A bird, which one is not sure")
    assert replace(gulls, correction="Ring-billed Gull").name == "Ring-billed Gull"
    sure = replace(gulls, result=replace(gulls.result, ranking=[Species("California Gull", 0.95), *ranking[1:]]))
    assert sure.name == "California Gull"


def test_what_agrees_is_said_of_the_first_name_where_a_group_is_the_headline():
    ranking = [Species("Bengal", 0.5), Species("Abyssinian", 0.45), Species("Birman", 0.05)]
    shown = card_html(replace(CARD, result=replace(RESULT, species=ranking, ranking=ranking)))
    assert "<h2>A shorthair cat</h2>" in shown
    assert "What agrees with Bengal" in shown
