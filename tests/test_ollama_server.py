"""The stand-in speaks Ollama's protocol; case numbers are those of the conformance list."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from tests.ollama_server import (
    DEFAULT_MODELS,
    TOKENS_PER_MESSAGE,
    Fault,
    OllamaServer,
    SimpleBrain,
    StandInModel,
)
from tests.ollama_wire import count_tokens, minimal_instance, satisfies, split_tokens

LLM, PLAIN, EMBEDDER = "qwen3:8b", "llama3.1:8b", "bge-m3"
NATIVE = StandInModel(name="import:gguf", overflow="native")
DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


@pytest.fixture
def server() -> Iterator[OllamaServer]:
    with OllamaServer(models=(*DEFAULT_MODELS, NATIVE)) as running:
        yield running


@pytest.fixture
def http(server: OllamaServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=10) as client:
        yield client


def say(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": PLAIN, "messages": [{"role": "user", "content": text}], **fields}


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines()]


def error_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def words(count: int) -> str:
    return " ".join(["word"] * count)


def ask(url: str, body: dict[str, Any], path: str = "/api/chat") -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=10) as client:
        return client.post(url + path, json=body)


def give_up(url: str, body: dict[str, Any]) -> socket.socket:
    """A request whose answer can be walked away from by closing the socket."""
    host, port = url.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    head = f"POST /api/chat HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n"
    sock = socket.create_connection((host, int(port)))
    sock.sendall(head.encode() + content)
    return sock


# --- conformance ----------------------------------------------------------------------------


def test_the_root_says_that_ollama_is_running(http: httpx.Client) -> None:
    """Case 1."""
    answer = http.get("/")
    assert (answer.status_code, answer.text) == (200, "Ollama is running")
    assert answer.headers["content-type"].startswith("text/plain")
    head = http.head("/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == answer.headers["content-type"]


def test_the_version_is_one_exact_object(http: httpx.Client) -> None:
    """Case 2."""
    answer = http.get("/api/version")
    assert answer.content == b'{"version":"0.33.0"}'
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["content-length"] == "20"


def test_no_models_are_an_empty_list() -> None:
    """Case 3."""
    with OllamaServer(models=()) as server, httpx.Client(trust_env=False) as http:
        assert http.get(f"{server.url}/api/tags").content == b'{"models":[]}'


def test_models_are_listed_newest_first_with_times_that_parse(
    server: OllamaServer, http: httpx.Client
) -> None:
    """Case 4."""
    server.add_model(StandInModel(name="newest"))
    listed = http.get("/api/tags").json()["models"]
    assert listed[0]["name"] == "newest:latest"
    assert all(model["details"]["families"] and model["digest"] for model in listed)
    with ollama.Client(host=server.url, trust_env=False) as client:
        times = [model.modified_at for model in client.list().models]
    assert all(times) and times == sorted(times, key=lambda each: each.timestamp(), reverse=True)


def test_wrong_methods_and_routes_get_plain_text(http: httpx.Client) -> None:
    """Case 5."""
    wrong, unknown = http.get("/api/show"), http.get("/nope")
    assert (wrong.status_code, wrong.text) == (405, "405 method not allowed")
    assert (unknown.status_code, unknown.text) == (404, "404 page not found")
    assert {wrong.headers["content-type"], unknown.headers["content-type"]} == {"text/plain"}


def test_show_describes_a_model_by_either_field(server: OllamaServer, http: httpx.Client) -> None:
    """Case 6."""
    by_model = http.post("/api/show", json={"model": LLM}).json()
    assert by_model["capabilities"] == ["completion", "thinking"]
    assert by_model["model_info"]["qwen3.context_length"] == 40_960
    assert http.post("/api/show", json={"name": LLM}).json() == by_model
    with ollama.Client(host=server.url, trust_env=False) as client:
        assert client.show(EMBEDDER).capabilities == ["embedding"]


def test_show_refuses_an_absent_or_unknown_name(http: httpx.Client) -> None:
    """Case 7."""
    assert error_of(http.post("/api/show", json={})) == (400, "model is required")
    unknown = http.post("/api/show", json={"model": "x"})
    assert error_of(unknown) == (404, "model 'x:latest' not found")


def test_ps_lists_a_model_once_it_has_been_used(http: httpx.Client) -> None:
    """Case 8."""
    assert http.get("/api/ps").content == b'{"models":[]}'
    http.post("/api/chat", json=say("hello"))
    (running,) = http.get("/api/ps").json()["models"]
    assert running["context_length"] == 4096
    left = datetime.fromisoformat(running["expires_at"]) - datetime.now(UTC)
    assert 295 < left.total_seconds() <= 300


def test_a_pull_reports_its_steps_in_order() -> None:
    """Case 9."""
    new = StandInModel(name="new:1b")
    with OllamaServer(pullable=(new,)) as server, httpx.Client(trust_env=False) as http:
        answer = http.post(f"{server.url}/api/pull", json={"model": "new:1b"})
        statuses = [line["status"] for line in lines(answer)]
        tags = http.get(f"{server.url}/api/tags").json()["models"]
    assert statuses[0] == "pulling manifest"
    assert all(status.startswith("pulling ") for status in statuses[1:-3])
    assert statuses[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    layers = lines(answer)[1:-3]
    assert "completed" not in layers[0] and layers[2]["completed"] == layers[2]["total"]
    assert tags[0]["name"] == "new:1b"


def test_an_unknown_pull_fails_after_its_first_line(http: httpx.Client) -> None:
    """Case 10."""
    answer = http.post("/api/pull", json={"model": "nothing"})
    assert answer.status_code == 200
    text = "pull model manifest: file does not exist"
    assert lines(answer) == [{"status": "pulling manifest"}, {"error": text}]
    whole = http.post("/api/pull", json={"model": "nothing", "stream": False})
    assert error_of(whole) == (500, text)


def test_chat_streams_unless_told_otherwise(http: httpx.Client) -> None:
    """Case 11."""
    answer = http.post("/api/chat", json=say("hello"))
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["transfer-encoding"] == "chunked"
    *chunks, last = lines(answer)
    assert len(chunks) > 1 and last["done"] and last["message"]["content"] == ""
    assert all(chunk["done"] is False for chunk in chunks)
    assert not any("eval_count" in chunk or "done_reason" in chunk for chunk in chunks)
    assert last["done_reason"] == "stop" and answer.text.endswith("\n")


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_a_whole_answer_is_the_streamed_one_joined(http: httpx.Client, path: str) -> None:
    """Case 12."""
    request = say("hello <there> & you", prompt="hello <there> & you")
    whole = http.post(path, json=request | {"stream": False})
    chunks = lines(http.post(path, json=request))
    if path == "/api/chat":
        text = "".join(chunk["message"]["content"] for chunk in chunks)
        assert whole.json()["message"] == {"role": "assistant", "content": text}
    else:
        assert whole.json()["response"] == "".join(chunk["response"] for chunk in chunks)
        assert all(isinstance(token, int) for token in whole.json()["context"])
    assert whole.json()["done"] and whole.json()["model"] == PLAIN
    assert b"\\u003cthere\\u003e \\u0026" in whole.content and not whole.content.endswith(b"\n")


def test_metrics_are_whole_nanoseconds_that_add_up() -> None:
    """Case 13."""
    with OllamaServer(latency_s=0.05, load_s=0.03) as server:
        last = lines(ask(server.url, say("hello")))[-1]
    assert last["eval_count"] > 0 and all(type(last[name]) is int for name in DURATIONS)
    total, *parts = (last[name] for name in DURATIONS)
    assert total >= sum(parts) >= 0.08e9 * 0.99 and min(parts) > 0


def test_num_predict_ends_an_answer(http: httpx.Client) -> None:
    """Case 14."""
    last = lines(http.post("/api/chat", json=say("hello", options={"num_predict": 3})))[-1]
    assert (last["done_reason"], last["eval_count"]) == ("length", 3)
    thinker = say("hello", model=LLM, options={"num_predict": 3}, stream=False)
    eaten = http.post("/api/chat", json=thinker).json()
    assert (eaten["done_reason"], eaten["eval_count"]) == ("length", 3)
    assert eaten["message"]["content"] == "" and eaten["message"]["thinking"]


SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green"]},
        "sizes": {"type": "array", "items": {"$ref": "#/$defs/size"}, "minItems": 2},
        "name": {"type": "string", "minLength": 2},
    },
    "required": ["colour", "sizes", "name"],
    "$defs": {"size": {"anyOf": [{"type": "integer", "minimum": 7}, {"type": "null"}]}},
}


@pytest.mark.parametrize("model", [LLM, PLAIN])
def test_a_format_is_kept_to(http: httpx.Client, model: str) -> None:
    """Case 15."""
    for wanted, schema in (("json", {"type": "object"}), (SCHEMA, SCHEMA)):
        body = say("hello", model=model, format=wanted, stream=False)
        answer = http.post("/api/chat", json=body).json()
        text = answer["message"]["content"]
        assert satisfies(text, schema)
        assert answer["eval_count"] == len(split_tokens(text)), "only the second pass counts"
    for stream, kind in ((True, "application/json"), (False, "application/json; charset=utf-8")):
        wrong = http.post("/api/chat", json=say("hello", format="xml", stream=stream))
        expected = 'invalid format: "xml"; expected "json" or a valid JSON Schema object'
        assert error_of(wrong) == (500, expected)
        assert wrong.headers["content-type"] == kind
    assert http.post("/api/chat", json=say("hello", format="")).status_code == 200


def test_a_minimal_instance_satisfies_its_schema() -> None:
    """Case 15, for the kinds of schema that structured output is asked with."""
    parts = [{"properties": {"a": {"const": 1}}, "required": ["a"]}]
    for schema in (
        SCHEMA,
        {"type": "object", "allOf": parts},
        {"oneOf": [{"type": "boolean"}, {"type": "string"}]},
        {"type": ["string", "null"]},
        {"type": "number", "exclusiveMinimum": 3},
        {"type": "integer", "maximum": -4},
    ):
        assert satisfies(json.dumps(minimal_instance(schema)), schema)


def test_a_thinking_model_thinks_unless_told_not_to(http: httpx.Client) -> None:
    """Case 16."""
    chunks = [line["message"] for line in lines(http.post("/api/chat", json=say("hi", model=LLM)))]
    thoughts = [bool(chunk.get("thinking")) for chunk in chunks]
    assert thoughts[0] and sorted(thoughts, reverse=True) == thoughts and not thoughts[-1]
    quiet = http.post("/api/chat", json=say("hi", model=LLM, think=False))
    assert "thinking" not in quiet.text
    assert http.post("/api/chat", json=say("hi", model=LLM, think="low")).status_code == 200
    wrong = http.post("/api/chat", json=say("hi", model=LLM, think="x"))
    assert wrong.status_code == 400


def test_a_plain_model_can_only_be_told_not_to_think(http: httpx.Client) -> None:
    """Case 17."""
    wrong = http.post("/api/chat", json=say("hi", think=True))
    assert error_of(wrong) == (400, '"llama3.1:8b" does not support thinking')
    assert http.post("/api/chat", json=say("hi", think=False)).status_code == 200


def test_an_unknown_model_is_reported_in_two_ways(http: httpx.Client) -> None:
    """Case 18."""
    for path in ("/api/chat", "/api/generate"):
        unknown = http.post(path, json=say("hi", model="x"))
        assert error_of(unknown) == (404, "model 'x' not found")
    for path in ("/api/embed", "/api/embeddings"):
        unknown = http.post(path, json={"model": "x", "input": "a", "prompt": "a"})
        assert error_of(unknown) == (404, 'model "x" not found, try pulling it first')
    empty = {"model": "", "prompt": "a", "input": "a"}
    assert error_of(http.post("/api/chat", json=empty)) == (400, "model is required")
    assert error_of(http.post("/api/generate", json=empty)) == (404, "model '' not found")
    assert error_of(http.post("/api/embed", json=empty)) == (400, "invalid model name")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", "missing request body"),
        ("{", "unexpected EOF"),
        ("nonsense", "invalid character 'n' looking for beginning of value"),
        (
            '{"model":1}',
            "json: cannot unmarshal number into Go struct field ChatRequest.model of type string",
        ),
        ("[]", "json: cannot unmarshal array into Go value of type api.ChatRequest"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_bad_request(
    http: httpx.Client, body: str, text: str
) -> None:
    """Case 19."""
    assert error_of(http.post("/api/chat", content=body)) == (400, text)


def test_a_model_does_only_what_it_can() -> None:
    """Case 20."""
    with OllamaServer(load_s=0.1) as server:
        wrong = ask(server.url, say("hi", model=EMBEDDER))
        assert error_of(wrong) == (400, '"bge-m3" does not support chat')
        generate = ask(server.url, {"model": EMBEDDER, "prompt": "a"}, "/api/generate")
        assert error_of(generate) == (400, '"bge-m3" does not support generate')
        tools = ask(server.url, say("hi", tools=[{"type": "function"}]))
        assert error_of(tools) == (
            400,
            "registry.ollama.ai/library/llama3.1:8b does not support tools",
        )
        begun = time.monotonic()
        vectors = ask(server.url, {"model": PLAIN, "input": "a"}, "/api/embed")
        assert vectors.status_code == 501
        text = "This server does not support embeddings. Start it with `--embeddings`"
        assert vectors.json()["error"] == text
        assert time.monotonic() - begun >= 0.1 and server.loaded == (PLAIN,)


def test_no_messages_load_or_unload_a_model(http: httpx.Client) -> None:
    """Case 21."""
    for path, field in (("/api/chat", "message"), ("/api/generate", "response")):
        loaded = http.post(path, json={"model": PLAIN, "messages": []})
        assert loaded.headers["content-type"] == "application/json; charset=utf-8"
        assert loaded.json()["done_reason"] == "load" and field in loaded.json()
        assert len(http.get("/api/ps").json()["models"]) == 1
        gone = http.post(path, json={"model": PLAIN, "messages": [], "keep_alive": 0})
        assert gone.json()["done_reason"] == "unload"
        assert http.get("/api/ps").json()["models"] == []


def test_embeddings_keep_their_order_and_have_unit_length(http: httpx.Client) -> None:
    """Case 22."""
    texts = [f"text number {number}" for number in range(10)]
    batch = http.post("/api/embed", json={"model": EMBEDDER, "input": texts})
    assert batch.headers["transfer-encoding"] == "chunked"
    vectors = batch.json()["embeddings"]
    assert all(math.hypot(*vector) == pytest.approx(1, abs=1e-5) for vector in vectors)
    for text, vector in zip(texts, vectors, strict=True):
        for single in (text, [text]):
            answer = http.post("/api/embed", json={"model": EMBEDDER, "input": single}).json()
            assert answer["embeddings"] == [vector]
        old = http.post("/api/embeddings", json={"model": EMBEDDER, "prompt": text}).json()
        assert old == {"embedding": vector}


def test_embed_checks_its_input_and_cuts_dimensions(http: httpx.Client) -> None:
    """Case 23."""

    def embed(**fields: Any) -> httpx.Response:
        return http.post("/api/embed", json={"model": EMBEDDER, **fields})

    for nothing in ([], ""):
        empty = embed(input=nothing)
        assert empty.content == b'{"model":"bge-m3","embeddings":[]}'
    assert http.post("/api/embeddings", json={"model": EMBEDDER}).json() == {"embedding": []}
    assert error_of(embed(input=[1])) == (400, "invalid input type")
    (small,) = embed(input="one and another word", dimensions=8).json()["embeddings"]
    assert len(small) == 8 and math.hypot(*small) in (0, pytest.approx(1, abs=1e-5))
    assert len(embed(input="word", dimensions=5000).json()["embeddings"][0]) == 1024


def test_too_long_a_text_is_cut_or_refused_by_the_embedder(http: httpx.Client) -> None:
    """Case 24."""
    request = {"model": EMBEDDER, "input": words(5000)}
    assert http.post("/api/embed", json=request).json()["prompt_eval_count"] == 4096
    wide = request | {"options": {"num_ctx": 100_000}}
    assert http.post("/api/embed", json=wide).json()["prompt_eval_count"] == 5002
    refused = http.post("/api/embed", json=request | {"truncate": False})
    assert error_of(refused) == (400, "the input length exceeds the context length")
    old = http.post("/api/embeddings", json=request | {"prompt": words(5000)})
    assert old.status_code == 500


def test_too_long_a_prompt_is_cut_silently_or_refused(http: httpx.Client) -> None:
    """Case 25."""
    cut = http.post("/api/chat", json=say(words(5000), stream=False)).json()
    assert cut["done"] and cut["prompt_eval_count"] == 2050
    native = http.post("/api/chat", json=say(words(5000), model=NATIVE.name))
    assert native.status_code == 400
    error = json.loads(native.json()["error"])["error"]
    assert error["type"] == "exceed_context_size_error"
    assert error["message"] == (
        f"request ({5000 + TOKENS_PER_MESSAGE} tokens) exceeds the available context size "
        "(4096 tokens), try increasing it"
    )
    old = [{"role": "system", "content": "Be kind."}, *say(words(3000))["messages"]]
    turns = [*old, *say("and then?" + words(2000))["messages"]]
    fitting = http.post("/api/chat", json=say("", messages=turns, model=NATIVE.name, stream=False))
    kept = count_tokens("Be kind.") + count_tokens("and then?" + words(2000))
    assert fitting.json()["prompt_eval_count"] == kept + 2 * TOKENS_PER_MESSAGE


def test_calls_wait_their_turn_without_a_bound() -> None:
    """Case 26."""
    with OllamaServer(latency_s=0.1, parallel=1, max_queue=1) as server:
        ask(server.url, say("warm up"))
        begun = time.monotonic()
        with ThreadPoolExecutor(5) as pool:
            answers = []
            for number in range(5):
                answers.append(pool.submit(ask, server.url, say(f"call {number}")))
                received = number + 2
                server.wait_until(lambda s, n=received: len(s.calls) + s.in_flight == n)
            assert server.generating == 1
            statuses = [answer.result().status_code for answer in answers]
        assert statuses == [200] * 5
        assert time.monotonic() - begun >= 0.5
        calls = server.calls[1:]
        order = sorted(calls, key=lambda call: call.received_s)
        assert [call.started_s for call in order] == sorted(call.started_s for call in calls)


def test_slots_work_at_the_same_time() -> None:
    """Case 26, with four slots."""
    with OllamaServer(latency_s=0.15, parallel=4) as server, ThreadPoolExecutor(4) as pool:
        ask(server.url, say("", messages=[]))
        list(pool.map(lambda number: ask(server.url, say(f"call {number}")), range(4)))
        server.wait_until(lambda s: sum(c.started_s > 0 for c in s.calls) >= 4)
        together = [call for call in server.calls if call.started_s][-4:]
        assert max(c.started_s for c in together) < min(c.ended_s for c in together) + 0.15


def test_calls_that_need_a_load_are_bounded() -> None:
    """Case 27."""
    with OllamaServer(load_s=0.3, max_queue=1) as server, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: ask(server.url, say(f"call {n}")), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503]
    busy = next(answer for answer in answers if answer.status_code == 503)
    text = "server busy, please try again.  maximum pending requests exceeded"
    assert busy.json() == {"error": text}


def test_a_client_that_leaves_gives_its_place_back_at_once() -> None:
    """Case 28, while queued and while generating."""
    with OllamaServer(latency_s=5) as server:
        generating = give_up(server.url, say("first"))
        server.wait_until(lambda s: s.generating == 1)
        queued = give_up(server.url, say("second"))
        server.wait_until(lambda s: s.in_flight == 2)
        queued.close()
        server.wait_until(lambda s: s.in_flight == 1, 1)
        server.latency_s = 0
        generating.close()
        server.wait_until(lambda s: s.in_flight == 0, 1)
        assert [call.outcome for call in server.calls] == ["disconnected"] * 2
        assert server.calls[0].started_s == 0 < server.calls[1].started_s
        assert ask(server.url, say("third")).status_code == 200


def test_a_client_that_leaves_aborts_its_load() -> None:
    """Case 28, while loading."""
    with OllamaServer(load_s=5) as server:
        loading = give_up(server.url, say("first"))
        server.wait_until(lambda s: s.in_flight == 1)
        loading.close()
        server.wait_until(lambda s: s.in_flight == 0, 1)
        assert server.loaded == ()
        server.load_s = 0
        assert ask(server.url, say("second")).status_code == 200


def test_another_context_size_reloads_and_a_known_prompt_is_quick() -> None:
    """Case 29."""
    with OllamaServer(load_s=0.1, latency_s=0.1) as server:

        def metrics(**options: int) -> dict[str, Any]:
            return ask(server.url, say(words(300), options=options, stream=False)).json()

        first, again, wide, back = metrics(), metrics(), metrics(num_ctx=8192), metrics()
    slow = [each["load_duration"] > 0.09e9 for each in (first, again, wide, back)]
    assert slow == [True, False, True, True]
    assert first["prompt_eval_count"] == again["prompt_eval_count"]
    assert again["prompt_eval_duration"] < first["prompt_eval_duration"] / 5


def test_options_and_keep_alive_are_checked(http: httpx.Client) -> None:
    """Case 30."""
    wrong = http.post("/api/chat", json=say("hi", options={"num_ctx": "big"}))
    assert error_of(wrong) == (500, 'option "num_ctx" must be of type integer')
    assert http.post("/api/chat", json=say("hi", options={"tfs_z": "x"})).status_code == 200
    unit = http.post("/api/chat", json=say("hi", keep_alive="300"))
    assert error_of(unit) == (400, 'time: missing unit in duration "300"')
    for text in ("soon", "", "5mx"):
        assert http.post("/api/chat", json=say("hi", keep_alive=text)).status_code == 400

    def expiry() -> datetime:
        return datetime.fromisoformat(http.get("/api/ps").json()["models"][0]["expires_at"])

    http.post("/api/chat", json=say("hi", keep_alive="1h30m"))
    assert 5300 < (expiry() - datetime.now(UTC)).total_seconds() <= 5400
    http.post("/api/chat", json=say("hi", keep_alive=-1))
    http.post("/api/chat", json=say("hi"))
    assert expiry().year > 2300, "keep_alive stays until another request sets it"


def test_a_model_is_unloaded_when_its_time_is_up() -> None:
    """Section 2, eviction."""
    with OllamaServer(keep_alive_s=0.05) as server:
        ask(server.url, say("hi"))
        server.wait_until(lambda s: s.loaded == (), 2)


def test_two_models_in_the_room_of_one_drive_each_other_out() -> None:
    """Section 2, eviction; fault 21."""
    with OllamaServer(max_loaded=1, load_s=0.05) as server:
        for _ in range(2):
            chat = ask(server.url, say("hi", stream=False)).json()
            vector = ask(server.url, {"model": EMBEDDER, "input": "a"}, "/api/embed").json()
            assert min(chat["load_duration"], vector["load_duration"]) > 0.04e9


def test_a_foreign_host_name_is_forbidden(http: httpx.Client) -> None:
    """Section 1, framing."""
    answer = http.get("/", headers={"Host": "evil.example:11434"})
    assert (answer.status_code, answer.content) == (403, b"")
    assert http.get("/", headers={"Host": "localhost:1"}).status_code == 200


def test_a_stream_moves_while_it_lasts() -> None:
    """The first piece comes after the prompt's share of the latency, the others over the rest."""
    with OllamaServer(latency_s=0.4) as server, httpx.Client(trust_env=False) as http:
        begun, times = time.monotonic(), []
        with http.stream("POST", f"{server.url}/api/chat", json=say(words(60))) as answer:
            for _ in answer.iter_lines():
                times.append(time.monotonic() - begun)
    assert 4 < len(times) <= 21
    assert times[0] > 0.1 and times[-1] > 0.38
    assert times[0] < times[len(times) // 2] - 0.05 < times[-1] - 0.1


def test_old_servers_know_less() -> None:
    """Fault 28."""
    with OllamaServer(version="0.8.0") as server, httpx.Client(trust_env=False) as http:
        answer = ask(server.url, say("hi", model=LLM, stream=False)).json()["message"]
        assert answer["content"].startswith("<think>") and "thinking" not in answer
        body = {"model": EMBEDDER, "input": "a", "dimensions": 8}
        vectors = ask(server.url, body, "/api/embed").json()["embeddings"]
        assert len(vectors[0]) == 1024
        listed = http.get(f"{server.url}/api/ps").json()["models"]
        assert not any("context_length" in model for model in listed)


# --- the brain and the records --------------------------------------------------------------

EXTRACTION = "---Task---\nExtract.\n\n---Input Text---\n```\nAda met Bob.\n```\n\n---Output---\n"


def test_the_brain_is_asked_once_for_the_same_prompt(tmp_path: Path) -> None:
    class CountingBrain(SimpleBrain):
        asked = 0

        def answer(self, messages: list[dict[str, str]], schema: dict[str, Any] | None) -> str:
            self.asked += 1
            return super().answer(messages, schema)

        def embed(self, texts: list[str], dimension: int) -> list[list[float]]:
            self.asked += len(texts)
            return super().embed(texts, dimension)

    brain, memo = CountingBrain(), tmp_path / "memo.sqlite"
    for _ in range(2):
        with OllamaServer(brain=brain, memo_path=memo) as server:
            for _ in range(2):
                ask(server.url, say("hello"))
                ask(server.url, {"model": EMBEDDER, "input": ["a", "b"]}, "/api/embed")
    assert brain.asked == 3


def test_the_simple_brain_answers_each_role(server: OllamaServer) -> None:
    extracted = ask(server.url, say(EXTRACTION, format="json", stream=False)).json()
    found = json.loads(extracted["message"]["content"])
    assert [entity["name"] for entity in found["entities"]] == ["Ada", "Bob"]
    assert set(found["relationships"][0]) == {"source", "target", "keywords", "description"}
    question = 'Give "high_level_keywords".\nUser Query: Where does Ada Lovelace live?\n'
    keywords = ask(server.url, say(question, stream=False)).json()["message"]["content"]
    assert set(json.loads(keywords)) == {"high_level_keywords", "low_level_keywords"}
    server.wait_until(lambda s: len(s.calls) == 2)
    assert [call.role for call in server.calls] == ["extract", "keyword"]


def test_calls_are_recorded(server: OllamaServer) -> None:
    ask(server.url, say("hello"))
    ask(server.url, say("hello", stream=False))
    ask(server.url, say("other"))
    ask(server.url, say("hello", model="x"))
    server.wait_until(lambda s: len(s.calls) == 4)  # a call is noted after its last byte
    first, second, third, failed = server.calls
    assert first.digest == second.digest != third.digest
    assert (first.endpoint, first.model, first.outcome) == ("/api/chat", PLAIN, "done")
    assert first.received_s <= first.started_s <= first.ended_s
    assert first.prompt_tokens == 1 + TOKENS_PER_MESSAGE and first.output_tokens > 0
    assert (failed.outcome, failed.status) == ("error", 404)


# --- faults ---------------------------------------------------------------------------------

REFUSALS = [
    (Fault.RUNNER_STOPPED, 500, "unexpectedly stopped"),
    (Fault.OUT_OF_MEMORY, 500, "out-of-memory"),
    (Fault.OLD_OUT_OF_MEMORY, 500, "requires more system memory"),
    (Fault.LOAD_TIMEOUT, 500, "timed out waiting"),
    (Fault.QUEUE_FULL, 503, "server busy"),
    (Fault.CONTEXT_OVERFLOW, 400, "exceed_context_size_error"),
    (Fault.MODEL_MISSING, 404, "not found"),
    (Fault.CLOUD_UNAUTHORIZED, 401, "signin_url"),
    (Fault.CLOUD_DISABLED, 403, "cloud is disabled"),
    (Fault.CLOUD_UNREACHABLE, 502, "unreachable"),
    (Fault.CLOUD_BUSY, 429, "usage limit"),
    (Fault.PROXY_HTML, 502, "<html>"),
    (Fault.PROXY_FORBIDDEN, 403, ""),
    (Fault.HTML_OK, 200, "<html>"),
    (Fault.BROKEN_BODY, 200, "assis"),
    (Fault.NAN_EMBEDDING, 400, "NaN or Inf"),
    (Fault.OLD_NAN_EMBEDDING, 500, "unsupported value: NaN"),
    (Fault.EMBED_CRASH, 400, "EOF"),
]


@pytest.mark.parametrize(("fault", "status", "text"), REFUSALS)
def test_a_fault_takes_the_place_of_an_answer(
    server: OllamaServer, fault: Fault, status: int, text: str
) -> None:
    embedding = fault in (Fault.NAN_EMBEDDING, Fault.OLD_NAN_EMBEDDING, Fault.EMBED_CRASH)
    path = "/api/embed" if embedding else "/api/chat"
    body = {"model": EMBEDDER, "input": "a"} if embedding else say("hello")
    server.inject(fault, after=1)
    before, struck, later = (ask(server.url, body, path) for _ in range(3))
    assert (before.status_code, later.status_code) == (200, 200)
    assert struck.status_code == status and text in struck.text


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.RESET, (httpx.ReadError, httpx.RemoteProtocolError)),
        (Fault.CUT_STREAM, httpx.RemoteProtocolError),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_fault_breaks_the_connection(
    server: OllamaServer, fault: Fault, error: type[Exception], stream: bool
) -> None:
    server.inject(fault)
    with pytest.raises(error):
        ask(server.url, say("hello", stream=stream))
    assert ask(server.url, say("hello")).status_code == 200


