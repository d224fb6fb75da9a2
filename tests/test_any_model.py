"""Every family of models, reduced and with random weights, through all that the app does with a photo.

What comes out means nothing; what counts is that every part a family has is there, and none that it has not.
"""

import csv
import io
import json
from functools import cache

import pytest
import torch
from PIL import Image
from reduced_models import CONTRASTIVE, MLLMS, save_reduced

from core.cli import main
from core.data.photo_sets import open_photo_set
from core.embeddings.compute import compute_embeddings
from core.errors import UserError
from core.evaluation.capabilities import diagnose
from core.evaluation.capability_report import reading, table
from core.evaluation.foci_results import COLUMNS, LIKELIHOOD
from core.evaluation.side_by_side import side_by_side
from core.evaluation.sides import Asked, empty_output
from core.evaluation.study import Study, examine
from core.evaluation.study_report import as_json, photo_table
from core.progress import run
from core.recognition import asked_model
from core.recognition.asked_model import BY_LIKELIHOOD, BY_SIMILARITY, MAX_RANKED, AskedModel
from core.zoo.registry import load
from train.cli import main as train

LABELS = ["Abyssinian", "Bengal"]
GENERATED = {"generated letter", "generated letter, FOCI's rule"}
NO_STATES = {"blip2-t5", "instructblip-t5", "instructblip-vicuna", "idefics1"}  # of texts, or at all
every_family = pytest.mark.parametrize("family", [*MLLMS, *CONTRASTIVE])


