import copy
import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

from core.cli import main
from core.data.images import read_photo
from core.models.calibration import Calibration
from core.recognition.conclusion import Species
from core.recognition.explanation import Explainer, embed_with_shared_prefix, phrase
from core.recognition.results import AttributeEvidence, Difference, Evidence, Explanation, ranking_shares
from core.taxonomy.categories import categories, find_category, super_categories
from core.zoo.registry import DEFAULT, load

PHOTOS = Path(__file__).parents[4] / "shared/data/fgvr-mini"
PER_SET = 5


@pytest.fixture(scope="module")
def cat():
    return Image.fromarray(skimage.data.chelsea())


@pytest.fixture(scope="module")
def explainer(recogniser):
    return Explainer(recogniser)


@pytest.fixture(scope="module")
def explained(explainer, cat):
    """An identification before and behind its explanation, what was looked at, and the label space."""
    space = explainer.recogniser.label_space(super_category="cat")
    encoding = explainer.recogniser.encode(cat)
    states = explainer.stream(encoding, space)
    species, bars = next(states), next(states)
    assert bars.explanation.evidence
    assert not bars.explained  # only the runner-up was compared
    return species, next(states), encoding, space


def held_out_photos():
    """(photo, category): training photos of the small data sets that the checkpoint was calibrated on, not trained."""
    from train.data.records import split_calibration
    from train.data.source import read_folder

    rng = random.Random(0)
    for folder in sorted(path.parent for path in PHOTOS.glob("*/train.csv")):
        held = split_calibration(read_folder(folder, "train.csv"))[1]
        for record in rng.sample(held, PER_SET):
            yield read_photo(record.image).image, categories()[record.category]


def test_attributes_of_the_true_category_outrank_those_of_another(recogniser):
    if not PHOTOS.is_dir():
        pytest.skip(f"the photos of {PHOTOS} are not there")
    looks = [(recogniser.encode(photo), category) for photo, category in held_out_photos()]
    rng, pairs = random.Random(1), []
    for encoding, category in looks:
        others = {c for _, c in looks if c.super_category == category.super_category and c is not category}
        pairs.append((encoding, category, rng.choice(sorted(others, key=lambda c: c.name))))
    texts = {phrase(c.super_category, *pair) for _, *both in pairs for c in both for pair in c.values.items()}
    embeddings = dict(zip(sorted(texts), embed_with_shared_prefix(recogniser.mllm, sorted(texts)).cpu(), strict=True))

    def seen(encoding, category):
        phrases = [embeddings[phrase(category.super_category, *pair)] for pair in category.values.items()]
        return (torch.stack(phrases) @ encoding.embedding).mean()

    outranked = [seen(encoding, true) > seen(encoding, other) for encoding, true, other in pairs]
    assert sum(outranked) >= 0.8 * len(pairs), f"{sum(outranked)} of {len(pairs)}"


def test_the_reasons_come_right_behind_the_species(explained):
    species, reasons, _, _ = explained
    assert species.explanation is None
    assert not species.explained
    assert reasons.explained  # by all the names that are compared
    assert reasons.species == species.species
    assert not reasons.answer
    assert reasons.seconds["explanation"] > 0


def test_every_attribute_of_the_first_names_has_evidence(explained):
    result = explained[1]
    evidence = result.explanation.evidence
    assert [e.name for e in evidence] == [species.name for species in result.species[:2]]
    for e in evidence:
        values = find_category(e.name).values
        assert {m.attribute: m.value for m in e.attributes} == values
        assert list(values) == list(super_categories()["cat"].attributes)
        assert {m.verdict for m in e.attributes} <= {"agrees", "disagrees", "undecided", "shared"}


def test_similarities_are_the_similarities_of_the_method(explained, recogniser):
    _, result, encoding, space = explained
    evidence = result.explanation.evidence[0]
    group = super_categories()["cat"]
    alone = recogniser.mllm.embed_texts([phrase(group, m.attribute, m.value) for m in evidence.attributes]).cpu()
    name = space.names[space.labels.index(evidence.name)]
    torch.testing.assert_close(
        torch.tensor([m.image_similarity for m in evidence.attributes]), alone @ encoding.embedding, atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        torch.tensor([m.name_similarity for m in evidence.attributes]), alone @ name, atol=1e-3, rtol=0
    )


def test_phrases_are_embedded_once(explainer, explained, monkeypatch):
    _, result, encoding, space = explained
    monkeypatch.setattr(
        "core.recognition.explanation.embed_with_shared_prefix", lambda *_: pytest.fail("embedded again")
    )
    assert explainer.explain(encoding, space, result) == result.explanation


def test_texts_that_begin_alike_embed_as_they_do_alone(mllm):
    texts = ["A photo of one cat. Eyes: green.", "A photo of one cat. Coat: long and silky.", "A photo of one bird."]
    for chosen in (texts, texts[:1], [texts[0], texts[0]]):
        assert torch.allclose(embed_with_shared_prefix(mllm, chosen), mllm.embed_texts(chosen), atol=1e-4)


