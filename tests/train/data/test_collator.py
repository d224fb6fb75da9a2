"""Batches: which photos, and which texts go with them."""

from small_training import plain_recipe

from train.data.collator import Collator
from train.data.source import read_folder
from train.data.training_set import TrainingSet


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
