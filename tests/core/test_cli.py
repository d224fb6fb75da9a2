import json
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn
from PIL import Image
from skimage import data as pictures

from core.cli import main

FLOWER = str(Path(sklearn.__file__).parent / "datasets/images/flower.jpg")


def test_help_loads_nothing_heavy():
    script = (
        "import contextlib, sys\n"
        "from core.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main(['--help'])\n"
        "assert not {'torch', 'transformers', 'gradio', 'numpy', 'PIL', 'pydantic'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_models_are_listed_with_their_state(capsys):
    assert main(["models"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    embedded = ["finedefics-tiny", "idefics2-tiny", "object-category-tiny"]
    names = [line.split()[0] for line in lines]
    assert names[:5] == [*embedded, "idefics2-8b", "finedefics-8b"]
    assert {"llava-1.5-7b", "phi-3-vision", "siglip-so400m", "bioclip-2"} < set(names)
    assert all(line.endswith("ready") for line in lines[:3])


def test_models_of_the_hub_are_listed_with_licence_memory_and_command(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "licence: Apache-2.0; memory: 18.8 GB (bf16) or 8.4 GB (4-bit)" in out
    assert ".venv/bin/python -m core download StevenHH2000/Finedefics" in out
    assert "licence: gemma (not verified); memory: not verified; packages: timm" in out


def test_json_has_one_line_per_photo(capsys):
    assert main(["identify", FLOWER, FLOWER, "--json", "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    result = json.loads(lines[0])
    assert list(result) == [
        "photo",
        "model",
        "known",
        "calibrated",
        "species",
        *(["conclusion"] if result["known"] else []),
        "answer",
        "attributes",
        "description",
        "seconds",
    ]
    assert result["photo"] == FLOWER
    assert len(result["species"]) == 3
    assert set(result["species"][0]) == {"name", "probability"}


def test_nothing_needs_the_network(capsys, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert main(["identify", FLOWER]) == 0
    assert "%" in capsys.readouterr().out


def test_a_missing_checkpoint_is_said(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("core.zoo.registry.CHECKPOINTS", tmp_path)
    assert main(["models"]) == 0
    assert capsys.readouterr().out.count("missing or incomplete") == 3
    assert main(["identify", FLOWER]) == 1
    assert "The checkpoint finedefics-tiny is missing or incomplete" in capsys.readouterr().err


def test_text_names_species_and_attributes(capsys):
    assert main(["identify", FLOWER, "--super-category", "flower"]) == 0
    out = capsys.readouterr().out
    assert "%" in out
    assert "Free answer:" in out


def test_less_than_a_name_is_said_where_no_name_is_sure(monkeypatch, capsys):
    from core.recognition.conclusion import Species
    from core.recognition.results import Identification

    ranking = [Species("Rose", 0.6), Species("Camellia", 0.4)]
    result = Identification("a", True, ranking[:1], ranking=ranking)
    monkeypatch.setattr("core.cli.identify._load", lambda *_: lambda photo: result)
    assert main(["identify", FLOWER]) == 0
    assert "  Sure is: a flower: Rose or Camellia (100%)\n" in capsys.readouterr().out
    assert main(["identify", FLOWER, "--sure", "0.55"]) == 0
    assert "Sure is" not in capsys.readouterr().out
    assert main(["identify", FLOWER, "--json", "--sure", "0.95"]) == 0
    assert json.loads(capsys.readouterr().out)["conclusion"]["sure"] == 0.95


def test_labels_come_from_a_file(capsys, tmp_path):
    (tmp_path / "names.txt").write_text("red rose\nsteam engine\n\n")
    assert main(["identify", FLOWER, "--labels", str(tmp_path / "names.txt"), "--json"]) == 0
    names = {species["name"] for species in json.loads(capsys.readouterr().out)["species"]}
    assert names == {"red rose", "steam engine"}


def test_a_bad_photo_does_not_stop_the_others(capsys, tmp_path):
    (tmp_path / "bad.jpg").write_text("no picture")
    assert main(["identify", str(tmp_path / "bad.jpg"), str(tmp_path / "none.jpg"), FLOWER, "--json"]) == 1
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(line["photo"]).name for line in lines] == ["bad.jpg", "none.jpg", "flower.jpg"]
    assert ["error" in line for line in lines] == [True, True, False]
    errors = [line for line in captured.err.splitlines() if str(tmp_path) in line]
    assert "not a readable image" in errors[0]
    assert "cannot be read" in errors[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "gpt"], "no model 'gpt'"),
        (["--super-category", "fish"], "choose one of"),
        (["--labels", "/no/such/file"], "cannot be read"),
        (["--sure", "0.5"], "0.5 cannot be how sure a name must be"),
    ],
)
def test_wrong_arguments_are_one_sentence(capsys, arguments, message):
    assert main(["identify", FLOWER, *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path):
    for name in ("Bengal", "Pug"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "photos" / name / "1.png")
    return tmp_path / "photos"


@pytest.fixture
def no_model(monkeypatch):
    """Loading a model, or reading a photo, fails the test."""

    def refuse(*_):
        raise AssertionError("a photo was read, or a model loaded, before the options were checked")

    monkeypatch.setattr("core.zoo.registry.load", refuse)
    monkeypatch.setattr("core.data.photo_sets._read_file", refuse)
    monkeypatch.setattr("core.data.images.read_photo", refuse)


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("identify photo.png --super-category fish", "choose one of"),
        ("identify photo.png --labels none.txt", "cannot be read"),
        ("identify photo.png --labels photos/Pug/1.png", "is not in UTF-8"),
        ("identify photo.png --labels photos", "cannot be read"),
        ("identify photo.png --labels /dev/null", "two different candidate names"),
        ("identify photo.png --model gpt", "no model 'gpt'"),
        ("compare photo.png --models idefics2-tiny gpt", "no model 'gpt'"),
        ("compare photo.png --models idefics2-tiny idefics2-tiny", "two different models"),
        ("compare photo.png --super-category fish", "choose one of"),
        ("compare photo.png --options wren", "at least two options"),
        ("compare photo.png --options a b c d e", "at most 4 options"),
        ("study photos --out out --candidates fish", "choose one of"),
        ("study photos --out out --models idefics2-tiny gpt", "no model 'gpt'"),
        ("study photos --out photos/Pug/1.png", "is not a folder"),
        ("study photos --out photos/Pug/1.png/report", "is not a folder"),
        ("embed photos --out e.txt", ".npz or .parquet"),
        ("embed photos --out photos/Pug/1.png/e.npz", "is not a folder"),
        ("embed photos --model gpt", "no model 'gpt'"),
        ("embed photos --model idefics2-8b --ship", "model of the hub"),
        ("diagnose photos --out photos", "is a folder"),
        ("diagnose photos --model gpt", "no model 'gpt'"),
        ("project e.npz --out photos", "is a folder"),
        ("project e.npz --out ./e.npz", "would replace the embeddings"),
        ("project e.npz --out map.csv --perplexity 0", "Perplexity"),
        ("project e.npz --out map.csv --seed -1", "seed"),
    ],
)
def test_every_option_is_checked_first(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder.parent)
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in folder.parent.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    "arguments",
    [
        "identify photo.png --top 0",
        "identify photo.png --top many",
        "project e.npz --out map.csv --method art",
        "project e.npz --out map.csv --dimensions 4",
    ],
)
def test_wrong_values_are_refused_by_the_parser(arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert end.value.code == 2


def test_ctrl_c_stops_without_a_traceback(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("core.zoo.registry.load", interrupt)
    assert main(["identify", FLOWER]) == 130
    assert capsys.readouterr().err == "Stopped.\n"


@pytest.mark.parametrize(
    ("argument", "status"), [("models", {141}), ("--help", {0, 141})]
)  # argparse may hide the error
def test_a_closed_pipe_ends_a_command_quietly(argument, status):
    process = subprocess.Popen(
        [sys.executable, "-m", "core", argument], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() in status


def test_the_part_of_a_photo_is_given_or_found(capsys, tmp_path):
    picture = Image.fromarray(pictures.gravel()).convert("RGB").resize((640, 480))
    picture.paste(Image.fromarray(pictures.chelsea()).resize((270, 180)), (300, 200))
    photo, names = tmp_path / "photo.png", tmp_path / "names.txt"
    picture.save(photo)
    names.write_text("garden gnome\ntabby house cat")
    command = ["identify", str(photo), "--labels", str(names), "--json", "--crop"]
    assert main([*command, "0.4688,0.4167,0.4219,0.375"]) == 0
    given = json.loads(capsys.readouterr().out)
    assert given["box"] == [0.4688, 0.4167, 0.4219, 0.375]
    assert "objects" not in given
    assert main([*command, "auto"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["box"] == found["objects"][0]["box"]
    assert set(found["objects"][0]) == {"box", "name", "probability"}
    assert main([*command[:-2], "--crop", "auto"]) == 0
    assert "Named from the part " in capsys.readouterr().out


@pytest.mark.parametrize("crop", ["middle", "10,20,300,200", "0.5,0.5,0.6,0.6"])
def test_a_part_that_is_none_is_refused_before_a_model_is_loaded(crop, capsys, monkeypatch):
    monkeypatch.setattr("core.zoo.registry.load", lambda *_: pytest.fail("a model was loaded"))
    assert main(["identify", FLOWER, "--crop", crop]) == 2
    assert "give auto, none, or left,top,width,height as shares" in capsys.readouterr().err


def test_a_part_of_a_few_pixels_is_said_and_the_next_photo_is_taken(capsys):
    assert main(["identify", FLOWER, FLOWER, "--json", "--crop", "0.5,0.5,0.01,0.01"]) == 1
    errors = [json.loads(line)["error"] for line in capsys.readouterr().out.splitlines()]
    assert len(errors) == 2
    assert errors[0].endswith("choose one of at least 16 x 16.")
