"""A Starlette server over this project's portal: `ours PORT HOME OLLAMA`."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import uvicorn
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from librarian.answers import Answers
from librarian.assembly import open_engine
from librarian.calls import Calls
from librarian.documents import Document, Status, document_id
from librarian.engine import Engine
from librarian.journal import Journal
from librarian.language import language_of
from librarian.models.choice import choose
from librarian.portal import Portal
from librarian.settings import Settings
from tests.bench.processes import SLOTS


class Library:
    """What the app keeps on the portal's loop, as far as indexing and asking need it."""

    def __init__(self, engine: Engine, calls: Calls) -> None:
        self._engine = engine
        self._answers = Answers(engine, calls, asyncio.get_running_loop().time)

    async def insert(self, text: str, name: str) -> str:
        """Indexes a text; gives back what went wrong."""
        document = Document(
            id=document_id(text),
            name=name,
            status=Status.PENDING,
            bytes=len(text.encode()),
            characters=len(text),
            language="English",
            file=name,
            created_at=1.0,
            updated_at=1.0,
        )
        return (await self._engine.index(document, text)).error or ""

    async def ask(self, question: str) -> str:
        """Answers a question."""
        return (await self._answers.ask(question, "mix", (), lambda _: None)).text


@asynccontextmanager
async def opened(home: Path, url: str) -> AsyncIterator[Library]:
    """Model, journal and engine, as the app's rooms put them together."""
    settings = Settings.from_env(
        {}, home=home, backend="ollama", ollama_host=url, llm_max_async=SLOTS
    )
    await to_thread.run_sync(language_of, "The first call reads the detector's model.")
    model = (await choose(settings)).model
    journal = await to_thread.run_sync(Journal, home / "journal.sqlite3")
    calls = Calls(model, limit=SLOTS + 1, batch=settings.embed_batch, journal=journal)
    try:
        async with (
            open_engine(
                directory=home / "rag",
                workspace="bench",
                settings=settings,
                chunk_tokens=settings.chunk_tokens,
                calls=calls,
                heard=lambda _: None,
            ) as engine,
            anyio.create_task_group() as tasks,
        ):
            # The app has its own log; here what LightRAG says is looked through for errors.
            logging.getLogger("lightrag").addHandler(logging.StreamHandler())
            tasks.start_soon(engine.run)
            tasks.start_soon(engine.embed_ahead)
            yield Library(engine, calls)
            calls.close()
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await model.aclose()
            journal.close()


def web(home: Path, url: str) -> Starlette:
    """The server: its routes cross over to the portal's loop and never wait on their own."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        portal = await to_thread.run_sync(Portal)
        try:
            app.state.library = await to_thread.run_sync(portal.enter, opened(home, url))
            app.state.portal = portal
            yield
        finally:
            await to_thread.run_sync(portal.close)

    async def ping(_: Request) -> PlainTextResponse:
        return PlainTextResponse("here")

    async def insert(request: Request) -> JSONResponse:
        body, at = await request.json(), request.app.state
        work = partial(at.library.insert, body["text"], body["name"])
        error = await asyncio.wrap_future(at.portal.start(work))
        return JSONResponse({"error": error}, status_code=500 if error else 200)

    async def query(request: Request) -> JSONResponse:
        at = request.app.state
        asked = at.portal.start(at.library.ask, request.query_params["q"])
        return JSONResponse({"answer": await asyncio.wrap_future(asked)})

    async def failed(_: Request, exc: Exception) -> JSONResponse:
        line = f"{type(exc).__name__}: {exc}".partition("\n")[0]
        return JSONResponse({"error": line}, status_code=500)

    return Starlette(
        routes=[
            Route("/ping", ping),
            Route("/insert", insert, methods=["POST"]),
            Route("/query", query),
        ],
        exception_handlers={Exception: failed},
        lifespan=lifespan,
    )


if __name__ == "__main__":
    port, folder, ollama = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    uvicorn.run(web(Path(folder), ollama), port=int(port), loop="asyncio", access_log=False)
