"""The HTTP routes beside the pages. They run on the server's loop and never wait on it."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from functools import wraps
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from librarian.app import Librarian
from librarian.checks import Report
from librarian.documents import Admission, Outcome
from librarian.doors import (
    BadRequest,
    BodyTooLarge,
    Forbidden,
    Switched,
    Unauthorized,
    check_opening,
    check_origin,
    check_token,
    json_body,
    path_of,
    text_of,
)
from librarian.errors import LibrarianError, NotReady, QuestionError, UnknownDocument
from librarian.exports import to_csv, to_graphml, to_html
from librarian.rooms import CACHES
from librarian.snapshot import as_json
from librarian.uploads import NoRoom, UploadError, WrongPlace
from librarian.views import GraphRequest

# An origin of its own: a script in it cannot reach the app, but may hand out a picture.
GRAPH_POLICY = "sandbox allow-scripts allow-downloads"
_STATUS = {
    Outcome.ACCEPTED: 202,
    Outcome.DUPLICATE: 202,
    Outcome.CONFLICT: 409,
    Outcome.REFUSED: 422,
}

PIECE_BYTES = 1024 * 1024

Handler = Callable[[Request, Librarian], Awaitable[Response]]


def routes(get: Callable[[], Librarian]) -> list[Route]:
    """The routes over the Librarian that `get` returns (it may raise a LibrarianError)."""

    def over(handler: Handler, *, guarded: bool = True) -> Callable[[Request], Awaitable[Response]]:
        @wraps(handler)
        async def answer(request: Request) -> Response:
            try:
                check_origin(request)
                librarian = get()
                if guarded:
                    check_token(request, librarian.settings.api_token)
                    check_opening(request, librarian.opening)
                return await handler(request, librarian)
            except LibrarianError as exc:
                return JSONResponse({"error": str(exc)}, status_code=_status_of(exc))

        return answer

    return [
        Route("/insert", over(insert), methods=["POST"]),
        Route("/api/status", over(status), methods=["GET"]),
        Route("/health", over(health), methods=["GET"]),
        Route("/graph-view", over(graph_view, guarded=False), methods=["GET"]),  # for a frame
        Route("/api/do/{verb}", over(do), methods=["POST"]),
        Route("/upload/{key}", over(upload, guarded=False), methods=["GET", "PUT", "POST"]),
    ]


async def insert(request: Request, librarian: Librarian) -> Response:
    """`POST /insert`: queues a text."""
    body = await json_body(request, librarian.settings.max_body_bytes)
    text, name = body.get("text"), body.get("name", "")
    if not isinstance(text, str):
        raise BadRequest('The JSON object needs a string "text".')
    if not isinstance(name, str):
        raise BadRequest('"name" must be a string.')
    admission = await to_thread.run_sync(lambda: librarian.add_text(name, text))
    report = {
        "doc_id": admission.doc_id,
        "track_id": admission.doc_id,
        "status": "pending" if admission.outcome is Outcome.ACCEPTED else admission.outcome.value,
        "name": admission.name,
    }
    if admission.message:
        report["message" if admission.outcome is Outcome.DUPLICATE else "error"] = admission.message
    return JSONResponse(report, status_code=_STATUS[admission.outcome])


async def status(_: Request, librarian: Librarian) -> Response:
    """`GET /api/status`."""
    return JSONResponse(as_json(librarian.snapshot(), time.monotonic()))


async def health(_: Request, librarian: Librarian) -> Response:
    """`GET /health`: the doctor's report; 503 when a check failed."""
    report = await to_thread.run_sync(librarian.doctor)
    return JSONResponse(checks_json(report), status_code=200 if report.ok else 503)


