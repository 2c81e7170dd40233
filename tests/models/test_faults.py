"""What each failure of an Ollama server means, in the servers' own words."""

import json

import httpx
import ollama
import pytest

from librarian.decisions import row_for
from librarian.errors import (
    BadEmbedding,
    MalformedAnswer,
    ModelBusy,
    ModelCrashed,
    ModelError,
    ModelMissing,
    ModelUnavailable,
    ModelUnsuitable,
    OutOfMemory,
    PromptTooLong,
    TruncatedAnswer,
)
from librarian.models.faults import RULES, error_for, translated

NATIVE_OVERFLOW = json.dumps(
    {
        "error": {
            "code": 400,
            "message": "request (42947 tokens) exceeds the available context size (8192 tokens), "
            "try increasing it",
            "type": "exceed_context_size_error",
        }
    }
)


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (404, "model 'qwen3:8b' not found", ModelMissing),
        (404, 'model "bge-m3" not found, try pulling it first', ModelMissing),
        (400, NATIVE_OVERFLOW, PromptTooLong),
        (400, "the input length exceeds the context length", PromptTooLong),
        (500, "llama-server reported out-of-memory during startup: cudaMalloc failed", OutOfMemory),
        (500, "model requires more system memory (7.5 GiB) than is available", OutOfMemory),
        (500, "llama-server process has terminated: cudaMalloc failed: out of memory", OutOfMemory),
        (400, "embedding contains NaN or Inf values", BadEmbedding),
        (500, "failed to encode response: json: unsupported value: NaN", BadEmbedding),
        (503, "server busy, please try again.  maximum pending requests exceeded", ModelBusy),
        (429, "you have reached your usage limit", ModelBusy),
        (500, "model runner has unexpectedly stopped, this may be due to", ModelCrashed),
        (500, "llama-server process has terminated: exit status 2", ModelCrashed),
        (-1, "an error was encountered while running the model: unexpected EOF", ModelCrashed),
        (400, 'do embedding request: Post "http://127.0.0.1:9/v1": EOF', ModelCrashed),
        (500, "timed out waiting for llama-server to start - progress 0.42 - ", ModelCrashed),
        (500, "something nobody has seen before", ModelCrashed),
        (-1, "something in the middle of a stream", ModelCrashed),
        (400, '"bert" does not support chat', ModelUnsuitable),
        (501, "This server does not support embeddings. Start it with", ModelUnsuitable),
        (401, "unauthorized", ModelUnsuitable),
        (403, "ollama cloud is disabled: remote model is unavailable", ModelUnsuitable),
        (403, "", ModelUnsuitable),
        (400, "invalid format", ModelError),
        (502, "<html><title>502 Bad Gateway</title></html>", ModelUnavailable),
        (504, "", ModelUnavailable),
        (404, "404 page not found", ModelUnavailable),
        (405, "405 method not allowed", ModelUnavailable),
    ],
)  # fmt: skip
def test_a_servers_words_have_one_meaning(status: int, text: str, error: type[ModelError]) -> None:
    found = error_for(text, status, "qwen3:8b")
    assert type(found) is error
    assert "qwen3:8b" in str(found)


def test_every_meaning_has_a_decision_of_its_own_and_a_reason() -> None:
    for rule in RULES:
        assert row_for(rule.error()).error is rule.error
        assert rule.why


def test_a_page_of_html_is_not_shown_whole() -> None:
    assert len(str(error_for("<p>\n" * 10_000, 502, "m"))) < 500


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (ConnectionError("Failed to connect to Ollama."), ModelUnavailable),
        (httpx.ConnectError("refused"), ModelUnavailable),
        (httpx.ConnectTimeout("slow"), ModelUnavailable),
        (httpx.ReadTimeout(""), ModelCrashed),
        (httpx.ReadError(""), TruncatedAnswer),
        (httpx.RemoteProtocolError("peer closed connection"), TruncatedAnswer),
        (json.JSONDecodeError("Expecting value", "<html>", 0), MalformedAnswer),
        (AttributeError("'list' object has no attribute 'get'"), MalformedAnswer),
        (TypeError("argument of type dict"), MalformedAnswer),
        (ollama.ResponseError("model 'x' not found", 404), ModelMissing),
        (ollama.ResponseError("server busy", 503), ModelBusy),
    ],
)
def test_what_the_client_raises_becomes_this_programs_own(
    raised: Exception, error: type[ModelError]
) -> None:
    with pytest.raises(error) as caught, translated("qwen3:8b"):
        raise raised
    assert type(caught.value) is error
    assert caught.value.__cause__ is raised


def test_errors_of_this_program_pass_unchanged() -> None:
    mine = TruncatedAnswer("mine")
    with pytest.raises(TruncatedAnswer) as caught, translated("m"):
        raise mine
    assert caught.value is mine
