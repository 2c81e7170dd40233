"""Questions go before the indexing, over a model whose server has a queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from time import monotonic

import anyio
import anyio.lowlevel
import numpy as np
import pytest
from anyio.abc import TaskGroup

from librarian.account import Ticket
from librarian.calls import Calls
from librarian.errors import DocumentPaused, ModelUnavailable
from librarian.models.hosts import SeveralHosts
from librarian.models.protocol import Completion, Heard, Message, ModelCard, Prompt, Role, Vectors

pytestmark = pytest.mark.anyio
PATIENCE_S = 5.0  # for what must happen; nothing waits as long as that


class QueueingModel:
    """A server that works on so many calls at once, in the order in which they came."""

    def __init__(self, slots: int, host: str = "http://127.0.0.1:11434") -> None:
        self.slots = anyio.CapacityLimiter(slots)
        self.host = host
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.embedded: list[str] = []
        self.may_end: dict[str, anyio.Event] = {}

        self.gone = False

    @property
    def card(self) -> ModelCard:
        return ModelCard(backend="ollama", llm="q", embed="q", host=self.host, dimension=2)

    async def prepare(self) -> None:
        pass

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        text = prompt.messages[-1].content
        if self.gone:
            raise ModelUnavailable
        async with self.slots:
            self.begun.append(text)
            if heard is not None:
                heard(text)
            await self.may_end.setdefault(text, anyio.Event()).wait()
        self.ended.append(text)
        return Completion(text=text, output_tokens=100)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.embedded.append(texts[0])
        if texts[0] in self.may_end:
            await self.may_end[texts[0]].wait()
        return np.ones((len(texts), 2), dtype=np.float32)

    async def aclose(self) -> None:
        pass

    def let_end(self, *texts: str) -> None:
        for text in texts:
            self.may_end.setdefault(text, anyio.Event()).set()


def prompt(text: str, role: Role = Role.EXTRACT) -> Prompt:
    return Prompt(messages=(Message(role="user", content=text),), role=role)


async def builds(_: str) -> dict[str, str]:
    return {"q:latest": "the same everywhere"}


def several(
    servers: Sequence[QueueingModel], at_once: int, clock: Callable[[], float] = monotonic
) -> SeveralHosts:
    """These servers as the hosts of one model."""
    by_address = {f"http://host-{n}:1": server for n, server in enumerate(servers)}
    return SeveralHosts(
        list(by_address),
        lambda address, _: by_address[address],
        models=("q",),
        at_once=at_once,
        builds=builds,
        clock=clock,
    )


def calls_of(model: QueueingModel, limit: int) -> Calls:
    return Calls(model, limit=limit, random=Random(1))


async def settled() -> None:
    """Lets everything run until it waits."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def reading(tasks: TaskGroup, calls: Calls, count: int) -> tuple[str, ...]:
    """So many chunks are asked about."""
    chunks = tuple(f"chunk {n}" for n in range(count))
    for n, chunk in enumerate(chunks):
        tasks.start_soon(calls.complete, prompt(chunk), Ticket(document="book", chunk=n, turn=n))
        await settled()
    return chunks


@pytest.mark.parametrize(("slots", "limit"), [(1, 1), (1, 4), (2, 3), (4, 5)])
async def test_a_question_has_a_slot_at_once_however_long_the_chunks_take(
    slots: int, limit: int
) -> None:
    model = QueueingModel(slots)
    calls = calls_of(model, limit)
    model.let_end("question")
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            chunks = await reading(tasks, calls, 8)
            with calls.attending():
                answer = await calls.complete(prompt("question", Role.QUERY), Ticket())
                assert answer.text == "question"
                assert model.ended == ["question"]  # no chunk had to end for that
                assert len(calls.in_flight()) == slots - 1  # and no more was ended than had to
            model.let_end(*chunks)
    assert sorted(model.ended[1:]) == sorted(chunks)
    assert calls.account.retries == 0


async def test_no_chunk_slips_in_between_the_search_words_and_the_answer() -> None:
    model = QueueingModel(1)
    calls = calls_of(model, 2)
    model.let_end("words", "question")
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            chunks = await reading(tasks, calls, 3)
            with calls.attending():
                await calls.complete(prompt("words", Role.KEYWORD), Ticket())
                await settled()
                before = list(model.begun)
                await calls.complete(prompt("question", Role.QUERY), Ticket())
                assert model.begun == [*before, "question"]
            model.let_end(*chunks)


async def test_the_oldest_calls_are_let_alone() -> None:
    model = QueueingModel(3)
    calls = calls_of(model, 4)
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            chunks = await reading(tasks, calls, 5)
            with calls.attending():
                await settled()
                assert [each.chunk for each in calls.in_flight()] == [0, 1]
            await settled()
            assert [each.chunk for each in calls.in_flight()] == [0, 1, 2, 3]
            model.let_end(*chunks)


async def test_two_people_have_two_slots() -> None:
    model = QueueingModel(3)
    calls = calls_of(model, 4)
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            chunks = await reading(tasks, calls, 5)
            with calls.attending():
                with calls.attending():
                    await settled()
                    assert len(calls.in_flight()) == 1
                await settled()
                assert len(calls.in_flight()) == 2
            model.let_end(*chunks)


async def test_more_calls_at_once_are_let_in_after_the_question() -> None:
    model = QueueingModel(4)
    calls = calls_of(model, 2)
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            chunks = await reading(tasks, calls, 6)
            with calls.attending():
                calls.resize(5)
                await settled()
                assert len(calls.in_flight()) == 1
            await settled()
            assert len(calls.in_flight()) == 5
            model.let_end(*chunks)