def test_a_runner_that_dies_midway_leaves_an_error_line_and_reloads(server: OllamaServer) -> None:
    """Faults 6 and 7."""
    server.inject(Fault.ERROR_LINE, count=2)
    chunks = lines(ask(server.url, say("hello")))
    assert chunks[0]["message"]["content"] and "unexpected EOF" in chunks[-1]["error"]
    server.wait_until(lambda s: s.loaded == ())
    assert ask(server.url, say("hello", stream=False)).status_code == 500
    server.inject(Fault.RUNNER_STOPPED)
    ask(server.url, say("hello"))
    server.wait_until(lambda s: s.loaded == ())


def test_answers_can_end_without_done(server: OllamaServer) -> None:
    """Faults 9 and 10."""
    server.inject(Fault.NO_DONE)
    assert not any(chunk["done"] for chunk in lines(ask(server.url, say("hello"))))
    server.inject(Fault.DONE_FALSE)
    answer = ask(server.url, say("hello", stream=False)).json()
    assert answer["done"] is False and "eval_count" not in answer


@pytest.mark.parametrize(
    ("fault", "reason", "content"),
    [
        (Fault.LENGTH_PARTIAL, "length", '{"entities'),
        (Fault.EMPTY_STOP, "stop", ""),
        (Fault.EMPTY_LENGTH_THINKING, "length", ""),
        (Fault.FENCED_JSON, "stop", "```json"),
        (Fault.THINK_IN_CONTENT, "stop", "<think>"),
        (Fault.INVALID_JSON, "stop", '{"entities'),
    ],
)
def test_a_fault_spoils_the_text(
    server: OllamaServer, fault: Fault, reason: str, content: str
) -> None:
    """Faults 13, 14 and 26."""
    server.inject(fault)
    body = say(EXTRACTION, format="json", stream=False)
    answer = ask(server.url, body).json()
    text = answer["message"]["content"]
    assert answer["done_reason"] == reason and text.startswith(content)
    assert bool(text) == bool(content) and not satisfies(text, {"type": "object"})
    assert satisfies(ask(server.url, body).json()["message"]["content"], {"type": "object"})


