"""The three capabilities, measured on pictures of installed packages, and what the reading makes of numbers."""

import copy
import csv
import io
import json
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as pictures

from core.cli import main
from core.data.photo_sets import LabelledPhoto, open_photo_set
from core.embeddings.metrics import EXPLAINED
from core.errors import UserError
from core.evaluation.capabilities import Descriptions, diagnose, object_features, photos_learned, pooled_states
from core.evaluation.capability_report import as_csv, as_dict, published, reading
from core.evaluation.diagnosis import ALIGNMENT, ENCODER, KNOWLEDGE, LLM, OBJECT, WORDS, Diagnosis, Questions
from core.evaluation.linear_probe import ProbeResult
from core.models.scoring import pooled_features
from core.progress import Progress, run
from core.taxonomy.categories import find_category
from core.taxonomy.descriptions import WORDINGS, parse_description


def result(mean, chance=0.1, spread=0.02):
    return ProbeResult(mean, spread, chance, samples=200, classes=10, folds=5)


def made_up(encoder=0.95, llm=0.94, knowledge=0.97, nearest=0.9, trained_on=0, spread=0.02):
    probes = {
        (OBJECT, ENCODER, "Avg."): result(encoder, spread=spread),
        (OBJECT, LLM, "Last"): result(llm, spread=spread),
        (OBJECT, LLM, "Avg."): result(llm - 0.05, spread=spread),
    }
    if knowledge is not None:
        probes[KNOWLEDGE, LLM, "Last"] = result(knowledge, spread=spread)
        probes[KNOWLEDGE, LLM, "Avg."] = result(knowledge - 0.02, spread=spread)
        probes[KNOWLEDGE, WORDS, "TF-IDF"] = result(0.99)
    return Diagnosis(
        "made-up",
        probes,
        {**dict.fromkeys(EXPLAINED, 0.5), "recall_at_1": nearest, "gap": 0.82, "attribute_gap": None},
        Questions(200, 0.6, 0.5, 0.4, 0.1, 0.25),
        photos=200,
        categories=10,
        skipped=0,
        without_label=0,
        trained_on=trained_on,
        provenance={"seed": 0, "date": "2026-01-01", "photos_sha256": "0" * 64},
    )


@pytest.fixture
def packed(tmp_path, encode):
    """Five different parts of a cat and five of a flower, one of them twice, one file that is no photo, one stray."""
    from sklearn.datasets import load_sample_image

    photos = {"Abyssinian": pictures.chelsea(), "Orange Dahlia": load_sample_image("flower.jpg")}
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for label, pixels in photos.items():
            picture = Image.fromarray(pixels)
            for i in range(5):
                part = picture.crop((i * 20, i * 10, picture.width - 40, picture.height - 30)).resize((224, 200 + 9 * i))
                archive.writestr(f"{label}/{i}.png", encode(part))
            archive.writestr(f"{label}/again.png", encode(part))
        archive.writestr("Abyssinian/broken.png", b"no picture")
        archive.writestr("stray.png", encode(Image.new("RGB", (64, 64), "green")))
    return tmp_path / "photos.zip"


def measured(path, recogniser):
    with open_photo_set([path]) as items:
        steps = []
        diagnosis = run(diagnose(items, recogniser), steps.append)
    assert [step.fraction for step in steps] == sorted(step.fraction for step in steps)
    return [step.message for step in steps], diagnosis


def test_ten_pictures_are_diagnosed(packed, recogniser):
    lines, diagnosis = measured(packed, recogniser)
    assert lines[1].startswith("1 of 10 photos, about ")
    assert any("probes" in line for line in lines)
    assert (diagnosis.photos, diagnosis.categories, diagnosis.skipped, diagnosis.without_label) == (10, 2, 3, 1)
    assert diagnosis.trained_on == 0
    probes = diagnosis.probes
    assert probes[OBJECT, ENCODER, "Avg."].mean == probes[OBJECT, LLM, "Last"].mean == 1.0  # a cat is no flower
    assert probes[KNOWLEDGE, LLM, "Avg."].samples == 24
    assert probes[KNOWLEDGE, LLM, "Avg."].folds == WORDINGS
    assert diagnosis.alignment["recall_at_1"] >= 0.9
    assert 0.25 < diagnosis.questions.chance == 0.5
    data = json.loads(json.dumps(as_dict(diagnosis)))
    assert data["model"] == "finedefics-tiny"
    assert len(data["photos_sha256"]) == 64
    rows = {(row["capability"], row["part"], row["measure"]): row for row in data["rows"]}
    assert "no CLS token" in rows[OBJECT, ENCODER, "CLS"]["note"]
    assert rows[KNOWLEDGE, "text encoder", "Avg."]["note"].startswith("none")
    assert rows[OBJECT, LLM, "Last"]["published"] == pytest.approx(0.9499)
    lines = list(csv.DictReader(io.StringIO(as_csv(diagnosis))))
    assert len(lines) == len(data["rows"])
    assert {line["diagnosed"] for line in lines} == {"finedefics-tiny"}


