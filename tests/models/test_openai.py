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
    TruncatedAnswer,
)
from librarian.models.choice import choose
from librarian.models.forms import EXTRACTION
from librarian.models.openai import (
    NoRoom,
    NotServed,
    OpenAIModel,
    ServerAway,
    ServerBusy,
    WrongKey,
)
from librarian.models.protocol import Message, Model, Prompt, Role
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
    server.knows_templates = False
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