def test_a_fault_spoils_the_metrics(server: OllamaServer) -> None:
    """Faults 11 and 27."""
    for fault in (Fault.ABSENT_DURATIONS, Fault.NEGATIVE_DURATIONS, Fault.SILENT_CUT):
        server.inject(fault)
    gone, whole = (ask(server.url, say(words(100), stream=False)).json() for _ in range(2))
    assert not any(name in gone for name in DURATIONS)
    assert gone["prompt_eval_count"] < whole["prompt_eval_count"]
    server.inject(Fault.NEGATIVE_DURATIONS)
    wrong = ask(server.url, say("hello", stream=False)).json()
    assert all(wrong[name] < 0 for name in DURATIONS)


def test_text_without_an_end_stops_at_ten_contexts_or_when_the_client_leaves() -> None:
    """Fault 15."""
    with OllamaServer(num_ctx=100) as server:
        server.inject(Fault.ENDLESS, count=2)
        last = lines(ask(server.url, say("hello")))[-1]
        assert (last["done_reason"], last["eval_count"]) == ("length", 1000)
        server.num_ctx = 40_000
        sock = give_up(server.url, say("hello"))
        sock.recv(100)
        sock.close()
        server.wait_until(lambda s: s.in_flight == 0, 1)
        assert server.calls[-1].outcome == "disconnected"


