"""The Compare tab through its HTTP interface: once with the models that ship, else with reduced ones."""

import json
import threading
import time

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from reduced_models import save_reduced
from served_tab import data_of, event_of, serving
from stand_ins import reduced_recogniser

from core.evaluation.side_by_side import side_by_side
from core.models import open_question_model
from core.recognition.asked_model import BY_SIMILARITY, AskedModel
from core.taxonomy.categories import super_categories
from demo.components.models import ModelPool, example_photos
from demo.components.sides import ENDPOINT, NO_ENDPOINT
from demo.page import build
from demo.tabs.compare import CompareTab, status_of

KEY = "sk-very-secret-key-0123456789"
CAT = next(path for path in example_photos() if "chelsea" in path)
EVENT = "/compare_1"  # of the button; /compare is the endpoint for programs
TINY = ("idefics2-tiny", "finedefics-tiny")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("MODEL", "BASE_URL", "API_KEY"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)


@pytest.fixture(scope="module")
def page(reduced_idefics2):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demo.components.models.load_listed", lambda name, _: reduced_recogniser(reduced_idefics2, name))
        yield callable_page()


def callable_page():
    """A page whose events a client can call, as a browser does."""
    page = build()
    for button in ("compare", "ask-both"):
        assert event(page, button).api_visibility == "private"
        event(page, button).api_visibility = "undocumented"
    return page


@pytest.fixture(scope="module")
def address(page):
    with serving(page) as url:
        yield url


def compare(client, left, right, truth="", options=("", "", "", ""), kind="cat"):
    return client.predict(handle_file(CAT), kind, left, right, truth, *options, api_name=EVENT)


def event(page, button):
    """The private event of a button with an id."""
    return event_of(page, next(block for block in page.blocks.values() if block.elem_id == button))


def labelled(event, values):
    """Values by the inputs of an event, given by their labels."""
    return {block: values[block.label] for block in event.inputs if not block.stateful}


def use_endpoint(client, page, url):
    """As the page's own scripts do it: the event is private, which the client does not call."""
    use = event(page, "use-endpoint")
    data = data_of(use, labelled(use, {"Address": url, "Name of the model there": "m", "API key": KEY}))
    body = {"data": data, "fn_index": use._id, "session_hash": client.session_hash}
    return httpx.post(f"{client.src}gradio_api/run/predict", json=body, timeout=30).raise_for_status().json()["data"]


def test_two_models_are_compared(address):
    said, *columns = compare(Client(address, verbose=False), *TINY, truth="egyptian mau")
    assert "Asked for the name" in said
    assert "Asked to choose" in said
    assert "Right: " in said
    left, right, options = columns[:5], columns[5:10], columns[10:]
    for name, (status, species, answer, attributes, choice) in zip(TINY, (left, right), strict=True):
        assert status.startswith(name)
        assert "tokens per second" in status
        assert len(species["confidences"]) == 5
        assert answer
        assert [row[0] for row in attributes["data"]] == list(super_categories()["cat"].attributes)
        assert sorted(entry["label"] for entry in choice["confidences"]) == list(options)
    assert "Egyptian Mau" in options


def test_a_model_that_is_only_asked_stands_beside_a_checkpoint(reduced_idefics2, tmp_path, monkeypatch):
    asked = AskedModel("siglip-so400m", open_question_model(str(save_reduced("siglip", tmp_path / "siglip"))))

    def load_one(name, _):
        return asked if name == asked.name else reduced_recogniser(reduced_idefics2, name)

    monkeypatch.setattr("demo.components.models.load_listed", load_one)
    with gr.Blocks() as page:
        tab = CompareTab(ModelPool(), page)
    photo = Image.new("RGB", (80, 60), (200, 100, 0))
    sides, columns = tab._sides((asked.name, "finedefics-tiny"), "cat", photo, None)
    *_, columns = side_by_side(sides, columns, lambda side, shown: side.identify(shown))
    *_, (left, right) = side_by_side(sides, columns, lambda side, shown: side.choose(shown, ["Siamese", "Birman"]))
    assert BY_SIMILARITY in status_of(left)
    assert (len(left.result.species), left.result.answer, left.error) == (5, "", "")
    assert left.probabilities.keys() == right.probabilities.keys() == {"Siamese", "Birman"}


def test_typed_options_are_kept_and_inert(address):
    typed = ("<img src=x onerror=alert(1)>", "tabby", "", "")
    *columns, a, b, c, d = compare(Client(address, verbose=False), *TINY, options=typed)
    assert {entry["label"] for entry in columns[5]["confidences"]} == set(typed[:2])
    assert (a, b, c, d) == typed or a["__type__"] == "update"  # left as they are


