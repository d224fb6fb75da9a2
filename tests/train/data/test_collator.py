"""Batches: which photos, and which texts go with them."""

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_training import batch_of, plain_recipe

from core.taxonomy.categories import find_category
from train.data.collator import Collator
from train.data.records import Record
from train.data.source import read_folder
from train.data.training_set import TrainingSet

BREEDS = ["Scottish Terrier", "Basset Hound", "Leonberger", "German Shorthaired Pointer", "Yorkshire Terrier", "Birman"]


def test_batches_hold_look_alikes_and_all_their_photos(fresh, data, recipe):
    rows = Collator("align", fresh(), data, recipe).rows(0)
    assert len(rows) == recipe.align.photos
    category_of = {row: i for i, members in enumerate(data.members) for row in members}
    seen = {category_of[row] for row in rows}
    assert any(seen & set(data.nearest_categories[c][:3]) for c in seen)


def test_every_photo_is_seen_once_in_an_epoch(reduced, reduced_idefics2, pictures):
    recipe = plain_recipe(reduced_idefics2).changed(balance=1.0)
    collator = Collator("instruct", reduced(), pictures, recipe)
    count = len(pictures.records)
    drawn = [row for step in range(-(-count // 6) + 1) for row in collator.rows(step)]
    assert sorted(drawn[:count]) == list(range(count))
    assert drawn[:count] != list(range(count))


def test_a_photos_own_description_replaces_its_categorys(reduced, reduced_idefics2, birds):
    records = read_folder(birds, "none.csv")
    told = {record.sha256: f"A bird with mark number {i}." for i, record in enumerate(records)}
    data = TrainingSet.build(records, None, told)
    mllm, recipe = reduced(), plain_recipe(reduced_idefics2)
    collator = Collator("align", mllm, data, recipe)
    batch = collator([(0, position) for position in range(6)])["batch"]
    for i, row in enumerate(collator.rows(0)):
        assert told[records[row].sha256] in mllm.tokenizer.decode(batch.texts[batch.descriptions[i]])


def asked_of(mllm, data, recipe, steps=4, kind="closed"):
    """The questions of some steps as (category of the photo, question, options by letter, answer)."""
    decode, asked = mllm.tokenizer.decode, []
    for step in range(steps):
        batch = batch_of("instruct", mllm, data, recipe, step)
        for question in batch.questions:
            if question.kind == kind:
                text = decode(question.prompt, skip_special_tokens=True)
                options = dict(re.findall(r"^([A-D])\. (.+)$", text, re.MULTILINE))
                own = data.categories[batch.categories[question.photo]]
                asked.append((own, text, options, decode(question.answer[:-1])))
    return asked


@pytest.fixture
def breeds():
    """Photos, which nobody looks at, of dogs and of one cat, half of them of a data set of pets."""
    names = [*BREEDS, "Ragdoll", "Siamese", "Sphynx", "Bengal"]
    sets = ["pet-37", "dog-120"]
    records = [Record(Path(f"{n}{i}"), n, sets[i % 2], f"{n}{i}") for n in names for i in range(2)]
    blank = SimpleNamespace(get=lambda rows: torch.zeros(len(rows), 2, 2, 3, dtype=torch.uint8))
    return TrainingSet.build(records, None, photos=blank)


def asking(base, **changes):
    """A recipe that asks a closed-set question about every photo."""
    recipe = plain_recipe(base, closed_share=1.0, rehearsed_share=0.0, balance=1.0, **changes)
    return recipe.changed(instruct=recipe.instruct.changed(photos=8, photos_at_once=0))


def test_the_right_letter_is_every_letter_equally_often(reduced, reduced_idefics2, decoded):
    asked = asked_of(reduced(), decoded, asking(reduced_idefics2))
    assert Counter(answer for *_, answer in asked) == dict.fromkeys("ABCD", 8)
    for own, question, options, answer in asked:
        assert "Which of these birds is shown in the image?\nChoices:\nA. " in question
        assert options[answer] == own.name
        assert len(set(options.values())) == 4


def test_letters_are_as_even_where_there_are_few_look_alikes(reduced, reduced_idefics2, breeds):
    records = [record for record in breeds.records if record.category in BREEDS[:2]]
    pair = TrainingSet.build(records, None, photos=breeds.photos)
    asked = asked_of(reduced(), pair, asking(reduced_idefics2))
    assert Counter(answer for *_, answer in asked) == {"A": 16, "B": 16}


def test_options_are_of_the_nearest_categories(reduced, reduced_idefics2, decoded):
    nearest = {
        category: [decoded.categories[i].name for i in row]
        for category, row in zip(decoded.categories, decoded.nearest_categories, strict=True)
    }
    for own, _, options, _ in asked_of(reduced(), decoded, asking(reduced_idefics2, option_pools=[3])):
        assert set(options.values()) == {own.name, *nearest[own][:3]}
    mixed = asked_of(reduced(), decoded, asking(reduced_idefics2, option_pools=[3, 4]))
    far = [own for own, _, options, _ in mixed if nearest[own][3] in options.values()]
    assert 0 < len(far) < 24  # three of four questions of the larger pool have it


def test_an_answer_may_name_its_option_in_the_spelling_of_the_question(reduced, reduced_idefics2, breeds):
    asked = asked_of(reduced(), breeds, asking(reduced_idefics2, closed_answer="letter and name"), steps=8)
    spelt = Counter()
    for own, question, options, answer in asked:
        letter, name = answer.split(". ", 1)
        assert options[letter] == name
        assert find_category(name) is own
        assert all(find_category(option).super_category == own.super_category for option in options.values())
        assert len({find_category(option) for option in options.values()}) == len(options) == 4
        assert not any("_" in option for option in options.values())
        assert question.count("Answer with the letter from the given choices directly.") == 1
        spelt[name == own.name] += 1
    assert min(spelt.values()) > 4
    assert Counter(answer[0] for *_, answer in asked) == dict.fromkeys("ABCD", 16)


def test_questions_are_worded_as_in_the_photos_own_data_set(reduced, reduced_idefics2, breeds, decoded):
    recipe, mllm = asking(reduced_idefics2, closed_answer="letter and name"), reduced()
    closed = {text for _, text, *_ in asked_of(mllm, breeds, recipe, steps=3)}
    for noun in ("pets", "dogs", "cats"):
        assert any(f"Which of these {noun} is shown in the image?\nChoices:\nA. " in text for text in closed)
    opened = {text for _, text, *_ in asked_of(mllm, breeds, recipe, steps=3, kind="open")}
    for noun in ("pet", "dog", "cat"):
        assert any(f"What is the breed of the {noun} shown in the image?" in text for text in opened)
    ((_, bird, *_), *_) = asked_of(mllm, decoded, recipe, steps=1)
    assert "Which of these birds is shown in the image?" in bird


@pytest.mark.parametrize(("share", "count"), [(1.0, 8), (0.5, 4), (0.01, 1)])
def test_some_photos_of_stage_ii_keep_their_texts(reduced, reduced_idefics2, decoded, share, count):
    mllm, recipe = reduced(), asking(reduced_idefics2, aligned_share=share)
    batch = batch_of("instruct", mllm, decoded, recipe)
    assert len(batch.categories) == 8
    assert batch.descriptions.shape == batch.names.shape == (count,)
    assert batch.negatives.shape == batch.negative_names.shape == (count, recipe.hard_negatives)
    for category, name in zip(batch.categories[:count].tolist(), batch.names.tolist(), strict=True):
        assert decoded.categories[category].name in mllm.tokenizer.decode(batch.texts[name])
    for other in (recipe.changed(aligned_share=0.0), recipe.changed(variant="finetune")):
        assert batch_of("instruct", mllm, decoded, other).descriptions is None