def test_a_fault_spoils_vectors(server: OllamaServer) -> None:
    """Faults 16, 17 and 19; bad values follow the text that causes them."""
    server.inject(Fault.ZERO_VECTORS)
    server.inject(Fault.WRONG_DIMENSION, after=1)
    server.inject(Fault.NAN_EMBEDDING, count=None, containing='un"lucky')
    body = {"model": EMBEDDER, "input": ["a", "b"]}
    zeros = ask(server.url, body, "/api/embed").json()["embeddings"]
    assert [set(vector) for vector in zeros] == [{0}, {0}] and len(zeros[0]) == 1024
    assert len(ask(server.url, body, "/api/embed").json()["embeddings"][0]) == 512
    for _ in range(2):
        bad = {"model": EMBEDDER, "input": ["a", 'an un"lucky one']}
        assert ask(server.url, bad, "/api/embed").status_code == 400
        assert ask(server.url, body, "/api/embed").status_code == 200


def test_a_model_can_be_swapped_under_its_tag(server: OllamaServer, http: httpx.Client) -> None:
    """Fault 19."""
    server.inject(Fault.WRONG_DIGEST)
    swapped, real = (http.get("/api/tags").json()["models"][0]["digest"] for _ in range(2))
    assert swapped != real
    http.request("DELETE", "/api/delete", json={"model": LLM})
    assert http.post("/api/chat", json=say("hi", model=LLM)).status_code == 404


