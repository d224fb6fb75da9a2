"""A model behind an endpoint: a small server that checks what it is asked, a real one, and what goes wrong."""

import base64
import io
import logging
import socket
import threading
import time

import attribute_server
import pytest
from attribute_server import said
from chat_server import chunk
from PIL import Image

from core.errors import UserError
from core.models.endpoint_errors import redact
from core.models.endpoint_questions import EndpointQuestions
from core.models.openai_endpoint import Endpoint, EndpointSettings, Limits, user_message

KEY = "sk-very-secret-key-0123456789"
PHOTO = Image.new("RGB", (1200, 600), (200, 30, 30))


@pytest.fixture
def endpoint(chat_server, monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    return Endpoint(settings(chat_server.url, KEY))


def settings(url="http://host/v1", key="", model="m"):
    return EndpointSettings(model=model, base_url=url, key=key)


def last(replies):
    *_, reply = replies
    return reply


def test_the_photo_and_the_question_are_sent_and_the_answer_grows(chat_server, endpoint):
    texts = [reply.text for reply in endpoint.stream_reply("What is it?", PHOTO)]
    assert "Egyptian" in texts
    assert texts[-1] == "Egyptian Mau"
    request = chat_server.requests[0]
    assert request["model"] == "m"
    assert request["stream"] is True
    image, text = request["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    kind, data = image["image_url"]["url"].split(",")
    assert kind == "data:image/jpeg;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    assert sent.size == (768, 384)
    assert sent.getpixel((100, 100))[0] > 150
    assert chat_server.keys == [f"Bearer {KEY}"]


def test_tokens_are_those_that_the_endpoint_counts(chat_server, endpoint):
    assert last(endpoint.stream_reply("?", PHOTO)).tokens == 2
    usage = {"prompt_tokens": 5, "completion_tokens": 17, "total_tokens": 22}
    chat_server.answer = [chunk("Mau"), chunk("", "stop", usage=usage)]
    assert last(endpoint.stream_reply("?", PHOTO)).tokens == 17


THINKING_PART = {"type": "thinking", "thinking": [{"type": "text", "text": "A bird?"}]}


@pytest.mark.parametrize(
    "pieces",
    [
        ["<think>A Sphynx has ", "no fur.</th", "ink>\n\nEgyptian Mau"],
        ["A Sphynx has no fur.", "</think>", "Egyptian Mau"],
        [[THINKING_PART], [{"type": "text", "text": "Egyptian"}], " Mau"],
        [None, "Egyptian Mau"],
    ],
    ids=["think", "half think", "parts", "reasoning in a field of its own"],
)
def test_what_a_model_thinks_is_no_part_of_its_reply(chat_server, endpoint, pieces):
    chat_server.answer = [*map(chunk, pieces), chunk("", "stop")]
    *growing, reply = endpoint.stream_reply("?", PHOTO)
    assert reply.text.strip() == "Egyptian Mau"
    if pieces[0] and "<think>" in pieces[0]:
        assert not any("fur" in state.text for state in growing)


def test_a_thought_without_an_answer_is_no_answer(chat_server, endpoint):
    chat_server.answer = [chunk("<think>It has"), chunk(" fur"), chunk("", "length")]
    with pytest.raises(UserError, match="gave no answer"):
        last(endpoint.stream_reply("?", PHOTO))


def test_a_server_that_knows_only_the_older_token_limit_is_asked_by_that(chat_server):
    chat_server.refused = "max_completion_tokens"
    model = EndpointQuestions("m", settings(chat_server.url))
    assert [model.ask(PHOTO, "?", 9), model.ask(PHOTO, "?", 9)] == ["Egyptian Mau"] * 2
    first, *others = chat_server.requests
    assert first["max_completion_tokens"] == 9
    assert [request.get("max_tokens") for request in others] == [9, 9]
    assert not any("max_completion_tokens" in request for request in others)


@pytest.fixture
def waiting():
    """A server whose whole replies `complete` waits for, and its client."""
    server = attribute_server.Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, Endpoint(settings(f"http://127.0.0.1:{server.server_port}/v1"))
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "content",
    [
        "<think>No {fur}?</think>{}",
        "No {fur}.\n</think>\n\n{}",
        [THINKING_PART, {"type": "text", "text": "{}"}],
    ],
    ids=["think", "half think", "parts"],
)
def test_whole_replies_are_without_thoughts_as_well(waiting, content):
    server, endpoint = waiting
    server.script = [said(content)]
    assert endpoint.complete([user_message("?")]).text.strip() == "{}"


def test_the_older_token_limit_and_the_schema_are_learned_apart(waiting):
    server, endpoint = waiting
    newer, schema = "max_completion_tokens", "response_format"
    server.reply = lambda request: (
        (422, {"detail": [{"loc": ["body", newer]}]}, {})
        if newer in request
        else (400, {"error": "no"}, {})
        if schema in request and server.takes_no_schema
        else said("{}")
    )
    for server.takes_no_schema, requests in ((False, 2), (False, 1), (True, 2), (True, 1)):
        server.requests.clear()
        assert endpoint.complete([user_message("?")], {"type": "json_object"}).text == "{}"
        assert len(server.requests) == requests
        assert (schema in server.requests[-1]) is not server.takes_no_schema
        assert server.requests[-1]["max_tokens"] == 512


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (401, "does not accept the API key"),
        (403, "does not accept the API key"),
        (404, r"answers with an error \(404: .*wrong key Bearer \[key\]"),
        (500, r"answers with an error \(500: .*\[key\]"),
        ([chunk("Egyp"), "drop"], "cannot be reached, or drops the connection"),
        ([chunk("Egyp")], "broke off in the middle"),
        ([chunk("", "stop")], "gave no answer"),
        ([chunk("", "content_filter")], "refuses to answer"),
        (["data: {nonsense\n\n"], "not a chat completion"),
        ([chunk("x" * 5000)], "wrote more than 4000 characters"),
    ],
)
def test_faults_are_one_sentence_without_the_key(chat_server, endpoint, answer, sentence, caplog):
    caplog.set_level(logging.DEBUG)
    chat_server.answer = answer
    with pytest.raises(UserError, match=sentence) as raised:
        last(endpoint.stream_reply("?", PHOTO))
    assert KEY not in str(raised.value)
    assert KEY not in caplog.text
    assert "\n" not in str(raised.value)


