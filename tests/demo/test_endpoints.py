"""The JSON endpoints give what the command line prints, refuse what the page refuses, and are what the README shows."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from served_tab import serving
from stand_ins import reduced_recogniser

from core import __version__
from core.cli import main
from core.evaluation.side_by_side import MAX_QUESTION
from core.recognition.result_schema import RESULT
from demo.components.models import EXAMPLES
from demo.page import build

CAT = str(EXAMPLES / "chelsea.jpg")
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def address(reduced_idefics2):
    """A page, and a command line, whose models are reduced ones."""

    def load(name, *_):
        return reduced_recogniser(reduced_idefics2, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demo.components.models.load_listed", load)
        patch.setattr("core.zoo.registry.load", load)
        with serving(build()) as url:
            yield url


@pytest.fixture(scope="module")
def client(address):
    return Client(address, verbose=False)


@pytest.fixture
def printed(capsys):
    """The JSON lines that a command prints."""

    def run(*arguments):
        assert main(list(arguments)) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def without_times(result):
    """A result without what differs from run to run, and its photo by its name."""
    if isinstance(result, list):
        return [without_times(item) for item in result]
    if isinstance(result, dict):
        return {k: without_times(v) for k, v in result.items() if k != "seconds"}
    return Path(result).name if isinstance(result, str) and result.startswith("/") else result


def test_the_endpoints_are_listed_with_what_they_do(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/identify", "/compare", "/study", "/models", "/health"]
    for endpoint in endpoints.values():
        assert len(endpoint["description"].split()) > 8
        required = [p["parameter_name"] for p in endpoint["parameters"] if not p["parameter_has_default"]]
        assert required in ([], ["photo"], ["photos"])
        assert all(p["python_type"]["type"] != "Any" for p in endpoint["parameters"])


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({}, []),
        ({"super_category": "cat", "top": 2, "explain": True}, ["--super-category", "cat", "--top", "2", "--explain"]),
        ({"crop": "0.1,0.1,0.5,0.5", "sure": 0.6}, ["--crop", "0.1,0.1,0.5,0.5", "--sure", "0.6"]),
    ],
)
def test_identify_gives_the_json_of_the_command_line(client, printed, arguments, options):
    result = client.predict(photo=handle_file(CAT), **arguments, api_name="/identify")
    RESULT.validate_python(result)
    assert without_times(result) == without_times(printed("identify", CAT, "--json", *options)[0])


def test_identify_chooses_among_given_names(client, printed, tmp_path):
    (tmp_path / "names.txt").write_text("tabby\n<b>gnome</b>\n")
    result = client.predict(photo=handle_file(CAT), labels=["tabby", "<b>gnome</b>"], api_name="/identify")
    assert {species["name"] for species in result["species"]} == {"tabby", "<b>gnome</b>"}
    assert without_times(result) == without_times(
        printed("identify", CAT, "--json", "--labels", str(tmp_path / "names.txt"))[0]
    )


def test_compare_gives_the_json_of_the_command_line(client, printed):
    result = client.predict(photo=handle_file(CAT), truth="tabby", options=["tabby", "Bengal"], api_name="/compare")
    command = ["compare", CAT, "--json", "--truth", "tabby", "--options", "tabby", "Bengal"]
    assert without_times(result) == without_times(printed(*command)[0])
    assert "Right: " in result["verdict"]


def test_study_gives_the_json_of_the_command_line(client, packed, tmp_path, capsys):
    cat = Path(CAT).read_bytes()
    photos = str(packed([("Bengal/a.jpg", cat), ("Siamese/b.jpg", cat + b"\0")]))
    job = client.submit(photos=handle_file(photos), candidates="cat", api_name="/study")
    result = job.result(timeout=120)
    assert main(["study", photos, "--candidates", "cat", "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert without_times(result) == without_times(json.loads((tmp_path / "out" / "study.json").read_text()))
    assert [photo["label"] for photo in result["photos"]] == ["Bengal", "Siamese"]


def test_a_study_tells_its_progress(client, packed, monkeypatch):
    monkeypatch.setattr("demo.endpoints.UPDATE_SECONDS", 0)
    photos = packed([(f"{i}.jpg", Path(CAT).read_bytes() + bytes(i)) for i in range(2)])
    job = client.submit(photos=handle_file(photos), candidates="cat", api_name="/study")
    job.result(timeout=120)
    first, *_, last = job.outputs()
    assert first["progress"].startswith("1 of 2 photos")
    assert last["photos_given"] == 2


def test_models_and_health(client, printed):
    assert client.predict(api_name="/models") == printed("models", "--json")
    health = client.predict(api_name="/health")
    assert (health["status"], health["version"], health["model"]) == ("alive", __version__, "finedefics-tiny")
    assert health["ready"] is (health["state"] == "ready")


@pytest.mark.parametrize(
    ("endpoint", "arguments", "sentence"),
    [
        ("identify", {"photo": None}, "There is no photo: upload one first."),
        ("identify", {"photo": "http://127.0.0.1:9/a.png"}, "There is no photo: upload one first."),
        ("identify", {"photo": {"path": "/etc/passwd"}}, "The photo was not uploaded: choose it again."),
        ("identify", {"photo": handle_file(README)}, "not a readable image"),
        ("identify", {"top": 0}, "top cannot be used: input should be greater than or equal to 1."),
        ("identify", {"labels": "a, b"}, "labels cannot be used: input should be a valid list."),
        ("identify", {"labels": ["a", "b"], "super_category": "cat"}, "either candidate names or a kind of thing"),
        ("identify", {"super_category": "<b>"}, "Unknown super-category '<b>': choose one of"),
        ("identify", {"crop": "middle"}, "'middle' is no part of a photo"),
        ("identify", {"sure": 2}, "2 cannot be how sure a name must be"),
        ("identify", {"model": "hf:owner/name"}, "There is no model 'hf:owner/name'"),
        ("identify", {"model": "/tmp"}, "There is no model '/tmp'"),
        ("compare", {"model_a": "finedefics-tiny"}, "Choose two different models."),
        ("compare", {"model_a": "endpoint:http://10.0.0.1"}, "There is no model 'endpoint:http://10.0.0.1'"),
        ("compare", {"options": list("abcde")}, "Give at most 4 options."),
        ("compare", {"question": "a" * (MAX_QUESTION + 1)}, "question cannot be used: string should have at most 500"),
        ("study", {"photos": None}, "There is no photo: upload one first."),
        ("study", {"candidates": "fish"}, "Unknown super-category 'fish': choose one of"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(client, endpoint, arguments, sentence):
    given = {"photos" if endpoint == "study" else "photo": handle_file(CAT), **arguments}
    with pytest.raises(AppError) as refused:
        client.predict(**given, api_name=f"/{endpoint}")
    assert sentence in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_the_address_of_an_upload_stands_for_it_and_no_other_address_does(address, client):
    with open(CAT, "rb") as file:
        path = httpx.post(f"{address}gradio_api/upload", files={"files": file}, timeout=30).json()[0]
    of_upload = {"path": f"{address}gradio_api/file={path}", "meta": {"_type": "gradio.FileData"}}
    assert client.predict(photo=of_upload, api_name="/identify")["photo"] == "chelsea.jpg"
    for other in (f"{address}gradio_api/file={README}", f"{address}gradio_api/file={path}.png", "http://10.0.0.1/a.png"):
        with pytest.raises(AppError, match="Web addresses are not fetched: upload the file"):
            client.predict(photo={**of_upload, "path": other}, api_name="/identify")


def examples():
    """The indented blocks of the README's part for programs, by their first line."""
    section = README.read_text().partition("\n## For programs\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", section, flags=re.MULTILINE)
    return {code.strip().splitlines()[0]: re.sub("^ {4}", "", code.strip("\n"), flags=re.MULTILINE) for code in blocks}


def test_the_python_of_the_readme_runs(address, tmp_path, monkeypatch):
    shutil.copy(CAT, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    code = examples()["from gradio_client import Client, handle_file"]
    assert "http://127.0.0.1:7860" in code
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        exec(code.replace("http://127.0.0.1:7860", address), {})
    assert re.search(r"^(True|False) \w", shown.getvalue(), flags=re.MULTILINE)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_curl_of_the_readme_runs(address, tmp_path):
    shutil.copy(CAT, tmp_path / "photo.jpg")
    code = examples()["API=http://127.0.0.1:7860/gradio_api"].replace("http://127.0.0.1:7860/", address)
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run(["sh", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    event, data = done.stdout.strip().splitlines()[-2:]
    assert event == "event: complete"
    (result,) = json.loads(data.removeprefix("data: "))
    assert (result["photo"], len(result["species"])) == ("photo.jpg", 3)
