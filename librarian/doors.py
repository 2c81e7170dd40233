"""Who may use the routes, and what of a request may be believed."""

from __future__ import annotations

import asyncio
import hmac
import json
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.requests import Request

from librarian.errors import LibrarianError
from librarian.settings import is_local


class BadRequest(LibrarianError):
    """README.md shows a request that works."""


class BodyTooLarge(BadRequest):
    """Send it in parts, or put the file into a folder and use `ingest`."""


class Forbidden(BadRequest):
    """Requests of other web sites are not answered; open the dashboard itself."""


class Unauthorized(BadRequest):
    """Send LIBRARIAN_API_TOKEN as `Authorization: Bearer …`."""


class Switched(BadRequest):
    """Run the command again: it then opens the library that it means itself."""


def check_origin(request: Request) -> None:
    """A page of another site may not use this server through its visitor's browser."""
    _check_host(request)
    origin = request.headers.get("origin")
    if origin and _parts(origin).netloc != request.headers.get("host"):
        if not (request.method == "GET" and origin == "null"):
            raise Forbidden(f"The request comes from {origin!r:.80}.")


def _parts(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError as exc:
        raise BadRequest(f"{address!r:.80} is no address.") from exc


def check_token(request: Request, token: str) -> None:
    """Wants the library's token, where it has one.

    Raises:
        Unauthorized: it was not sent.
    """
    given = request.headers.get("authorization", "")
    if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise Unauthorized("This library has a token, and the request has not.")


def check_opening(request: Request, opening: str) -> None:
    """A command that means another library than the one that is open now is not run on this one.

    Raises:
        Switched: the dashboard has changed over to another library meanwhile.
    """
    if request.headers.get("x-library-opening", opening) not in ("", opening):
        raise Switched("The dashboard has opened another library meanwhile.")


def _check_host(request: Request) -> None:
    """A foreign name that was made to point here (DNS rebinding) is not one of ours."""
    server = request.scope.get("server")
    if server and is_local(str(server[0])):
        host = _parts(f"//{request.headers.get('host', '')}").hostname or ""
        if not is_local(host):
            raise Forbidden(f"This server is not called {host!r:.80}.")


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
