"""A FastAPI server that indexes in one of the usual ways: `webs WAY PORT HOME OLLAMA`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import BackgroundTasks, Body, FastAPI, Request
from fastapi.responses import JSONResponse
from lightrag import LightRAG, QueryParam

from tests.bench.event_loops.rag import make

Insert = Callable[[LightRAG, str, str], Any]
Ask = Callable[[LightRAG, str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a server calls LightRAG."""

    insert: Insert
    ask: Ask
    before: bool = False  #: opened with `asyncio.run` before the server, else on its loop
    background: bool = False  #: the answer does not wait for the end
    nested: bool = False  #: with `nest_asyncio.apply()`
    loop: str = "asyncio"


async def insert_here(rag: LightRAG, text: str, name: str) -> None:
    """In the route itself."""
    rag.insert(text, file_paths=name)


async def ask_here(rag: LightRAG, question: str) -> Any:
    """In the route itself."""
    return rag.query(question, QueryParam(enable_rerank=False))


async def insert_in_thread(rag: LightRAG, text: str, name: str) -> None:
    """In a thread of asyncio's."""
    await asyncio.to_thread(rag.insert, text, file_paths=name)


async def ask_in_thread(rag: LightRAG, question: str) -> Any:
    """In a thread of asyncio's."""
    return await asyncio.to_thread(rag.query, question, QueryParam(enable_rerank=False))


async def insert_in_executor(rag: LightRAG, text: str, name: str) -> None:
    """In the loop's default executor."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, partial(rag.insert, text, file_paths=name))


async def ask_in_executor(rag: LightRAG, question: str) -> Any:
    """In the loop's default executor."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, rag.query, question, QueryParam(enable_rerank=False))


async def insert_nested(rag: LightRAG, text: str, name: str) -> None:
    """What `insert` would do, but for its check: the running loop is run again."""
    loop = asyncio.get_event_loop()
    loop.run_until_complete(rag.ainsert(text, file_paths=name))


async def ask_nested(rag: LightRAG, question: str) -> Any:
    """What `query` would do, but for its check."""
    loop = asyncio.get_event_loop()
    return loop.run_until_complete(rag.aquery(question, QueryParam(enable_rerank=False)))


def insert_plainly(rag: LightRAG, text: str, name: str) -> None:
    """A sync function, which FastAPI runs in a thread of its pool."""
    rag.insert(text, file_paths=name)


def ask_plainly(rag: LightRAG, question: str) -> Any:
    """A sync function, which FastAPI runs in a thread of its pool."""
    return rag.query(question, QueryParam(enable_rerank=False))


async def insert_awaited(rag: LightRAG, text: str, name: str) -> None:
    """A coroutine on the server's loop."""
    await rag.ainsert(text, file_paths=name)


async def ask_awaited(rag: LightRAG, question: str) -> Any:
    """A coroutine on the server's loop."""
    return await rag.aquery(question, QueryParam(enable_rerank=False))


WAYS = {
    "route": Way(insert=insert_here, ask=ask_here),
    "thread": Way(insert=insert_in_thread, ask=ask_in_thread),
    "thread-before": Way(insert=insert_in_thread, ask=ask_in_thread, before=True),
    "executor": Way(insert=insert_in_executor, ask=ask_in_executor),
    "executor-before": Way(insert=insert_in_executor, ask=ask_in_executor, before=True),
    "nest": Way(insert=insert_here, ask=ask_here, nested=True),
    "nest-uvloop": Way(insert=insert_here, ask=ask_here, nested=True, loop="uvloop"),
    "nest-run": Way(insert=insert_nested, ask=ask_nested, nested=True),
    "background-sync": Way(insert=insert_plainly, ask=ask_plainly, background=True),
    "background-sync-before": Way(
        insert=insert_plainly, ask=ask_plainly, background=True, before=True
    ),
    "background-async": Way(insert=insert_awaited, ask=ask_awaited, background=True),
    "background-async-before": Way(
        insert=insert_awaited, ask=ask_awaited, background=True, before=True
    ),
}


def web(way: Way, rag: LightRAG) -> FastAPI:
    """The server of a way over a LightRAG."""
    state = {"state": "idle", "error": ""}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if way.nested:
            import nest_asyncio

            nest_asyncio.apply()
        if not way.before:
            await rag.initialize_storages()
        yield
        if not way.before:
            await rag.finalize_storages()

    app = FastAPI(lifespan=lifespan)

    @app.get("/ping")
    async def ping() -> str:
        return "here"

    @app.get("/state")
    async def now() -> dict[str, str]:
        return state

    @app.exception_handler(Exception)
    async def failed(_: Request, exc: Exception) -> JSONResponse:
        return JSONResponse({"error": first_line(exc)}, status_code=500)

    if way.background:
        work = _noted_async if asyncio.iscoroutinefunction(way.insert) else _noted_sync

        @app.post("/insert", status_code=202)
        async def later(tasks: BackgroundTasks, text: str = Body(), name: str = Body()) -> None:
            state.update(state="running", error="")
            tasks.add_task(work(way.insert, state), rag, text, name)
    else:

        @app.post("/insert")
        async def at_once(text: str = Body(), name: str = Body()) -> None:
            await way.insert(rag, text, name)

    if asyncio.iscoroutinefunction(way.ask):

        @app.get("/query")
        async def query(q: str) -> dict[str, Any]:
            return {"answer": await way.ask(rag, q)}
    else:

        @app.get("/query")
        def query_in_pool(q: str) -> dict[str, Any]:
            return {"answer": way.ask(rag, q)}

    return app


def first_line(exc: BaseException) -> str:
    """An exception as one line."""
    return f"{type(exc).__name__}: {exc}".splitlines()[0]


def _noted_sync(insert: Insert, state: dict[str, str]) -> Callable[..., None]:
    def noted(rag: LightRAG, text: str, name: str) -> None:
        try:
            insert(rag, text, name)
        except BaseException as exc:
            state.update(state="failed", error=first_line(exc))
            raise
        state["state"] = "done"

    return noted


def _noted_async(insert: Insert, state: dict[str, str]) -> Callable[..., Awaitable[None]]:
    async def noted(rag: LightRAG, text: str, name: str) -> None:
        try:
            await insert(rag, text, name)
        except BaseException as exc:
            state.update(state="failed", error=first_line(exc))
            raise
        state["state"] = "done"

    return noted


def main() -> None:
    """Serves until it is ended."""
    name, port, home, ollama = sys.argv[1:]
    way = WAYS[name]
    rag = make(Path(home), ollama)
    if way.before:
        asyncio.run(rag.initialize_storages())
    uvicorn.run(web(way, rag), port=int(port), loop=way.loop, access_log=False)


if __name__ == "__main__":
    main()
