"""One loop on its own thread, and the way to it from every other."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import asynccontextmanager

import anyio
import pytest

from librarian.errors import Closed
from librarian.portal import Portal


async def where() -> tuple[int, int]:
    return id(asyncio.get_running_loop()), threading.get_ident()


def test_every_thread_reaches_the_same_loop() -> None:
    portal = Portal()
    try:
        with ThreadPoolExecutor(4) as threads:
            found = set(threads.map(lambda _: portal.call(where), range(16)))
        assert len(found) == 1
        assert found.pop()[1] != threading.get_ident()
    finally:
        portal.close()


def test_results_and_errors_cross_over() -> None:
    async def divide(a: int, b: int) -> float:
        return a / b

    portal = Portal()
    try:
        assert portal.call(divide, 6, 3) == 2
        assert portal.start(divide, 8, 2).result(10) == 4
        with pytest.raises(ZeroDivisionError):
            portal.call(divide, 1, 0)
    finally:
        portal.close()


def test_what_was_entered_is_left_on_the_loop_in_reverse_order() -> None:
    seen: list[tuple[str, int]] = []

    @asynccontextmanager
    async def room(name: str) -> AsyncIterator[str]:
        seen.append((f"{name} in", threading.get_ident()))
        yield name
        seen.append((f"{name} out", threading.get_ident()))

    portal = Portal()
    assert portal.enter(room("first")) == "first"
    assert portal.enter(room("second")) == "second"
    portal.close()
    assert [what for what, _ in seen] == ["first in", "second in", "second out", "first out"]
    assert len({thread for _, thread in seen}) == 1


def test_closing_ends_the_thread_and_refuses_further_calls() -> None:
    portal = Portal()
    _, thread = portal.call(where)
    portal.close()
    assert thread not in {each.ident for each in threading.enumerate()}
    with pytest.raises(Closed):
        portal.start(where)
    with pytest.raises(Closed):
        portal.call(where)


def test_closing_cancels_work_that_was_entered() -> None:
    ended = threading.Event()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    @asynccontextmanager
    async def room() -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await anyio.wait_all_tasks_blocked()
            yield
            tasks.cancel_scope.cancel()

    portal = Portal()
    portal.enter(room())
    assert not ended.is_set()
    portal.close()
    assert ended.is_set()


def test_cancelling_a_future_cancels_its_task() -> None:
    started, ended = threading.Event(), threading.Event()

    async def work() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    portal = Portal()
    try:
        future = portal.start(work)
        assert started.wait(10)
        future.cancel()
        assert ended.wait(10)
        with pytest.raises(CancelledError):
            future.result(10)
    finally:
        portal.close()
