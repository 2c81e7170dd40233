"""Servers of OpenAI's protocol: whole answers, vectors, and each refusal in its own words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest

from librarian.decisions import Decision, row_for
from librarian.errors import (
    BadEmbedding,
    EmbeddingMismatch,
    MalformedAnswer,
    ModelCrashed,
    ModelError,
    ModelUnsuitable,
    OutOfMemory,
    SettingsError,
    TruncatedAnswer,
)
from librarian.models.choice import choose
from librarian.models.endpoint_faults import (
    NoRoom,
    NotServed,
    QuotaSpent,
    ServerAway,
    ServerBusy,
    WrongKey,
)
from librarian.models.forms import EXTRACTION
from librarian.models.openai import OpenAIModel, answers
from librarian.models.protocol import Message, Model, Prompt, Remark, Role
from librarian.settings import Settings
from tests.openai_server import DIMENSION, OpenAIServer

pytestmark = pytest.mark.anyio

KEY = "sk-a-key-that-nobody-may-see"
QUESTION = Prompt(messages=(Message(role="user", content="Who keeps the lamp?"),), role=Role.QUERY)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(key=KEY) as running:
        yield running


@asynccontextmanager
async def model_at(server: OpenAIServer, **environ: str) -> AsyncIterator[Model]:
    values = {"LIBRARIAN_BACKEND": "openai", "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY}
    model = (await choose(Settings.from_env(values | environ))).model
    try:
        yield model
    finally:
        await model.aclose()


async def test_an_answer_is_streamed_and_whole(server: OpenAIServer) -> None:
    heard: list[str] = []
    async with model_at(server) as model:
        answer = await model.complete(QUESTION, heard.append)
    assert answer.text == "".join(heard) != ""
    assert answer.prompt_tokens > 0
    assert answer.output_tokens > 0
    assert server.asked[0]["temperature"] == 0.0
    assert server.asked[0]["chat_template_kwargs"] == {"enable_thinking": False}


async def test_a_form_is_asked_for_and_kept(server: OpenAIServer) -> None:
    text = Message(role="user", content="---Input Text---\nAnna Petrova keeps the lamp of Riga.")
    prompt = Prompt(messages=(text,), role=Role.EXTRACT, schema=EXTRACTION)
    async with model_at(server) as model:
        assert (await model.complete(prompt)).text.startswith("{")
    assert server.asked[0]["response_format"]["json_schema"]["schema"] == dict(EXTRACTION)


async def test_a_server_that_knows_no_templates_is_asked_without(server: OpenAIServer) -> None:
    server.refuses["chat_template_kwargs"] = (
        "Unrecognized request argument supplied: chat_template_kwargs"
    )
    async with model_at(server) as model:
        assert (await model.complete(QUESTION)).text
        assert (await model.complete(QUESTION)).text
    assert ["chat_template_kwargs" in each for each in server.asked] == [True, False, False]


async def test_vectors_come_in_the_order_of_their_texts(server: OpenAIServer) -> None:
    async with model_at(server) as model:
        lamp, ledger = (await model.embed(["lamp"]))[0], (await model.embed(["ledger"]))[0]
        both = await model.embed(["lamp", "ledger"])
        assert (both[0] == lamp).all()
        assert (both[1] == ledger).all()
        assert model.card.dimension == DIMENSION
        assert len(model.card.fingerprint) == 64


async def test_embeddings_may_be_elsewhere(server: OpenAIServer) -> None:
    with OpenAIServer(key=KEY, llm="other") as other:
        environ = {"OPENAI_EMBED_BASE_URL": f"{other.url}/"}
        server.embed = "none"
        async with model_at(server, **environ) as model:
            assert len(await model.embed(["lamp"])) == 1
            assert (await model.complete(QUESTION)).text


@pytest.mark.parametrize(
    ("status", "body", "error", "decision"),
    [
        (400, b'{"object":"error","message":"This model\'s maximum context length is 8192 tokens.'
              b' However, you requested 9000 tokens.","type":"BadRequestError","code":400}',
         NoRoom, Decision.SKIP),
        (400, b'{"error":{"message":"too long","code":"context_length_exceeded"}}',
         NoRoom, Decision.SKIP),
        (404, b'{"error":{"message":"The model `x` does not exist.","code":404}}',
         NotServed, Decision.STOP),
        (404, b"<html>nginx</html>", ServerAway, Decision.WAIT),
        (401, b'{"error":{"message":"no"}}', WrongKey, Decision.STOP),
        (403, b"", WrongKey, Decision.STOP),
        (429, b'{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}',
         ServerBusy, Decision.WAIT),
        (503, b'{"error":"Service Unavailable"}', ServerBusy, Decision.WAIT),
        (502, b"<html>502</html>", ServerAway, Decision.WAIT),
        (500, b'{"object":"error","message":"Internal server error"}',
         ModelCrashed, Decision.RETRY),
        (418, b'{"message":"I am a teapot"}', ModelError, Decision.SKIP),
    ],
)  # fmt: skip
async def test_each_refusal_is_decided(
    server: OpenAIServer, status: int, body: bytes, error: type[ModelError], decision: Decision
) -> None:
    async with model_at(server) as model:
        await model.complete(QUESTION)
        server.faults = [(status, body)] * (2 if error is NoRoom else 1)
        with pytest.raises(error) as caught:
            await model.complete(QUESTION)
        assert type(caught.value) is error
        assert row_for(caught.value).decision is decision
        assert "Ollama" not in str(caught.value) or error in (ModelCrashed, ModelError)
        server.faults = [(status, body)]
        with pytest.raises(error):
            await model.embed(["lamp"])


async def test_a_prompt_that_leaves_no_room_says_what_to_set(server: OpenAIServer) -> None:
    server.context = 1000
    async with model_at(server) as model:
        assert (await model.complete(QUESTION)).text  # asked again, for a shorter answer
        assert ["max_tokens" in each for each in server.asked] == [True, False]
        server.context = 3
        with pytest.raises(NoRoom, match="--max-model-len"):
            await model.complete(QUESTION)


async def test_an_answer_that_breaks_off_is_not_used(server: OpenAIServer) -> None:
    server.cut = 1
    async with model_at(server) as model:
        with pytest.raises(TruncatedAnswer):
            await model.complete(QUESTION)
        assert (await model.complete(QUESTION)).text


@pytest.mark.parametrize(
    "body",
    [b'{"data": []}', b'{"data": [{"index": 0, "embedding": [0, 0]}]}', b"[]", b"no JSON"],
)
async def test_vectors_that_are_none_are_not_used(server: OpenAIServer, body: bytes) -> None:
    async with model_at(server) as model:
        await model.embed(["lamp"])
        server.faults = [(200, body)]
        with pytest.raises((BadEmbedding, MalformedAnswer, ModelUnsuitable)):
            await model.embed(["lamp"])


async def test_a_server_that_is_gone_is_waited_for() -> None:
    with OpenAIServer() as gone:
        url = gone.url
    model = OpenAIModel(
        url=url, embed_url=url, key="", llm="a", embed="b", num_ctx=8192, dimension=4
    )
    with pytest.raises(ServerAway, match="OPENAI_BASE_URL"):
        await model.complete(QUESTION)
    await model.aclose()


async def test_a_cancelled_call_ends_at_the_server(server: OpenAIServer) -> None:
    server.latency_s = 60.0
    async with model_at(server) as model:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(model.complete, QUESTION)
            with anyio.fail_after(10):
                while not server.generating:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(10):
            while server.generating:  # noqa: ASYNC110
                await anyio.sleep(0.01)


async def test_a_wrong_key_is_said_without_the_key(server: OpenAIServer) -> None:
    server.key = "another"
    with pytest.raises(WrongKey, match="OPENAI_API_KEY") as caught:
        async with model_at(server):
            pass
    assert KEY not in str(caught.value)
    assert KEY not in repr(Settings.from_env({"OPENAI_API_KEY": KEY}))


async def test_a_library_of_another_kind_of_model_is_refused() -> None:
    settings = Settings.from_env({"LIBRARIAN_BACKEND": "openai"})
    with pytest.raises(EmbeddingMismatch):
        await choose(settings, backend="ollama", embed="bge-m3", dimension=4)


FORM = Prompt(
    messages=(Message(role="user", content="---Input Text---\nAnna Petrova keeps the lamp."),),
    role=Role.EXTRACT,
    schema=EXTRACTION,
)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
         "'max_completion_tokens' instead."),
        ("temperature", "Unsupported value: 'temperature' does not support 0.0 with this model."),
        ("stream_options", "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), "
         "'msg': 'Extra inputs are not permitted'}]"),
        ("json_schema", "Invalid parameter: 'response_format' of type 'json_schema' is not "
         "supported with this model."),
        ("chat_template_kwargs", "litellm.UnsupportedParamsError: openai does not support "
         "parameters: ['chat_template_kwargs']"),
    ],
)  # fmt: skip
async def test_what_a_server_does_not_know_is_left_out_from_then_on(
    server: OpenAIServer, word: str, said: str
) -> None:
    server.refuses[word] = said
    async with model_at(server) as model:
        assert (await model.complete(FORM)).text
        assert (await model.complete(FORM)).text
    first, second, third = server.asked
    assert word in first or first["response_format"]["type"] == word
    assert second == third
    left = {"max_tokens": "max_completion_tokens", "json_schema": "response_format"}
    assert left.get(word, "messages") in third
    assert word not in third


async def test_forms_are_not_asked_for_where_there_are_none(server: OpenAIServer) -> None:
    said = "'response_format.type' must be 'text': not supported"
    server.refuses.update(json_schema=said, json_object=said)
    async with model_at(server) as model:
        assert (await model.complete(FORM)).text
    assert [each.get("response_format", {}).get("type") for each in server.asked] == [
        "json_schema",
        "json_object",
        None,
    ]


@pytest.mark.parametrize(
    ("status", "body", "error", "decision"),
    [
        (429, b'{"error":{"message":"You exceeded your current quota, please check your plan and '
              b'billing details.","type":"insufficient_quota","param":null,'
              b'"code":"insufficient_quota"}}', QuotaSpent, Decision.STOP),
        (429, b'{"error":{"message":"No deployments available for selected model, Try again in 5 '
              b'seconds.","type":"None","param":"None","code":"429"}}', ServerBusy, Decision.WAIT),
        (400, b'{"error":{"message":"No connected db.","type":"no_db_connection","param":null,'
              b'"code":"400"}}', WrongKey, Decision.STOP),
        (401, b'{"error":"Unauthorized"}', WrongKey, Decision.STOP),
        (401, b'{"error":{"code":401,"message":"Invalid API Key","type":"authentication_error"}}',
         WrongKey, Decision.STOP),
        (503, b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}',
         ServerBusy, Decision.WAIT),
        (400, b'{"error":{"code":400,"message":"request (4390 tokens) exceeds the available '
              b'context size (4096 tokens), try increasing it","type":"exceed_context_size_error",'
              b'"n_prompt_tokens":4390,"n_ctx":4096}}', NoRoom, Decision.SKIP),
        (500, b'{"error":{"code":500,"message":"Context size has been exceeded.",'
              b'"type":"server_error"}}', NoRoom, Decision.SKIP),
        (500, b'{"error":{"message":"CUDA out of memory.","type":"InternalServerError"}}',
         OutOfMemory, Decision.STOP),
        (500, b'{"object":"error","message":"EngineCore encountered an issue. See stack trace '
              b'(above) for the root cause.","type":"InternalServerError","code":500}',
         ModelCrashed, Decision.RETRY),
        (404, b'{"error":{"message":"The model `x` does not exist or you do not have access to '
              b'it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}',
         NotServed, Decision.STOP),
        (504, b"<html><head><title>504 Gateway Time-out</title></head></html>",
         ServerAway, Decision.WAIT),
    ],
)  # fmt: skip
async def test_the_servers_own_words_are_decided(
    server: OpenAIServer, status: int, body: bytes, error: type[ModelError], decision: Decision
) -> None:
    async with model_at(server) as model:
        server.faults = [(status, body)] * 2  # without a bound on the answer it is the same
        with pytest.raises(error) as caught:
            await model.complete(QUESTION)
        assert row_for(caught.value).decision is decision


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"error": {"message": "EngineCore encountered an issue.", "code": 500}}', ModelCrashed),
        ('{"object": "error", "message": "CUDA out of memory", "code": 400}', OutOfMemory),
        ('["not an object"]', MalformedAnswer),
        ("not JSON", MalformedAnswer),
    ],
)
async def test_a_failure_in_the_middle_is_no_answer(
    server: OpenAIServer, line: str, error: type[ModelError]
) -> None:
    async with model_at(server) as model:
        server.breaks = [line]
        with pytest.raises(error):
            await model.complete(QUESTION)


async def test_an_answer_that_a_filter_has_ended_is_not_used(server: OpenAIServer) -> None:
    server.filtered = True
    async with model_at(server) as model:
        with pytest.raises(ModelError, match="filter"):
            await model.complete(QUESTION)


async def test_tokens_are_estimated_where_the_server_does_not_count(server: OpenAIServer) -> None:
    server.counts = False
    async with model_at(server) as model:
        assert (await model.complete(QUESTION)).output_tokens == 2


async def test_thoughts_are_remarked_and_not_part_of_the_answer(server: OpenAIServer) -> None:
    server.thinks = True
    async with model_at(server) as model:
        answer = await model.complete(QUESTION)
    assert "Let me see" not in answer.text
    assert answer.remarks == (Remark.THOUGHT,)


async def test_no_other_address_is_asked_where_a_server_points_to_one(
    server: OpenAIServer,
) -> None:
    with OpenAIServer() as other:
        async with model_at(server) as model:
            server.headers = {"location": f"{other.url}/chat/completions"}
            for ask in (model.complete(QUESTION), model.embed(["lamp"])):
                server.faults = [(307, b"")]
                with pytest.raises(ServerAway, match="another address"):
                    await ask
        assert other.asked == []


async def test_a_key_that_a_server_repeats_is_not_shown(server: OpenAIServer) -> None:
    async with model_at(server) as model:
        said = f'{{"error":{{"message":"Incorrect API key provided: {KEY}. Bearer {KEY}"}}}}'
        server.faults = [(401, said.encode())]
        with pytest.raises(WrongKey) as caught:
            await model.complete(QUESTION)
    assert KEY not in str(caught.value)
    assert "(a key)" in str(caught.value)


async def test_whether_a_server_is_there_is_told_whatever_it_says(server: OpenAIServer) -> None:
    assert await answers(server.url, KEY)
    assert await answers(server.url, "wrong")
    assert not await answers("http://127.0.0.1:1/v1", KEY)


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_BASE_URL": "http://me:hidden@gpu:8000/v1"},
        {"OPENAI_BASE_URL": "http://gpu:8000/v1?key=hidden"},
        {"OPENAI_EMBED_BASE_URL": "ftp://hidden@gpu"},
        {"OPENAI_API_KEY": "hidden key"},
        {"OPENAI_API_KEY": "hiddenключ"},
    ],
)
async def test_a_setting_that_holds_a_secret_is_refused_without_it(
    environ: dict[str, str],
) -> None:
    with pytest.raises(SettingsError, match=next(iter(environ))) as caught:
        Settings.from_env(environ)
    assert "hidden" not in str(caught.value)