def test_silences_and_slow_loads_last_as_long_as_told(server: OllamaServer) -> None:
    """Faults 3 and 22."""
    ask(server.url, say("hello"))
    for fault in (Fault.SLOW_LOAD, Fault.LONG_SILENCE, Fault.STALLED_STREAM):
        server.inject(fault, seconds=0.2)
        begun = time.monotonic()
        answer = lines(ask(server.url, say("hello")))[-1]
        assert answer["done"] and time.monotonic() - begun >= 0.2
        assert (answer["load_duration"] > 0.19e9) == (fault is Fault.SLOW_LOAD)


def test_a_pull_fails_after_progress() -> None:
    """Fault 23."""
    with OllamaServer() as server:
        server.inject(Fault.PULL_ERROR)
        chunks = lines(ask(server.url, {"model": LLM}, "/api/pull"))
    assert chunks[-2]["completed"] and "max retries exceeded" in chunks[-1]["error"]


def test_nobody_listens_until_healed(server: OllamaServer) -> None:
    """Fault 1."""
    server.inject(Fault.REFUSE)
    with pytest.raises(httpx.ConnectError):
        ask(server.url, say("hello"))
    with ollama.Client(host=server.url, trust_env=False) as client:
        with pytest.raises(ConnectionError):
            client.chat(model=PLAIN, messages=[])
    server.heal()
    assert ask(server.url, say("hello")).status_code == 200
    server.inject(Fault.REFUSE, after=1, seconds=1.0)
    assert ask(server.url, say("hello")).status_code == 200
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            ask(server.url, say("hello"))
    time.sleep(1.2)
    assert ask(server.url, say("hello")).status_code == 200