@pytest.mark.parametrize("folder", ["reduced_idefics2", "reduced_idefics3"])
def test_models_of_the_hub_are_diagnosed(packed, folder, request):
    """Photos of several sizes, which Idefics2 does not make squares of; the weights are random: numbers say little."""
    from core.models.base_models import open_base
    from core.models.calibration import Calibration
    from core.recognition.recogniser import Recogniser
    from core.zoo.hub import table_labels

    mllm = open_base(str(request.getfixturevalue(folder)), dtype=torch.float32)
    recogniser = Recogniser("reduced", mllm, table_labels(mllm), Calibration())
    _, diagnosis = measured(packed, recogniser)
    assert len(diagnosis.probes) == 6
    assert all(0 <= probed.mean <= 1 for probed in diagnosis.probes.values())
    assert reading(diagnosis)


def test_features_are_those_of_the_object_sequence(mllm):
    photo = Image.fromarray(pictures.chelsea())
    vision = mllm.vision_features([photo, photo.rotate(90)])
    tokens = mllm.image_tokens(vision)
    last, average = object_features(mllm, tokens)
    assert torch.allclose(last, mllm.embed_photos(tokens), atol=1e-5)
    states = mllm.hidden_states([mllm.object_ids()] * 2, tokens)[:, 1:-1].mean(dim=1)
    assert torch.allclose(average, torch.nn.functional.normalize(states, dim=-1), atol=1e-5)
    assert pooled_features(vision).shape == (2, 1280)
    without = copy.copy(mllm)
    without.object_bos = False
    states = without.hidden_states([without.object_ids()] * 2, tokens)[:, :-1].mean(dim=1)
    assert torch.allclose(object_features(without, tokens)[1], torch.nn.functional.normalize(states, dim=-1), atol=1e-5)


def test_padding_does_not_change_what_is_pooled(mllm):
    texts = ["Bill is short.", "Bill is short. Crown is grey and streaked. Tail is long."]
    ids = [mllm.text_ids(text) for text in texts]
    together = pooled_states(mllm, ids)
    alone = [pooled_states(mllm, [one]) for one in ids]
    for kind in (0, 1):
        assert torch.allclose(together[kind], torch.cat([one[kind] for one in alone]), atol=1e-4)


def test_no_description_is_tested_whose_clauses_were_fitted_to():
    names = ["Cedar Waxwing", "Bohemian Waxwing", "Abyssinian", "unheard of"]
    told = Descriptions.of(names, seed=0)
    assert sorted(set(told.categories)) == sorted(names[:3])
    assert [told.categories.count(name) for name in names[:3]] == [12] * 3
    by_name = {}
    for text, name, wording in zip(told.texts, told.categories, told.wordings, strict=True):
        category = find_category(name)
        marks = parse_description(text, category.super_category)
        assert len(marks) == 5
        assert marks.items() <= category.values.items()
        by_name.setdefault(name, []).append((frozenset(marks), wording))
    assert len({clauses for clauses, _ in by_name["Cedar Waxwing"]}) == 12
    assert by_name["Cedar Waxwing"] == by_name["Bohemian Waxwing"]  # which attributes are named tells nothing
    assert Descriptions.of(["Cedar Waxwing", "unheard of"], seed=0) is None


def test_photos_that_were_trained_on_are_told():
    assert len(photos_learned("finedefics-tiny")) > 1000
    assert photos_learned("idefics2-8b") == photos_learned("unheard of") == ()
    assert "trained on 150 of these 200 photos" in reading(made_up(trained_on=150))
    assert "trained on" not in reading(made_up())


def test_too_few_photos_are_one_sentence_before_any_work():
    def unread():
        raise UserError("Unreadable.")

    for items, message in (
        ([LabelledPhoto("a.png", unread)], "no true names"),
        ([LabelledPhoto("a.png", unread, "crow")], "can be read as a photo"),
    ):
        with pytest.raises(UserError, match=message):
            run(diagnose(items, None))