def test_a_silent_endpoint_is_not_waited_for(chat_server):
    chat_server.answer = [10.0]
    with pytest.raises(UserError, match="did not answer in time"):
        last(Endpoint(settings(chat_server.url), Limits(silence_seconds=0.3)).stream_reply("?", PHOTO))


def test_a_slow_endpoint_is_cut_off(chat_server):
    endpoint = Endpoint(settings(chat_server.url), Limits(reply_seconds=1.0))
    chat_server.answer = [piece for _ in range(100) for piece in (chunk("a"), 0.1)]
    with pytest.raises(UserError, match="was not done after 1 seconds"):
        last(endpoint.stream_reply("?", PHOTO))


def test_nobody_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UserError, match=f"m at {address} cannot be reached"):
        last(Endpoint(settings(f"http://{address}/v1")).stream_reply("?", PHOTO))


PROXIES = {"http_proxy": "http://127.0.0.1:9", "all_proxy": "socks5://127.0.0.1:9"}


def test_a_server_of_this_machine_is_asked_without_the_proxies(chat_server, waiting, monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    for name, address in PROXIES.items():
        monkeypatch.setenv(name, address)
    assert last(Endpoint(settings(chat_server.url)).stream_reply("?", PHOTO)).text == "Egyptian Mau"
    server, endpoint = waiting
    server.script = [said("{}")]
    assert endpoint.complete([user_message("?")]).text == "{}"


def test_a_proxy_that_cannot_be_used_is_one_sentence(monkeypatch):
    for name, address in PROXIES.items():
        monkeypatch.setenv(name, address)
    endpoint = Endpoint(settings("http://models.example/v1"))
    with pytest.raises(UserError, match="all_proxy.* cannot be used: name one of the form http"):
        last(endpoint.stream_reply("?", PHOTO))
    with pytest.raises(UserError, match="all_proxy.* cannot be used"):
        endpoint.complete([user_message("?")])


@pytest.mark.parametrize("answer", [[10.0], [chunk("Egyp"), 10.0]], ids=["before the first token", "between tokens"])
def test_closing_hangs_up_at_once(chat_server, endpoint, answer):
    chat_server.answer = answer
    replies = endpoint.stream_reply("?", PHOTO)
    deadline = time.monotonic() + 60
    while not chat_server.requests or (len(answer) > 1 and not next(replies).text):
        next(replies)
        assert time.monotonic() < deadline
    replies.close()
    assert chat_server.hung_up.wait(30)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "file:///etc/passwd",
        "http://",
        "http://me:secret@host/v1",
        "http://host/v1?key=1",
        "http://[::1/v1",
        "http://host:99999/v1",
        "http://host/\n",
    ],
)
def test_addresses_that_cannot_be_right_are_refused(url):
    with pytest.raises(UserError, match="The address of the endpoint must") as raised:
        settings(url)
    assert "secret" not in str(raised.value)


def test_settings_show_no_key():
    assert KEY not in repr(settings(key=KEY))
    with pytest.raises(UserError, match="spaces or letters") as raised:
        settings(key=KEY + " ä")
    assert KEY not in str(raised.value)
    with pytest.raises(UserError, match="name of the model"):
        settings(model="")
    assert redact("a key", "a") == "a key"


def test_an_address_that_was_typed_never_gets_the_key_of_the_environment(chat_server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    last(Endpoint(settings(chat_server.url)).stream_reply("?", PHOTO))
    assert KEY not in chat_server.keys[0]


def test_the_environment_offers_an_endpoint_only_with_a_model(monkeypatch):
    for name in ("MODEL", "BASE_URL", "API_KEY"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert EndpointSettings.from_environment() is None
    assert EndpointSettings.from_environment("another").model == "another"
    monkeypatch.setenv("OPENAI_MODEL", "m")
    assert EndpointSettings.from_environment() == settings("https://api.openai.com/v1", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert EndpointSettings.from_environment() == settings("http://127.0.0.1:1/v1", KEY)
    for name in ("BASE_URL", "API_KEY"):
        monkeypatch.delenv(f"OPENAI_{name}")
    assert EndpointSettings.from_environment() is None
