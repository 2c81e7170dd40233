"""A FastAPI server that only sends tasks to the Celery worker: `sender PORT`."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from celery.result import AsyncResult
from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse

from tests.bench.event_loops import worker

READY_S = 50.0
POLL_S = 0.05
WORDS = {"SUCCESS": "done", "FAILURE": "failed"}

app = FastAPI()
sent: dict[str, AsyncResult[Any]] = {}


@app.get("/ping")
async def ping() -> str:
    """An answer, at once."""
    return "here"


@app.get("/ready")
def ready() -> bool:
    """True once the worker has answered."""
    return bool(worker.ready.delay().get(timeout=READY_S, interval=POLL_S))


@app.post("/insert", status_code=202)
def insert(text: str = Body(), name: str = Body()) -> None:
    """Sends a text to the worker."""
    sent["book"] = worker.insert.delay(text, name)


@app.get("/state")
def state() -> dict[str, str]:
    """How the text is doing."""
    book = sent["book"]
    word = WORDS.get(book.state, "running")
    error = f"{type(book.result).__name__}: {book.result}" if word == "failed" else ""
    return {"state": word, "error": error.partition("\n")[0]}


@app.get("/query")
def query(q: str) -> dict[str, Any]:
    """Sends a question to the worker and waits for the answer."""
    return {"answer": worker.query.delay(q).get(interval=POLL_S)}


@app.exception_handler(Exception)
async def failed(_: Request, exc: Exception) -> JSONResponse:
    """The first line of an error."""
    line = f"{type(exc).__name__}: {exc}".partition("\n")[0]
    return JSONResponse({"error": line}, status_code=500)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="asyncio", access_log=False)