def test_a_restart_breaks_calls_and_forgets_loaded_models() -> None:
    """Fault 2."""
    with OllamaServer(latency_s=5) as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, server.url, say("hello"))
        server.wait_until(lambda s: s.generating == 1)
        url = server.url
        server.stop()
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            running.result(2)
        with pytest.raises(httpx.ConnectError):
            ask(url, say("hello"))
        server.latency_s = 0
        server.start()
        assert server.url == url and server.loaded == () and server.in_flight == 0
        assert ask(url, say("hello")).status_code == 200
        server.wait_until(lambda s: len(s.calls) == 2)
        assert [call.outcome for call in server.calls] == ["disconnected", "done"]


def test_a_stop_leaves_no_connection_open_that_came_just_then() -> None:
    """Clients try again at once when a server goes away."""
    ended = threading.Event()

    def knock(port: int) -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                pass

    server = OllamaServer()
    server.start()
    with (
        warnings.catch_warnings(record=True, action="always", category=ResourceWarning) as left,
        ThreadPoolExecutor(4) as pool,
    ):
        for _ in range(4):
            pool.submit(knock, server.port)
        for _ in range(12):
            time.sleep(0.01)
            server.stop()
            gc.collect()
            server.start()
        ended.set()
    server.stop()
    gc.collect()
    assert [str(one.message) for one in left if "transport" in str(one.message)] == []