async def graph_view(request: Request, librarian: Librarian) -> Response:
    """`GET /graph-view`: a page with a picture of the graph, for a frame."""
    view = GraphRequest.read(request.query_params.multi_items())
    page = await to_thread.run_sync(librarian.graph_page, view)
    headers = {"Content-Security-Policy": GRAPH_POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(page.encode("utf-8", "replace"), headers=headers)


async def upload(request: Request, librarian: Librarian) -> Response:
    """`/upload/KEY`: GET says how many bytes are here, PUT adds some, POST takes the whole file.

    Pages alone may do this: they have the ticket.
    """
    uploads, key = librarian.uploads, request.path_params["key"]
    ticket = request.headers.get("x-upload-ticket", "")
    if not hmac.compare_digest(ticket.encode(), uploads.ticket.encode()):
        raise Forbidden("Files are uploaded by the Library page.")
    try:
        if request.method == "GET":
            return JSONResponse({"bytes": await to_thread.run_sync(uploads.size, key)})
        if request.method == "PUT":
            offset = request.query_params.get("offset", "")
            at = int(offset) if re.fullmatch(r"\d{1,15}", offset, re.ASCII) else 0
            async for piece in _pieces(request):
                at = await to_thread.run_sync(uploads.append, key, at, piece)
            return JSONResponse({"bytes": at})
        body = await json_body(request, librarian.settings.max_body_bytes)
        name, size = text_of(body, "name"), body.get("bytes")
        if not isinstance(size, int):
            raise BadRequest('The JSON object needs a whole number "bytes".')
        taken = await to_thread.run_sync(lambda: librarian.add_upload(key, name, size))
    except WrongPlace as exc:
        return JSONResponse({"error": str(exc), "bytes": exc.size}, status_code=409)
    return JSONResponse({"admissions": [asdict(each) for each in taken]})


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of about a megabyte, never whole in memory."""
    held = bytearray()
    async for part in request.stream():
        held += part
        if len(held) >= PIECE_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


async def do(request: Request, librarian: Librarian) -> Response:
    """`POST /api/do/VERB`: what a command asks of the dashboard that owns the home."""
    verb = request.path_params["verb"]
    body = await json_body(request, librarian.settings.max_body_bytes)
    if verb not in VERBS:
        raise BadRequest(f"There is no {verb!r}.")
    if verb == "ask":
        return await ask(request, librarian, body)
    return JSONResponse(await to_thread.run_sync(VERBS[verb], librarian, body))


async def ask(request: Request, librarian: Librarian, body: dict[str, Any]) -> Response:
    """`POST /api/do/ask`: an answer; the model's work on it ends when nobody waits any more."""
    stream = librarian.ask(text_of(body, "question"), str(body.get("mode") or "mix"))

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        stream.stop()

    watching = asyncio.create_task(watch())
    try:
        return JSONResponse(asdict(await to_thread.run_sync(lambda: stream.answer)))
    finally:
        watching.cancel()
        stream.stop()


def checks_json(report: Report) -> dict[str, Any]:
    """The doctor's report."""
    return {
        "ok": report.ok,
        "checks": [asdict(check) for check in report.checks],
        "missing": list(report.missing),
        "speed": asdict(report.speed) if report.speed else None,
    }


def _add(librarian: Librarian, body: dict[str, Any]) -> Any:
    path, name, replace = path_of(body), body.get("name"), bool(body.get("replace"))
    if not name:
        found = librarian.add_path(path, replace=replace)
        return {"admissions": [asdict(admission) for admission in found]}
    try:
        admission = librarian.add_at(str(name), path, replace=replace)
    except OSError as exc:  # the other files of a folder are not held up
        reason = f"It could not be read: {exc.strerror or exc}."
        admission = Admission(name=str(name), outcome=Outcome.REFUSED, message=reason)
    return {"admissions": [asdict(admission)]}


def _insert(librarian: Librarian, body: dict[str, Any]) -> Any:
    admission = librarian.add_text(str(body.get("name") or ""), text_of(body, "text"))
    return {"admissions": [asdict(admission)]}


def _ask(librarian: Librarian, body: dict[str, Any]) -> Any:
    return asdict(librarian.ask(text_of(body, "question"), str(body.get("mode") or "mix")).answer)


def _graphml(librarian: Librarian, _: dict[str, Any]) -> Any:
    return {"files": {".graphml": to_graphml(librarian.graph()).decode()}}


def _csv(librarian: Librarian, _: dict[str, Any]) -> Any:
    entities, relations = to_csv(librarian.graph())
    return {"files": {".entities.csv": entities.decode(), ".relations.csv": relations.decode()}}


def _html(librarian: Librarian, _: dict[str, Any]) -> Any:
    return {"files": {".html": to_html(librarian.graph())}}


def _verify(librarian: Librarian, _: dict[str, Any]) -> Any:
    return {"rows": [asdict(row) for row in librarian.verify()]}


def _probe(librarian: Librarian, _: dict[str, Any]) -> Any:
    return checks_json(librarian.probe())


def _document_verb(method: str) -> Callable[[Librarian, dict[str, Any]], Any]:
    def run(librarian: Librarian, body: dict[str, Any]) -> Any:
        getattr(librarian, method)(text_of(body, "doc"))
        return {"ok": True}

    return run


def _clear(librarian: Librarian, body: dict[str, Any]) -> Any:
    librarian.clear_cache(str(body.get("what") or CACHES[0]))
    return {"ok": True}


def _journal(librarian: Librarian, _: dict[str, Any]) -> Any:
    return asdict(librarian.journal())


# What commands run: over HTTP in the dashboard that has the home, or directly in their own process.
VERBS: dict[str, Callable[[Librarian, dict[str, Any]], Any]] = {
    "add": _add,
    "insert": _insert,
    "ask": _ask,
    "graphml": _graphml,
    "csv": _csv,
    "html": _html,
    "verify": _verify,
    "probe": _probe,
    "pause": _document_verb("pause"),
    "next": _document_verb("move_next"),
    "last": _document_verb("move_last"),
    "retry": _document_verb("retry"),
    "delete": _document_verb("delete"),
    "clear-cache": _clear,
    "journal": _journal,
}


def _status_of(error: LibrarianError) -> int:
    kinds: tuple[tuple[type[LibrarianError], int], ...] = (
        (BodyTooLarge, 413),
        (Unauthorized, 401),
        (Forbidden, 403),
        (Switched, 409),
        (BadRequest, 400),
        (NoRoom, 507),
        (UploadError, 400),
        (QuestionError, 422),
        (UnknownDocument, 404),
        (NotReady, 503),
    )
    return next((code for kind, code in kinds if isinstance(error, kind)), 503)