def test_categories_that_are_too_small_are_one_sentence(encode):
    rng = np.random.default_rng(0)

    def photo():
        data = encode(Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)))
        return lambda: data

    items = [LabelledPhoto(f"{i}.png", photo(), "crow" if i < 6 else "jay") for i in range(10)]
    with pytest.raises(UserError, match="two categories with 5 readable photos each: there are 1"):
        run(diagnose(items, None))


def test_closing_the_iterator_stops_the_work(packed, recogniser, monkeypatch):
    looked, encode = [], recogniser.encode
    monkeypatch.setattr(recogniser, "encode", lambda photo: looked.append(photo) or encode(photo))
    with open_photo_set([packed]) as items:
        steps = diagnose(items, recogniser)
        while not next(steps).message.startswith("1 of 10"):
            pass
        steps.close()
    assert len(looked) == 1


def test_the_reading_names_the_bottleneck():
    aligned = reading(made_up(nearest=0.04))
    assert "Object-category alignment is missing: a photo's nearest name is right for 4%" in aligned
    assert "The bottleneck is object-category alignment" in aligned
    assert "0.82 apart" in aligned
    lost = reading(made_up(llm=0.5))
    assert "Object information is there in part" in lost
    assert "loses some" in lost
    assert "The bottleneck is object information" in lost
    assert "The bottleneck is category knowledge" in reading(made_up(knowledge=0.3))


def test_the_reading_says_that_none_stands_out():
    assert "None of them stands out as the bottleneck (" in reading(made_up())
    assert "for all are missing" in reading(made_up(encoder=0.3, llm=0.3, knowledge=0.3, nearest=0.3))
    unsure = made_up(llm=0.7, nearest=0.98, spread=0.5)
    assert unsure.weakest() is None  # the folds differ more than the capabilities
    assert made_up(llm=0.7, nearest=0.98).weakest().capability == OBJECT


def test_the_reading_tells_the_encoder_from_the_llm():
    assert "its vision encoder tells no more" in reading(made_up(encoder=0.62, llm=0.61))
    assert "better behind the LLM than before it" in reading(made_up(encoder=0.7, llm=0.9))
    assert "loses little of what" in reading(made_up())
    assert "though it is there" in reading(made_up(llm=0.98, knowledge=0.99 + 0.01, encoder=0.98, nearest=0.83))


def test_without_descriptions_knowledge_is_not_read():
    diagnosis = made_up(knowledge=None, nearest=0.04)
    assert "Category knowledge was not measured: fewer than two" in reading(diagnosis)
    assert [strength.capability for strength in diagnosis.strengths()] == [OBJECT, ALIGNMENT]
    assert "The bottleneck is object-category alignment" in reading(diagnosis)


@pytest.mark.parametrize(
    ("ways", "told"),
    [
        (
            (0.5, 0.4, 0.1),
            "50% of the questions with options correctly by ranking .chance 25%., and 40% of .* by letter",
        ),
        ((0.5, None, None), r"answers 50% of the questions with options correctly by ranking \(chance 25%\)\. "),
        ((None, None, 0.1), "answers 10% of the free ones"),
    ],
)
def test_ways_that_a_model_does_not_answer_in_are_not_told(ways, told):
    diagnosis = replace(made_up(), questions=Questions(200, None, *ways, 0.25))
    assert re.search(told, reading(diagnosis))
    assert "none: the model does not answer in this way" in as_csv(diagnosis)


def test_published_numbers_are_those_of_the_paper():
    told = {key: (model, accuracy) for key, (accuracy, model, source) in published().items()}
    assert told[OBJECT, LLM, "Last"] == ("Idefics2", pytest.approx(0.9499))
    assert told[KNOWLEDGE, "text encoder", "Avg."] == ("SigLIP", pytest.approx(0.8778))
    assert len(told) == 8


def test_the_command_prints_a_table_or_json(monkeypatch, capsys, tmp_path, packed):
    class Nothing:
        mllm = type("VisionLanguageModel", (), {"model": object()})()

    monkeypatch.setattr("core.zoo.registry.load", lambda *_: Nothing())

    def diagnose(items, recogniser):
        yield Progress(0.5, "1 of 2 photos")
        return made_up()

    monkeypatch.setattr("core.evaluation.capabilities.diagnose", diagnose)
    assert main(["diagnose", str(packed), "--out", str(tmp_path / "out.json")]) == 0
    captured = capsys.readouterr()
    assert "1 of 2 photos" in captured.err
    assert "published: Idefics2 94.99%" in captured.out
    assert captured.out.rstrip().endswith(reading(made_up()))
    assert main(["diagnose", str(packed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out.json").read_text())
    assert main(["diagnose", str(tmp_path / "none.zip")]) == 1
    assert "no file or folder" in capsys.readouterr().err
