"""The HTTP routes beside the pages. They run on the server's loop and never wait on it."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from librarian.app import Librarian
from librarian.checks import Report
from librarian.documents import Admission, Outcome
from librarian.doors import (
    ADMITTED,
    BadRequest,
    Forbidden,
    NotAllowed,
    TooOften,
    check_opening,
    check_origin,
    check_owner,
    check_token,
    client_of,
    is_owner,
    json_body,
    path_of,
    refused,
    text_of,
)
from librarian.errors import LibrarianError
from librarian.exports import to_csv, to_graphml, to_html
from librarian.graph import POLICY
from librarian.limits import Buckets
from librarian.rooms import CACHES
from librarian.snapshot import as_json
from librarian.uploads import WrongPlace
from librarian.views import GraphRequest

# An origin of its own: a script in it cannot reach the app, but may hand out a picture.
GRAPH_POLICY = f"{POLICY}; frame-ancestors 'self'; sandbox allow-scripts allow-downloads"
_STATUS = {
    Outcome.ACCEPTED: 202,
    Outcome.DUPLICATE: 202,
    Outcome.CONFLICT: 409,
    Outcome.REFUSED: 422,
}

PIECE_BYTES = 1024 * 1024

PER_S = 100.0  # requests of one address; a browser's watcher makes ten
BURST = 400

Handler = Callable[[Request, Librarian], Awaitable[Response]]


def routes(
    get: Callable[[], Librarian], *, clock: Callable[[], float] = time.monotonic
) -> list[Route]:
    """The routes over the Librarian that `get` returns (it may raise a LibrarianError)."""
    limit = Buckets(per_s=PER_S, burst=BURST, clock=clock)

    def door(path: str, handler: Handler, *methods: str, free: bool = False) -> Route:
        return Route(path, Door(get, handler, methods, None if free else limit))

    return [
        door("/insert", insert, "POST"),
        door("/api/status", status, "GET"),
        door("/health", health, "GET"),
        door("/graph-view", graph_view, "GET"),
        door("/api/do/{verb}", do, "POST"),
        door("/upload/{key}", upload, "GET", "PUT", "POST", free=True),  # pages have a ticket
    ]


class Door:
    """An address: who may use it and how often; errors as answers. As ASGI it hears all methods."""

    def __init__(
        self,
        get: Callable[[], Librarian],
        handler: Handler,
        methods: Sequence[str],
        limit: Buckets | None,
    ) -> None:
        self._get, self._handler, self._limit = get, handler, limit
        self._methods = {*methods, "HEAD"} if "GET" in methods else set(methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except LibrarianError as exc:
            response = refused(exc)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        check_origin(request, named=not request.scope.get(ADMITTED))
        librarian = self._get()
        if self._limit is not None and not is_owner(request, librarian.owner_secret):
            if wait_s := self._limit.take(client_of(request)):
                raise TooOften(f"More than {PER_S:.0f} requests a second came from you.", wait_s)
        check_token(request, librarian.settings.api_token)
        check_opening(request, librarian.opening)
        if request.method not in self._methods:
            allowed = ", ".join(sorted(self._methods))
            raise NotAllowed(f"{request.method!r:.40} is not done here, but {allowed}.", allowed)
        return await self._handler(request, librarian)


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
    check_owner(request, librarian.owner_secret)
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


def _backup(librarian: Librarian, body: dict[str, Any]) -> Any:
    return asdict(librarian.backups.make(path_of(body)))


def _watch(librarian: Librarian, body: dict[str, Any]) -> Any:
    if body.get("path") or body.get("off"):
        librarian.watching.choose(path_of(body) if body.get("path") else None)
    watched = librarian.watching.now()
    folder = str(watched.folder) if watched.folder else None
    return {**asdict(watched), "folder": folder}


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
    "backup": _backup,
    "watch": _watch,
}
