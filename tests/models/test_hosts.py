"""Several Ollama hosts: calls go where there is room, and around a host that is not well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from anyio import to_thread

from librarian.calls import Calls
from librarian.errors import ModelMissing, ModelUnavailable
from librarian.models.choice import choose
from librarian.models.hosts import HostDisagrees, SeveralHosts
from librarian.models.protocol import Message, Prompt, Role
from librarian.settings import Settings
from tests.ollama_server import DEFAULT_MODELS, OllamaServer

pytestmark = pytest.mark.anyio

SLOTS = 2


@pytest.fixture
def first() -> Iterator[OllamaServer]:
    with OllamaServer(parallel=SLOTS, num_ctx=8192) as server:
        yield server


@pytest.fixture
def second() -> Iterator[OllamaServer]:
    with OllamaServer(parallel=SLOTS, num_ctx=8192) as server:
        yield server


@asynccontextmanager
async def both(*servers: OllamaServer) -> AsyncIterator[SeveralHosts]:
    """The model that a library gets with these hosts."""
    hosts = ",".join(server.url for server in servers)
    environ = {"OLLAMA_HOST": hosts, "LIBRARIAN_BACKEND": "ollama", "LLM_MAX_ASYNC": str(SLOTS)}
    model = (await choose(Settings.from_env(environ))).model
    assert isinstance(model, SeveralHosts)
    try:
        yield model
    finally:
        await model.aclose()


def prompt(text: str, role: Role = Role.SUMMARY) -> Prompt:
    return Prompt(messages=(Message(role="user", content=text),), role=role)


async def ask_all(model: SeveralHosts, count: int) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(model.complete, prompt(f"Question {number}?"))


def chats(server: OllamaServer) -> int:
    return sum(call.endpoint == "/api/chat" and call.outcome == "done" for call in server.calls)


async def test_calls_are_spread_over_the_hosts(first: OllamaServer, second: OllamaServer) -> None:
    first.latency_s = second.latency_s = 0.1
    async with both(first, second) as model:
        await ask_all(model, 2 * SLOTS)
        assert (chats(first), chats(second)) == (SLOTS, SLOTS)
        assert [view.calls for view in model.views()] == [SLOTS, SLOTS]
        assert all(view.median_s for view in model.views())
        assert model.card.hosts == (first.url, second.url)


async def test_the_slower_host_gets_fewer_calls(first: OllamaServer, second: OllamaServer) -> None:
    first.latency_s, second.latency_s = 1.0, 0.02
    async with both(first, second) as model:
        limit = anyio.CapacityLimiter(2 * SLOTS)

        async def ask(number: int) -> None:
            async with limit:
                await model.complete(prompt(f"Question {number}?"))

        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(ask, number)
        assert chats(second) > 2 * chats(first) > 0


async def test_a_host_that_is_gone_rests_and_is_tried_again(
    first: OllamaServer, second: OllamaServer
) -> None:
    async with both(first, second) as model:
        await to_thread.run_sync(first.stop)
        await ask_all(model, 6)
        assert chats(second) == 6
        gone, well = model.views()
        assert (gone.rests_s > 0, well.rests_s) == (True, 0)
        assert "ollama serve" in gone.trouble
        await to_thread.run_sync(first.start)
        for host in model._hosts:  # its rest is over
            host.until_s = 0.0
        await ask_all(model, 6)
        assert chats(first) > 0
        assert [view.trouble for view in model.views()] == ["", ""]


async def test_embeddings_go_around_a_host_that_is_gone(
    first: OllamaServer, second: OllamaServer
) -> None:
    async with both(first, second) as model:
        before = await model.embed(["lamp"])
        await to_thread.run_sync(first.stop)
        for _ in range(3):
            assert (await model.embed(["lamp"]) == before).all()


async def test_with_no_host_left_the_error_says_so(
    first: OllamaServer, second: OllamaServer
) -> None:
    async with both(first, second) as model:
        await to_thread.run_sync(first.stop)
        await to_thread.run_sync(second.stop)
        with pytest.raises(ModelUnavailable, match="ollama serve"):
            await model.complete(prompt("Anybody?"))
        await to_thread.run_sync(second.start)
        await model.complete(prompt("Anybody?"))  # rests are not waited for when all rest


async def test_another_build_of_a_model_gets_no_calls_and_the_way_out_is_said(
    first: OllamaServer,
) -> None:
    llm = replace(DEFAULT_MODELS[0], size=4_000_000_000)
    with OllamaServer(models=(llm, *DEFAULT_MODELS[1:]), num_ctx=8192) as other:
        async with both(first, other) as model:
            await ask_all(model, 6)
            assert (chats(first), chats(other)) == (6, 0)
            assert f"OLLAMA_HOST={other.url} ollama pull qwen3:8b" in model.views()[1].trouble
            assert isinstance(model._hosts[1].trouble, HostDisagrees)


async def test_a_host_without_the_model_is_left_out(
    first: OllamaServer, second: OllamaServer
) -> None:
    first.remove_model("bge-m3")
    async with both(first, second) as model:
        await ask_all(model, 4)
        assert (chats(first), chats(second)) == (0, 4)
        assert f"{first.url} lacks bge-m3" in model.views()[0].trouble
        assert isinstance(model._hosts[0].trouble, ModelMissing)


async def test_a_cancelled_call_ends_at_its_host(first: OllamaServer, second: OllamaServer) -> None:
    first.latency_s = second.latency_s = 60.0
    async with both(first, second) as model, anyio.create_task_group() as tasks:
        for number in range(2 * SLOTS):
            tasks.start_soon(model.complete, prompt(f"Question {number}?"))
        await to_thread.run_sync(first.wait_until, lambda server: server.generating == SLOTS)
        await to_thread.run_sync(second.wait_until, lambda server: server.generating == SLOTS)
        tasks.cancel_scope.cancel()
    first.wait_until(lambda server: server.generating == 0)
    second.wait_until(lambda server: server.generating == 0)


async def test_as_many_calls_run_at_once_as_all_that_work_take(
    first: OllamaServer, second: OllamaServer
) -> None:
    async with both(first, second) as model:
        calls = Calls(model, limit=99, tuning=model.tuning)
        assert calls.limit == 2 * (SLOTS + 1)
        await to_thread.run_sync(second.stop)
        await ask_all(model, 4)
        assert model.tuning.level == SLOTS + 1
        assert model.tuning.ended(0.0, 0, 0, 0)  # so that it is taken over
        assert not model.tuning.ended(0.0, 0, 0, 0)
        assert first.url in model.tuning.said


def test_one_host_is_read_as_before_and_several_each_once() -> None:
    one = Settings.from_env({"OLLAMA_HOST": "10.0.0.5"})
    assert (one.ollama_hosts, one.more_hosts) == (("http://10.0.0.5:11434",), ())
    two = Settings.from_env({"OLLAMA_HOST": "10.0.0.5, localhost:9 ,10.0.0.5:11434,"})
    assert two.ollama_hosts == ("http://10.0.0.5:11434", "http://localhost:9")