async def test_a_paused_document_is_not_asked_about_again_after_the_question() -> None:
    model = QueueingModel(1)
    calls = calls_of(model, 2)
    refused: list[str] = []

    async def read(chunk: str) -> None:
        try:
            await calls.complete(prompt(chunk), Ticket(document="book"))
        except DocumentPaused as exc:
            refused.append(type(exc).__name__)

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, "first")
            tasks.start_soon(read, "second")
            await settled()
            with calls.attending():
                await settled()
                calls.pause("book")
            await settled()
            assert model.begun == ["first"]
    assert refused == ["DocumentPaused"] * 2


async def test_the_question_is_embedded_before_the_texts_of_a_book() -> None:
    model = QueueingModel(1)
    calls = calls_of(model, 1)
    model.may_end["book"] = anyio.Event()
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calls.embed, ["book"])
            await settled()
            with calls.attending():
                tasks.start_soon(calls.embed, ["another book"])
                await settled()
                assert (await calls.embed(["question"], person=True)).shape == (1, 2)
                assert model.embedded == ["book", "question"]
            model.let_end("book")
    assert sorted(model.embedded[2:]) == ["another book", "book"]


async def test_while_a_person_waits_a_book_is_embedded_one_batch_at_a_time() -> None:
    """LightRAG holds its lock meanwhile, and the search for the person's answer waits for that."""
    model = QueueingModel(1)
    calls = calls_of(model, 1)
    books = ["first book", "second book"]
    model.may_end.update({book: anyio.Event() for book in books})
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            with calls.attending():
                for book in books:
                    tasks.start_soon(calls.embed, [book])
                await settled()
                assert model.embedded == ["first book"]
                model.let_end("first book")
                await settled()
                assert model.embedded == books
            model.let_end(*books)


async def test_a_model_of_this_process_has_no_queue_and_nothing_is_ended() -> None:
    model = QueueingModel(2, host="")
    calls = calls_of(model, 2)
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            chunks = await reading(tasks, calls, 3)
            with calls.attending():
                await settled()
                assert len(calls.in_flight()) == 2
            model.let_end(*chunks)
    assert len(model.begun) == 3  # none was begun twice


@pytest.mark.parametrize("slots", [(1, 1), (2, 8), (8, 2), (4, 1), (2, 2, 2)])
async def test_with_several_hosts_a_question_goes_to_one_with_a_slot(
    slots: tuple[int, ...],
) -> None:
    servers = [QueueingModel(each) for each in slots]
    model = several(servers, at_once=5)
    await model.prepare()
    calls = Calls(model, limit=9, tuning=model.tuning, random=Random(1))
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            chunks = await reading(tasks, calls, 20)
            before = sum(view.running for view in model.views())
            assert before > sum(min(each, 2) for each in slots)
            for server in servers:
                server.let_end("question")
            with calls.attending():
                assert (await calls.complete(prompt("question", Role.QUERY), Ticket())).text
                assert sum(len(server.ended) for server in servers) == 1
                assert len(calls.in_flight()) >= sum(min(each, 3) for each in slots) - 1
            for server in servers:
                server.let_end(*chunks)


async def test_a_question_has_a_slot_at_the_host_that_is_left_when_another_goes() -> None:
    stays, goes = QueueingModel(2), QueueingModel(2)
    model = several([goes, stays], at_once=3)
    await model.prepare()
    calls = Calls(model, limit=9, tuning=model.tuning, random=Random(1))
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            first = await reading(tasks, calls, 4)
            assert (len(stays.begun), len(goes.begun)) == (2, 2)
            stays.let_end(*first)
            goes.let_end(*first)
            await settled()
            goes.gone = True
            chunks = tuple(f"later {n}" for n in range(8))
            for chunk in chunks:
                tasks.start_soon(calls.complete, prompt(chunk), Ticket(document="book"))
                await settled()
            stays.let_end("question")
            with calls.attending():
                await calls.complete(prompt("question", Role.QUERY), Ticket())
                assert stays.ended[-1] == "question"
                assert len(calls.in_flight()) == 1
            stays.let_end(*chunks)
    assert set(chunks) <= set(stays.ended)


async def test_a_question_is_embedded_first_at_several_hosts_too() -> None:
    servers = [QueueingModel(1), QueueingModel(1)]
    model = several(servers, at_once=2)
    await model.prepare()
    calls = Calls(model, limit=4, tuning=model.tuning)
    books = [f"book {n}" for n in range(6)]
    for server in servers:
        server.may_end.update({book: anyio.Event() for book in books})
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            for book in books:
                tasks.start_soon(calls.embed, [book])
            await settled()
            assert [len(server.embedded) for server in servers] == [2, 2]
            with calls.attending():
                assert (await calls.embed(["question"], person=True)).shape == (1, 2)
            for server in servers:
                server.let_end(*books)


async def test_how_many_calls_each_host_takes_is_found_out_where_calls_end_together() -> None:
    """Between the end of a call and the begin of the next its answer is written down."""
    servers = [QueueingModel(4), QueueingModel(2)]
    now = [0.0]
    model = several(servers, at_once=5, clock=lambda: now[0])
    await model.prepare()
    calls = Calls(model, limit=9, tuning=model.tuning)
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            chunks = await reading(tasks, calls, 200)
            for _ in range(40):
                now[0] += 2.0
                for server in servers:
                    server.let_end(*server.begun)
                await settled()
            assert [view.at_once for view in model.views()] == [5, 3]
            assert calls.limit == 8
            for server in servers:
                server.let_end(*chunks)