def test_many_who_are_refused_at_once_leave_nobody_listening() -> None:
    """Each of them breaks the others off, also while the server is being closed for them."""
    with OllamaServer(latency_s=0.2) as server, ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            server.inject(Fault.REFUSE, None, after=1)
            calls = [pool.submit(ask, server.url, say(f"hello {n}")) for n in range(8)]
            assert any(call.exception(10) for call in calls)
            with pytest.raises(httpx.ConnectError):
                ask(server.url, say("hello"))
            server.heal()
            assert ask(server.url, say("hello")).status_code == 200


def test_the_ollama_package_understands_every_answer(server: OllamaServer) -> None:
    with ollama.Client(host=server.url, trust_env=False, timeout=5) as client:
        messages = [{"role": "user", "content": "hello"}]
        whole = client.chat(model=LLM, messages=messages)
        assert whole.done and whole.message.content and whole.message.thinking
        *_, last = client.chat(model=LLM, messages=messages, stream=True)
        assert last.done and last.eval_count
        assert len(client.embed(model=EMBEDDER, input=["a", "b"]).embeddings) == 2
        assert {model.model for model in client.ps().models} == {LLM, f"{EMBEDDER}:latest"}
        assert client.generate(model=PLAIN, prompt="hello").response
        server.inject(Fault.ERROR_LINE)
        with pytest.raises(ollama.ResponseError) as caught:
            list(client.chat(model=PLAIN, messages=messages, stream=True))
        assert caught.value.status_code == -1


