import pytest

from core.recognition.conclusion import Species, conclude
from train.evaluation.conclusions import conclusion_shares, conclusions_text

NAME = conclude([Species("House Wren", 0.95), Species("Mallard", 0.05)])
GROUP = conclude([Species("California Gull", 0.5), Species("Western Gull", 0.45), Species("Mallard", 0.05)])
KIND = conclude([Species("House Wren", 0.5), Species("Mallard", 0.5)])
NOTHING = conclude([Species("House Wren", 0.5), Species("Beagle", 0.5)])


@pytest.mark.parametrize(
    ("conclusion", "right", "wrong"),
    [
        (NAME, ["House Wren", "house_wren"], ["Winter Wren", "Nobody's Wren"]),
        (GROUP, ["Western Gull", "Herring Gull"], ["Arctic Tern", "Mallard", "Beagle"]),
        (KIND, ["Arctic Tern"], ["Beagle", "Nobody's Wren"]),
        (NOTHING, [], ["House Wren", "Beagle"]),
    ],
)
def test_what_is_said_is_right_of_the_categories_that_it_covers(conclusion, right, wrong):
    assert all(conclusion.covers(label) for label in right)
    assert not any(conclusion.covers(label) for label in wrong)


def test_shares_by_hand():
    said = [(NAME, "House Wren")] * 5 + [(NAME, "Mallard")] + [(GROUP, "Herring Gull")] * 2
    said += [(KIND, "Mallard"), (NOTHING, "Beagle"), (None, "Beagle"), (None, "Mallard")]
    shares = conclusion_shares(said)
    assert shares["photos"] == 12
    assert {rank: row["share"] for rank, row in shares.items() if rank != "photos"} == {
        "name": 0.5,
        "group": 0.1667,
        "answered": 0.6667,
        "kind": 0.0833,
        "nothing": 0.0833,
        "unknown": 0.1667,
    }
    assert (shares["name"]["right"], shares["group"]["right"], shares["answered"]["right"]) == (0.8333, 1, 0.875)
    assert shares["answered"]["low"] == pytest.approx(0.529, abs=1e-3)  # Wilson's interval of 7 in 8
    assert "| name or group | 66.7 | 87.5 | 52.9 to 97.8 |" in conclusions_text(shares)
    assert "| nothing is sure | 8.3 | | |" in conclusions_text(shares)


def test_a_table_of_no_answers_is_empty():
    assert "| the name | 0.0 | | |" in conclusions_text(conclusion_shares([(None, "Beagle")]))