@pytest.fixture(scope="module")
def model_of(tmp_path_factory):
    """The reduced model of a family as `--model FOLDER` opens it, with short descriptions."""

    @cache
    def open_one(family):
        model = load(str(save_reduced(family, tmp_path_factory.mktemp("models") / family)))
        assert isinstance(model, AskedModel)
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asked_model, "DESCRIPTION_TOKENS", 4)
        yield open_one


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five photos of each category: coloured noise, brighter in one of them."""
    folder = tmp_path_factory.mktemp("photos")
    generator = torch.Generator().manual_seed(0)
    for category, label in enumerate(LABELS):
        (folder / label).mkdir()
        for i in range(5):
            pixels = torch.randint(100 * category, 100 * category + 100, (60, 80, 3), generator=generator)
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / label / f"{i}.png")
    return folder


@pytest.fixture
def photo(folder):
    return Image.open(folder / LABELS[0] / "0.png").convert("RGB")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEDEFICS_CACHE", str(tmp_path / "cache"))


@every_family
def test_identify_gives_what_the_family_has(family, model_of, photo):
    model = model_of(family)
    few = model.identify(photo, labels=[*LABELS, "Birman"])
    assert sorted(species.name for species in few.species) == [*LABELS, "Birman"]
    assert sum(species.probability for species in few.species) == pytest.approx(1)
    assert few.note == (BY_SIMILARITY if family in CONTRASTIVE else BY_LIKELIHOOD)
    assert (few.known, few.calibrated, few.attributes, few.explanation) == (True, False, {}, None)
    parts = set() if family in CONTRASTIVE else {"answer", "description"}
    assert few.seconds.keys() == {"species", *parts}
    everything = next(model.stream(photo, model.label_space()))
    assert len(everything.species) == (5 if family in CONTRASTIVE else 0)
    assert (f"at most {MAX_RANKED} names" in everything.note) == (family not in CONTRASTIVE)


@every_family
def test_compare_asks_it_beside_another(family, model_of, photo):
    models = [model_of(family), model_of("llava" if family == "siglip" else "siglip")]
    sides = [Asked(model, model.label_space(LABELS), photo) for model in models]
    outputs = [empty_output(side.name) for side in sides]
    for ask in (
        lambda side, output: side.identify(output),
        lambda side, output: side.choose(output, LABELS),
        lambda side, output: side.reply(output, "What is it doing?"),
    ):
        *_, outputs = side_by_side(sides, outputs, ask)
    for model, output in zip(models, outputs, strict=True):
        assert output.choice in LABELS
        assert output.probabilities.keys() == set(LABELS)
        assert output.error == ("" if model.writes else f"{model.name} writes nothing: it only ranks names.")
        assert bool(output.result.answer) <= model.writes


@every_family
def test_a_case_study_counts_it(family, model_of, folder):
    model = model_of(family)
    with open_photo_set([folder]) as items:
        study = Study((family, "the same"), "labels", 2)
        study.rows += examine(items[:2], [(model, model.label_space(LABELS)), (model, model.label_space())], ask=False)
    for row in study.rows:
        ranked, all_names = row.verdicts
        assert ranked.species in LABELS
        assert ranked.probability > 0.4
        assert (all_names.probability is None) == model.writes  # then its answer is what counts
        assert ranked.right in (True, False)
        assert all_names.right in (True, False)
    assert len(json.loads(as_json(study))["photos"]) == 2
    assert ("ranks no names" in photo_table(study.models, study.rows)) == model.writes


@every_family
def test_its_answers_to_foci_are_in_the_leaderboard(family, model_of, folder, tmp_path, monkeypatch, capsys):
    model = model_of(family)
    monkeypatch.setattr("core.zoo.question_models.open_asked", lambda found: model.model)
    (tmp_path / family).mkdir()
    (tmp_path / family / "config.json").write_text("{}")
    options = [*LABELS, "Birman", "Siamese"]
    entries = [{"image": f"{LABELS[0]}/{i}.png", "options": options, "groundtruth": LABELS[0]} for i in range(2)]
    (tmp_path / "cats.json").write_text(json.dumps({LABELS[0]: entries}))
    results = ["--results", str(tmp_path / "results")]
    asked = ["evaluate", "--foci", str(tmp_path / "cats.json"), "--data", str(folder / LABELS[0]), *results]
    assert train([*asked, "--model", str(tmp_path / family)]) == 0
    capsys.readouterr()
    assert train(["leaderboard", "--format", "csv", *results]) == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    columns = {row["column"] for row in rows if row["source"] == "measured here"}
    scored, written = {"letter by log-probability", "ranking"}, GENERATED | {COLUMNS[LIKELIHOOD]}
    assert columns == scored if family in CONTRASTIVE else columns == scored | written


@every_family
def test_its_space_is_measured_and_mapped_where_it_has_one(family, model_of, folder):
    model = model_of(family)
    with open_photo_set([folder]) as items:
        if family in NO_STATES:
            for steps in (diagnose(items, model), compute_embeddings("siglip-so400m", items, "", lambda _: model)):
                with pytest.raises(UserError, match=f"{family} gives no hidden states"):
                    run(steps)
            return
        diagnosis = run(diagnose(items, model))
        space = run(compute_embeddings("siglip-so400m", items, "", lambda _: model))
    assert space.points.kinds == ["object"] * 10 + ["attributes"] * 2 + ["category"] * 2
    assert len(space.names) == len(space.descriptions) == 2
    measured = {(row.part, row.measure) for row in table(diagnosis) if row.value is not None and row.folds}
    if family in CONTRASTIVE:
        encoders = ("vision encoder", "text encoder")
        assert measured == {(part, kind) for part in encoders for kind in ("CLS", "Avg.")} | {("words alone", "TF-IDF")}
        assert len(space.vision_points.kinds) == 10
    else:
        assert measured == {("LLM", "Last"), ("words alone", "TF-IDF")}
        with pytest.raises(UserError, match="choose its own space"):
            _ = space.vision_points
    assert "Object information is " in reading(diagnosis)


def test_the_commands_take_a_folder(model_of, folder, tmp_path, capsys):
    path = str(save_reduced("siglip", tmp_path / "siglip"))
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    photo = str(folder / LABELS[0] / "0.png")
    assert main(["identify", photo, "--model", path, "--labels", str(tmp_path / "labels.txt"), "--explain"]) == 0
    printed = capsys.readouterr()
    assert "is only asked questions" in printed.err
    assert BY_SIMILARITY in printed.out
    assert main(["embed", str(folder), "--model", path, "--out", str(tmp_path / "s.npz")]) == 0
    assert main(["project", str(tmp_path / "s.npz"), "--method", "pca", "--out", str(tmp_path / "s.csv")]) == 0
    assert "siglip,category,Bengal" in (tmp_path / "s.csv").read_text()
    other = str(save_reduced("llava", tmp_path / "llava"))
    assert (
        main(["study", str(folder), "--models", path, other, "--candidates", "cat", "--out", str(tmp_path / "study")])
        == 0
    )
    capsys.readouterr()
    assert main(["diagnose", str(folder), "--model", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "siglip"


def test_two_models_are_compared_on_the_command_line(folder, tmp_path, chat_server, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_BASE_URL", chat_server.url)
    path = str(save_reduced("clip", tmp_path / "clip"))
    photo = str(folder / LABELS[0] / "0.png")
    options = ["--truth", "Egyptian Mau", "--options", "Egyptian Mau", "Birman", "--super-category", "cat"]
    assert main(["compare", photo, "--models", path, "endpoint:m", *options, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    clip, endpoint = told["models"]
    assert (len(clip["species"]), clip["answer"], clip["note"]) == (5, "", BY_SIMILARITY)
    assert (endpoint["species"], endpoint["answer"], endpoint["choice"]) == ([], "Egyptian Mau", "Egyptian Mau")
    assert "Right: " in told["verdict"]
    assert main(["compare", photo, "--models", path, "endpoint:m", *options, "--question", "What is it?"]) == 1
    assert "clip writes nothing" in capsys.readouterr().out