def test_verdicts_and_the_sentence():
    marks = [AttributeEvidence("bill", "long", 0.5, 0.6, margin) for margin in (0.2, -0.2, 0.01, None)]
    assert [m.verdict for m in marks] == ["agrees", "disagrees", "undecided", "shared"]
    both = [Evidence("Crow", marks), Evidence("Raven", marks)]
    differences = [Difference("bill", "thin", "heavy", 0.3), Difference("tail", "square", "wedge", -0.2)]
    shares = {"name": 0.03, "description": 0.0012, "words": 0.5, "encoder": 0.0, "likelihood": 0.4688}
    explanation = Explanation(both, differences, ranking_shares=shares)
    assert explanation.sentence == (
        "Consistent with Crow: bill “thin” more than “heavy”. Speaks for Raven: tail “wedge” more than “square”. "
        "What ranks Crow before Raven: the similarities with names and descriptions (3.1 %), the words in the image "
        "tokens (50.0 %), the likelihood of the names as answers (46.9 %)."
    )
    assert explanation.as_dict()["ranking_shares"] == shares
    by_encoder = {**dict.fromkeys(shares, 0.0), "encoder": 1.0}
    undecided = Explanation(both, [Difference("bill", "a", "b", 0.01)], ranking_shares=by_encoder).sentence
    assert undecided.startswith("No single attribute tells Crow from Raven in this photo.")
    assert "(less than 0.1 %), the vision encoder's own classifier" in undecided
    assert "None of the other names" in Explanation(both[:1], []).sentence


def test_the_share_of_the_ranking_by_hand():
    first, second = Species("Crow", 0.9, (0.5, 1.0, 3.0, 1.0, -2.0)), Species("Raven", 0.1, (0.0, 1.5, 1.0, 0.0, -1.0))
    assert list(ranking_shares(first, second).values()) == pytest.approx([0.1, 0.1, 0.4, 0.2, 0.2])
    assert ranking_shares(first, first) == ranking_shares(Species("Crow", 0.9), Species("Raven", 0.1)) == {}


def test_the_share_follows_the_weights_of_the_calibration(recogniser, explained):
    _, result, encoding, space = explained
    assert sum(result.explanation.ranking_shares.values()) == pytest.approx(1)
    by_names = copy.copy(recogniser)
    by_names.calibration = Calibration(name_weight=10.0, likelihood_weight=0.0)
    ranked = next(by_names.stream(encoding, space))
    assert Explainer(by_names).explain(encoding, space, ranked).ranking_shares["name"] == pytest.approx(1)


def test_the_weighted_scores_of_a_name_add_up_to_its_logit(recogniser, explained):
    species, _, encoding, space = explained
    logits = recogniser.logits(recogniser.score(encoding, space))
    for name in species.species:
        assert sum(name.weighted_scores) == pytest.approx(logits[space.labels.index(name.name)].item(), abs=1e-4)


def test_randomised_weights_change_the_explanation(explained, cat):
    result = explained[1]
    broken = load(DEFAULT)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weights in broken.mllm.model.named_parameters():
            if "connector" in name or "lora_" in name:
                weights.copy_(torch.randn(weights.shape, generator=generator) * weights.std(correction=0))
    space = broken.label_space(super_category="cat")
    other = Explainer(broken).explain(broken.encode(cat), space, result)
    before, after = (
        torch.tensor([m.image_similarity for m in e.evidence[0].attributes]) for e in (result.explanation, other)
    )
    assert (before - after).abs().mean() > 0.1


def test_there_are_no_reasons_where_nothing_is_known(explainer, explained):
    _, result, encoding, *_ = explained
    typed = explainer.recogniser.label_space(["garden gnome", "tabby house cat"])
    *_, last = explainer.stream(encoding, typed)
    assert last.explained
    assert last.explanation.sentence == f"No explanation: the attributes of {last.species[0].name} are not known."
    unknown = explainer.explain(encoding, typed, replace(result, known=False))
    assert not unknown.evidence
    assert "nothing that the model knows" in unknown.sentence


def test_a_model_whose_texts_are_not_aligned_explains_nothing(cat):
    unaligned = Explainer(load("idefics2-tiny"))
    assert unaligned.aligned < 0.2
    states = unaligned.stream(unaligned.recogniser.encode(cat), unaligned.recogniser.label_space(super_category="cat"))
    next(states)
    explanation = next(states).explanation
    assert not explanation.evidence
    assert "was not trained to bring photos, attributes and names together" in explanation.sentence


def test_a_model_without_descriptions_explains_nothing(recogniser, explained, monkeypatch):
    _, result, encoding, space = explained
    names = recogniser.label_space()
    monkeypatch.setattr(recogniser, "label_space", lambda: replace(names, descriptions=names.names.clone()))
    explainer = Explainer(recogniser)
    assert explainer.aligned is None
    explanation = explainer.explain(encoding, space, result)
    assert not explanation.evidence
    assert "has no descriptions of its categories" in explanation.sentence


def test_the_command_line_explains(recogniser, capsys, tmp_path, cat, monkeypatch):
    monkeypatch.setattr("core.zoo.registry.load", lambda *_: recogniser)
    cat.save(tmp_path / "cat.png")
    assert main(["identify", str(tmp_path / "cat.png"), "--super-category", "cat", "--explain", "--top", "1"]) == 0
    out = capsys.readouterr().out
    assert "What ranks " in out
    assert len(re.findall(r" photo +-?[01]\.\d\d  name ", out)) == 2 * len(super_categories()["cat"].attributes)
    assert main(["identify", str(tmp_path / "cat.png"), "--super-category", "cat", "--explain", "--json"]) == 0
    explanation = json.loads(capsys.readouterr().out)["explanation"]
    assert set(explanation) == {"sentence", "ranking_shares", "evidence", "differences"}
    assert {"attribute", "value", "image_similarity", "name_similarity", "margin", "verdict"} == set(
        explanation["evidence"][0]["attributes"][0]
    )
