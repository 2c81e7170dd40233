"""The way into the server: before any page, route or socket stands what is asked of all of them."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from base64 import b64encode
from collections.abc import Callable
from html import escape
from importlib import resources
from string import Template
from urllib.parse import parse_qs, quote

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from librarian.doors import (
    ADMITTED,
    BodyTooLarge,
    TooOften,
    Unauthorized,
    check_guarded,
    check_origin,
    client_of,
    has_token,
    refused,
)
from librarian.errors import LibrarianError
from librarian.limits import Buckets
from librarian.sessions import Sessions
from librarian.shell import WHERE

LOGIN = "/login"
LOGOUT = "/logout"
FORM_BYTES = 8192
TRIES = 5  # wrong tokens at once; then one
TRY_S = 30.0  # in so many seconds
TRIES_OF_ALL = 100  # addresses are cheap, and behind a proxy they are what a header says
TRY_OF_ALL_S = 1.0
_LOGIN_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
#: Loads the dashboard anew, with nothing of what the tab showed.
AFRESH = "window.location.replace(new URL('./', window.location.href))"
# Of scripts within a page three are let run, by their hashes: Streamlit's own, which sets a flag,
# and these.
_OWN = " ".join(
    f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    for script in (AFRESH, WHERE)
)
PAGES_POLICY = (
    "default-src 'self'; "
    "script-src 'self' 'unsafe-eval' blob: 'sha256-THxz9J9+wf7rhwR2YkXJoSZ13UCmYyC+3lNDv2+8ugA=' "
    f"{_OWN}; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = (
    ("Content-Security-Policy", PAGES_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_INSIDE = re.compile(r"/(?![/\\])[^\x00-\x20\\]*")


class Entrance:
    """ASGI middleware. Where the library has a token, nobody comes past it without."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._token = token
        self._sessions = Sessions(clock)
        self._tries = Buckets(per_s=1 / TRY_S, burst=TRIES, clock=clock)
        self._tries_of_all = Buckets(per_s=1 / TRY_OF_ALL_S, burst=TRIES_OF_ALL, clock=clock)
        form = resources.files("librarian") / "static" / "login.html"
        self._form = Template(form.read_text(encoding="utf-8"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request in, or answers it."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        answer = _with_headers(send)
        try:
            response = await self._response(scope, receive)
        except LibrarianError as exc:
            response = refused(exc)
        if response is None:
            await self._app(scope, receive, answer)
        elif scope["type"] == "websocket":
            await WebSocketClose(1008, "Log in first.")(scope, receive, send)
        else:
            await response(scope, receive, answer)

    async def _response(self, scope: Scope, receive: Receive) -> Response | None:
        """What stands in the way; None lets it in."""
        connection, token = HTTPConnection(scope), self._token()
        check_guarded(connection, token)
        check_origin(connection, named=not token)  # by another name nobody is logged in
        if not token:
            return None
        if scope["type"] == "http" and scope["path"] == LOGIN:
            return await self._login(Request(scope, receive), token)
        if scope["type"] == "http" and scope["path"] == LOGOUT:
            self._sessions.end(connection.cookies.get(_cookie(connection), ""))
            return RedirectResponse(LOGIN, 303)
        if self._is_known(connection, token):
            scope[ADMITTED] = True
            return None
        wanted = connection.headers.get("accept", "")
        if scope["type"] == "http" and scope["method"] == "GET" and "text/html" in wanted:
            query = scope["query_string"].decode("ascii", "replace")
            address = scope["path"] + (f"?{query}" if query else "")
            return RedirectResponse(f"{LOGIN}?next={quote(address, errors='replace')}", 303)
        raise Unauthorized("This library has a token, and the request has not.")

    def _is_known(self, connection: HTTPConnection, token: str) -> bool:
        if "authorization" not in connection.headers:
            return self._sessions.knows(connection.cookies.get(_cookie(connection), ""))
        return self._try(connection, has_token(connection, token))

    def _try(self, connection: HTTPConnection, right: bool) -> bool:
        """Raises TooOften where too many were wrong: the right one is not heard then either."""
        who = client_of(connection)
        if wait_s := self._tries.wait_s(who):
            raise TooOften("Too many wrong tokens came from your address.", wait_s)
        if wait_s := self._tries_of_all.wait_s(""):
            raise TooOften("Too many wrong tokens came, from many addresses.", wait_s)
        if not right:
            self._tries.take(who)
            self._tries_of_all.take("")
        return right

    async def _login(self, request: Request, token: str) -> Response:
        """The page that asks for the token; a right one is remembered by a cookie."""
        if request.method != "POST":
            return self._page(request.query_params.get("next", "/"))
        form = parse_qs((await _body(request)).decode(errors="replace"))
        given, address = form.get("token", [""])[0], form.get("next", ["/"])[0]
        try:
            right = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
            if not self._try(request, right):
                return self._page(address, "That is not the token.", 401)
        except TooOften as exc:
            page = self._page(address, str(exc), 429)
            page.headers["Retry-After"] = exc.retry_after
            return page
        response = RedirectResponse(_inside(address), 303)
        response.set_cookie(
            _cookie(request),
            self._sessions.begin(),
            httponly=True,
            samesite="lax",
            secure=request.scope["scheme"] == "https",
        )
        return response

    def _page(self, address: str, message: str = "", status: int = 200) -> Response:
        said = f'<p role="alert">{escape(message)}</p>' if message else ""
        page = self._form.substitute(message=said, next=escape(_inside(address)))
        headers = {"Content-Security-Policy": _LOGIN_POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(page.encode(errors="replace"), status, headers)


def _cookie(connection: HTTPConnection) -> str:
    """Its name; cookies do not tell the ports of a machine apart."""
    server = connection.scope.get("server")
    return f"librarian_login_{server[1] if server else ''}"


def _inside(address: str) -> str:
    """An address of this server; of anything else its first page."""
    return address if _INSIDE.fullmatch(address) else "/"


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > FORM_BYTES:
            raise BodyTooLarge(f"The form is larger than {FORM_BYTES:,} bytes.")
    return bytes(data)


def _with_headers(send: Send) -> Send:
    """What browsers should keep to, on every answer that does not say otherwise."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in _HEADERS:
                headers.setdefault(name, value)
            message = {**message, "headers": headers.raw}
        await send(message)

    return answer