@pytest.mark.parametrize(
    ("left", "right", "options", "sentence"),
    [
        ("finedefics-tiny", "finedefics-tiny", ("",) * 4, "Choose two different models"),
        (*TINY, ("a", "", "", ""), "at least two options"),
        (*TINY, ("a", "A", "", ""), "Two of the options are the same"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(address, left, right, options, sentence):
    with pytest.raises(AppError, match=sentence):
        compare(Client(address, verbose=False), left, right, options=options)


def test_a_model_that_is_missing_leaves_the_other_alone(address):
    _, *columns = compare(Client(address, verbose=False), "no-such-model", "finedefics-tiny")
    assert "There is no model 'no-such-model'" in columns[0]
    assert columns[6]["label"]


def test_stop_stops_both(address):
    client = Client(address, verbose=False)
    job = client.submit(handle_file(CAT), "cat", *TINY, "", "", "", "", "", api_name=EVENT)
    deadline = time.monotonic() + 60
    while len(threads("generation")) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    assert threads("column")
    job.cancel()
    stopped = time.monotonic() + 2
    while threads("generation", "column") and time.monotonic() < stopped:
        time.sleep(0.01)
    assert not threads("generation", "column")


def threads(*names):
    return [thread for thread in threading.enumerate() if thread.name in names]


def test_an_endpoint_is_kept_in_its_session_and_its_key_nowhere_else(address, page, chat_server, caplog, capfd):
    caplog.set_level("DEBUG")
    mine, other = Client(address, verbose=False), Client(address, verbose=False)
    shown = use_endpoint(mine, page, chat_server.url)
    assert KEY not in str(shown)
    said, *columns = compare(mine, ENDPOINT, "finedefics-tiny")
    assert columns[0].startswith("m at 127.0.0.1:")
    assert columns[2] == "Egyptian Mau"
    assert "Asked for the name" in said
    assert "Asked to choose" in said  # it says the name again, which is one of the options
    assert chat_server.keys[0] == f"Bearer {KEY}"
    for path in ("config", "gradio_api/info", "gradio_api/openapi.json", ""):
        assert KEY not in httpx.get(f"{address}{path}", timeout=30).text
    assert KEY not in caplog.text + "".join(capfd.readouterr())
    _, *columns = compare(other, ENDPOINT, "finedefics-tiny")
    assert columns[0].endswith(NO_ENDPOINT)


def test_a_wrong_key_is_said_in_its_column(address, page, chat_server):
    chat_server.answer = 401
    client = Client(address, verbose=False)
    use_endpoint(client, page, chat_server.url)
    _, *columns = compare(client, "finedefics-tiny", ENDPOINT)
    assert "does not accept the API key" in columns[5]
    assert columns[1]["label"]


def test_the_schema_knows_no_endpoint(address):
    interface = Client(address, verbose=False).view_api(return_format="dict", print_info=False)["named_endpoints"]
    names = [p["parameter_name"] for p in interface["/compare"]["parameters"]]
    assert names == ["photo", "model_a", "model_b", "super_category", "truth", "options", "question"]
    assert "api key" not in json.dumps(interface).lower()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5"])
def test_an_address_is_taken_only_on_a_page_of_this_machine(monkeypatch, host):
    page = build()
    use = event(page, "use-endpoint")
    asked = gr.Request(headers={"host": "localhost:7860"})
    typed = {"Address": "http://127.0.0.1:1/v1", "Name of the model there": "m", "API key": KEY}
    values = labelled(use, typed)
    with pytest.raises(gr.Error, match="only on a page that is served to its own machine"):
        use.fn(values, asked)  # not served yet
    monkeypatch.setattr(page, "server_name", host, raising=False)
    with pytest.raises(gr.Error, match="only on a page that is served to its own machine"):
        use.fn(values, asked)
    monkeypatch.setattr(page, "server_name", "127.0.0.1")
    settings, cleared, _ = (use.fn(values, asked)[output] for output in use.outputs)
    assert (settings.key, cleared) == (KEY, "")
    with pytest.raises(gr.Error, match="only on a page that is served to its own machine"):
        use.fn(values, gr.Request(headers={"host": "rebound.example:7860"}))
    monkeypatch.setattr(page, "share", True)
    with pytest.raises(gr.Error, match="only on a page that is served to its own machine"):
        use.fn(values, asked)


def test_the_endpoint_of_the_environment_is_used(address, chat_server, monkeypatch):
    monkeypatch.setenv("OPENAI_MODEL", "m")
    monkeypatch.setenv("OPENAI_BASE_URL", chat_server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    _, *columns = compare(Client(address, verbose=False), ENDPOINT, "finedefics-tiny")
    assert columns[2] == "Egyptian Mau"


def test_a_question_goes_to_both(address, page, chat_server):
    client = Client(address, verbose=False)
    use_endpoint(client, page, chat_server.url)
    asking = event(page, "ask-both")

    def ask(question):
        chosen = {"Photo": handle_file(CAT), "Model, left": "finedefics-tiny", "Model, right": ENDPOINT}
        values = labelled(asking, {**chosen, "A question of your own": question})
        return client.predict(*data_of(asking, values), fn_index=asking._id)

    replies = ask("<image> What is it?")
    assert replies[0]
    assert replies[1] == "Egyptian Mau"
    with pytest.raises(AppError, match="Type a question first"):
        ask(" ")


def test_the_page_says_why_small_models_are_compared():
    said = " ".join(str(getattr(block, "value", "")) for block in build().blocks.values())
    assert "idefics2-8b and finedefics-8b cannot both run here, so that idefics2-tiny and finedefics-tiny" in said


def test_large_models_are_compared_where_they_can_run(monkeypatch):
    entries = {name: name for name in (*TINY, "idefics2-8b", "finedefics-8b")}
    monkeypatch.setattr("demo.tabs.compare.zoo", lambda: entries)
    monkeypatch.setattr("demo.tabs.compare.availability", lambda entry: "ready")
    chosen = {b.label: b.value for b in build().blocks.values() if isinstance(b, gr.Dropdown) and b.label}
    assert (chosen["Model, left"], chosen["Model, right"]) == ("idefics2-8b", "finedefics-8b")