# --- as a process ---------------------------------------------------------------------------


def test_it_runs_as_a_process_under_control_over_http(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.ollama_server", "--port", "0", "--latency", "0.05"]
    command += ["--models", "llm=mine:1b,embed=bge-m3", "--memo", str(tmp_path / "memo")]
    command += ["--brain", "tests.ollama_server:SimpleBrain", "--parallel", "2"]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("listening on ").strip()
            assert ask(url, say("hello", model="mine:1b")).status_code == 200
            inject = {"fault": "queue_full", "count": 1, "match": "/api/chat"}
            assert ask(url, inject, "/_stand_in/inject").status_code == 200
            assert ask(url, {"fault": "unheard of"}, "/_stand_in/inject").status_code == 400
            assert ask(url, say("hello", model="mine:1b")).status_code == 503
            settings = ask(url, {"latency_s": 0.2}, "/_stand_in/set").json()
            assert settings["latency_s"] == 0.2 and settings["parallel"] == 2
            with httpx.Client(trust_env=False) as http:
                state = http.get(f"{url}/_stand_in/calls").json()
            assert state["count"] == 2 and state["calls"][1]["outcome"] == "error"
            assert state["loaded"] == ["mine:1b"] and state["in_flight"] == 0
            ask(url, {"fault": "refuse", "seconds": 0.3}, "/_stand_in/inject")
            time.sleep(0.15)
            with pytest.raises(httpx.ConnectError):
                ask(url, say("hello"))
            time.sleep(0.4)
            assert ask(url, say("hello", model="mine:1b")).status_code == 200
        finally:
            os.kill(process.pid, signal.SIGTERM)
        assert process.wait(5) == 0


def test_a_taken_port_is_reported(server: OllamaServer) -> None:
    with pytest.raises(OSError):
        OllamaServer(port=server.port).start()
    assert threading.active_count() < 20
