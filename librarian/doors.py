"""Who may use the routes, and what of a request may be believed."""

from __future__ import annotations

import asyncio
import hmac
import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse

from librarian.errors import (
    DocumentError,
    LibrarianError,
    NotReady,
    QuestionError,
    UnknownDocument,
)
from librarian.limits import party
from librarian.secret import HEADER
from librarian.settings import is_local
from librarian.uploads import NoRoom, UploadError

ADMITTED = "librarian.admitted"  # in the scope of requests that came in through a login
_TOP = {"navigate", "document"}  # somebody opens an address, by a link of another site maybe


class BadRequest(LibrarianError):
    """README.md shows a request that works."""


class BodyTooLarge(BadRequest):
    """Send it in parts, or put the file into a folder and use `ingest`."""


class NotAllowed(BadRequest):
    """README.md lists the addresses and what they take."""

    def __init__(self, detail: str, allowed: str) -> None:
        super().__init__(detail)
        self.allowed = allowed  #: for the header `Allow`


class Forbidden(BadRequest):
    """Requests of other web sites are not answered; open the dashboard itself."""


class Unguarded(BadRequest):
    """Set LIBRARIAN_API_TOKEN, or let the dashboard listen on 127.0.0.1 only."""


class NotTheOwner(BadRequest):
    """Run `python -m librarian` as the user who started the dashboard: it shows that it may read
    the library's folder."""


class Unauthorized(BadRequest):
    """Send LIBRARIAN_API_TOKEN as `Authorization: Bearer …`."""


class Switched(BadRequest):
    """Run the command again: it then opens the library that it means itself."""


class TooOften(BadRequest):
    # No docstring: the time to wait is its advice.

    def __init__(self, detail: str, wait_s: float) -> None:
        self.retry_after = str(max(1, math.ceil(wait_s)))  #: seconds, for the header `Retry-After`
        super().__init__(f"{detail} Try again in {self.retry_after} s.")


def check_origin(connection: HTTPConnection, *, named: bool = True) -> None:
    """A page of another site may not use this server through its visitor's browser.

    `named`: and the server has to be called by a name of this machine, where it is reached on it.

    Raises:
        Forbidden: it is one, or it calls the server by a foreign name.
    """
    if named:
        _check_host(connection)
    headers, method = connection.headers, connection.scope.get("method")
    origin = headers.get("origin")
    if origin and _parts(origin).netloc != headers.get("host"):
        if not (method == "GET" and origin == "null"):
            raise Forbidden(f"The request comes from {origin!r:.80}.")
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        how = {headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")}
        if method != "GET" or how != _TOP:
            raise Forbidden("The request comes from a page of another site.")


def _parts(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError as exc:
        raise BadRequest(f"{address!r:.80} is no address.") from exc


def check_token(request: Request, token: str) -> None:
    """Wants the library's token, where it has one, or that it came in by a login.

    Raises:
        Unauthorized: it was not sent.
    """
    if token and not has_token(request, token) and not request.scope.get(ADMITTED):
        raise Unauthorized("This library has a token, and the request has not.")


def check_opening(request: Request, opening: str) -> None:
    """A command that means another library than the one that is open now is not run on this one.

    Raises:
        Switched: the dashboard has changed over to another library meanwhile.
    """
    if request.headers.get("x-library-opening", opening) not in ("", opening):
        raise Switched("The dashboard has opened another library meanwhile.")


def has_token(connection: HTTPConnection, token: str) -> bool:
    """Whether the token was sent with it."""
    given = connection.headers.get("authorization", "").encode("latin-1")  # its bytes, as they came
    return hmac.compare_digest(given, f"Bearer {token}".encode())


def is_owner(request: Request, secret: str) -> bool:
    """Whether it comes from a command that may read the library's folder."""
    given = request.headers.get(HEADER, "")
    return bool(secret) and hmac.compare_digest(given.encode(), secret.encode())


def check_owner(request: Request, secret: str) -> None:
    """Commands read any file of this machine, so that not every process here may give them.

    Raises:
        NotTheOwner: the owner's secret was not sent.
    """
    if not is_owner(request, secret):
        raise NotTheOwner("Commands are taken from the owner of the library only.")


def check_guarded(connection: HTTPConnection, token: str) -> None:
    """However the server was started: without a token it answers on this machine only.

    Raises:
        Unguarded: the request came in by an address of the network.
    """
    server = connection.scope.get("server")
    if not token and server and not is_local(str(server[0])):
        raise Unguarded("This library has no token and answers on its own machine only.")


def client_of(connection: HTTPConnection) -> str:
    """Who sends it, as far as the network tells."""
    return party(connection.client.host) if connection.client else ""


def _check_host(connection: HTTPConnection) -> None:
    """A foreign name that was made to point here (DNS rebinding) is not one of ours."""
    server = connection.scope.get("server")
    if server and is_local(str(server[0])):
        host = _parts(f"//{connection.headers.get('host', '')}").hostname or ""
        if not is_local(host):
            raise Forbidden(f"This server is not called {host!r:.80}.")


def refused(error: LibrarianError) -> JSONResponse:
    """An error as an answer: what happened and what to do, and the status that fits."""
    headers = {}
    if isinstance(error, TooOften):
        headers["Retry-After"] = error.retry_after
    if isinstance(error, NotAllowed):
        headers["Allow"] = error.allowed
    return JSONResponse({"error": str(error)}, _status_of(error), headers)


def _status_of(error: LibrarianError) -> int:
    kinds: tuple[tuple[type[LibrarianError], int], ...] = (
        (BodyTooLarge, 413),
        (Unauthorized, 401),
        (Forbidden, 403),
        (Unguarded, 403),
        (NotTheOwner, 403),
        (Switched, 409),
        (NotAllowed, 405),
        (TooOften, 429),
        (BadRequest, 400),
        (NoRoom, 507),
        (UploadError, 400),
        (QuestionError, 422),
        (UnknownDocument, 404),
        (DocumentError, 422),
        (NotReady, 503),
    )
    otherwise = 422 if type(error) is LibrarianError else 503  # the request's, or ours
    return next((code for kind, code in kinds if isinstance(error, kind)), otherwise)


async def json_body(request: Request, limit: int) -> dict[str, Any]:
    """The JSON object of a body of at most `limit` bytes.

    Raises:
        BadRequest: it is none, or too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadRequest("Send it with Content-Type: application/json.")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > limit:
            raise BodyTooLarge(f"The body is larger than {limit:,} bytes.")
    try:
        body = await asyncio.to_thread(json.loads, bytes(data))
    except (ValueError, RecursionError) as exc:
        raise BadRequest("The body is not JSON.") from exc
    if not isinstance(body, dict):
        raise BadRequest("The body is JSON, but not an object.")
    return body


def text_of(body: dict[str, Any], name: str) -> str:
    """A string of the body that is not empty.

    Raises:
        BadRequest: there is none.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(f'The JSON object needs a string "{name}".')
    return value


def path_of(body: dict[str, Any]) -> Path:
    """The body's path, if a file system can have it.

    Raises:
        BadRequest: it cannot.
    """
    text = text_of(body, "path")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise BadRequest(f"{text!r:.80} is no path.") from exc
    if "\0" in text:
        raise BadRequest(f"{text!r:.80} is no path.")
    return Path(text)
