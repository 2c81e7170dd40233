"""How Ollama's server looks on the wire: HTTP as Go frames it, Go's JSON, times and durations."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from email.utils import formatdate
from typing import Any, TypeAlias

import h11
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

JsonObject: TypeAlias = dict[str, Any]

JSON = "application/json; charset=utf-8"
BARE_JSON = "application/json"
NDJSON = "application/x-ndjson"
TEXT = "text/plain"
TEXT_UTF8 = "text/plain; charset=utf-8"

LONGEST_SIZED_BODY = 2048  #: Go's net/http announces the length of bodies up to this many bytes
FOREVER_S = (2**63 - 1) / 1e9  #: the longest Go duration

_GO_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028"}
_GO_ESCAPES["\u2029"] = "\\u2029"
_DURATION_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"([0-9]*\.?[0-9]+|[0-9]+\.)(ns|us|µs|ms|s|m|h)?")
_PIECE = re.compile(r"\s*(?:\w{1,6}|[^\w\s])|\s+")

log = logging.getLogger(__name__)


class Refusal(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, text: str, **extra: str) -> None:
        super().__init__(text)
        self.status = status
        self.body = {"error": text, **extra}
        self.content_type = JSON


# --- values ---------------------------------------------------------------------------------


def go_json(value: object) -> bytes:
    """The value as Go's encoder writes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character, escape in _GO_ESCAPES.items():
        text = text.replace(character, escape)
    return text.encode("utf-8", "replace")


def rfc3339(epoch_ns: int) -> str:
    """A UTC time with up to nine fractional digits, trailing zeros dropped."""
    seconds, fraction = divmod(epoch_ns, 10**9)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}{digits}Z"


def keep_alive_seconds(value: object) -> float | None:
    """The `keep_alive` of a request in seconds; None when it is not set."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Refusal(400, f"time: invalid duration {json.dumps(value)}")
    seconds = _go_duration(value) if isinstance(value, str) else float(value)
    return FOREVER_S if seconds < 0 else min(seconds, FOREVER_S)


def _go_duration(text: str) -> float:
    bare = text.lstrip("+-") if text[:1] in ("+", "-") else text
    sign = -1 if text.startswith("-") else 1
    if bare == "0":
        return 0.0
    seconds, position = 0.0, 0
    while match := _DURATION.match(bare, position):
        number, unit = match.groups()
        if unit is None:
            raise Refusal(400, f'time: missing unit in duration "{text}"')
        seconds += float(number) * _DURATION_UNITS[unit]
        position = match.end()
    if not bare or position != len(bare):
        raise Refusal(400, f'time: invalid duration "{text}"')
    return sign * seconds


def split_tokens(text: str) -> list[str]:
    """The text in the pieces that this server calls tokens; joined they are the text."""
    return _PIECE.findall(text)


@functools.lru_cache(maxsize=1024)
def count_tokens(text: str) -> int:
    """How many tokens the text has."""
    return len(_PIECE.findall(text))


def decode_request(body: bytes, struct_name: str, fields: Mapping[str, type]) -> JsonObject:
    """The request's object with the named fields checked as Go's decoder checks them."""
    if not body:
        raise Refusal(400, "missing request body")
    try:
        value = json.loads(body)
    except UnicodeDecodeError:
        raise Refusal(400, "invalid UTF-8 in request body") from None
    except json.JSONDecodeError as error:
        if not error.doc[error.pos :].strip() or "Unterminated string" in error.msg:
            raise Refusal(400, "unexpected EOF") from None
        wrong = error.doc[error.pos]
        text = f"invalid character '{wrong}' looking for beginning of value"
        raise Refusal(400, text) from None
    if not isinstance(value, dict):
        kind = _go_kind(value)
        text = f"json: cannot unmarshal {kind} into Go value of type api.{struct_name}"
        raise Refusal(400, text)
    request = {name: item for name, item in value.items() if item is not None}
    for name, expected in fields.items():
        if name in request and type(request[name]) is not expected:
            field = f"Go struct field {struct_name}.{name} of type {_GO_TYPES[expected]}"
            raise Refusal(400, f"json: cannot unmarshal {_go_kind(request[name])} into {field}")
    return request


_GO_TYPES = {str: "string", bool: "bool", list: "[]api.Message", dict: "map[string]interface {}"}
_GO_TYPES[int] = "int"


def _go_kind(value: object) -> str:
    kinds: dict[type, str] = {str: "string", bool: "bool", list: "array", dict: "object"}
    return kinds.get(type(value), "number")


# --- JSON schemas ---------------------------------------------------------------------------


def satisfies(text: str, schema: JsonObject) -> bool:
    """Whether the text is JSON that validates."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return False
    return bool(Draft202012Validator(schema).is_valid(value))


def minimal_instance(schema: JsonObject, root: JsonObject | None = None) -> Any:
    """A small value that validates, for the schemas that structured output is asked with."""
    root = schema if root is None else root
    if "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return minimal_instance(target, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return minimal_instance({**schema, choice: None, **schema[choice][0]}, root)
    if schema.get("allOf"):
        merged = functools.reduce(_merge, schema["allOf"], {**schema, "allOf": None})
        return minimal_instance(merged, root)
    kind = schema.get("type", "object" if "properties" in schema else "null")
    return _minimal_of_type(kind[0] if isinstance(kind, list) else kind, schema, root)


def _merge(first: JsonObject, second: JsonObject) -> JsonObject:
    merged = {**first, **second}
    merged["properties"] = {**first.get("properties", {}), **second.get("properties", {})}
    merged["required"] = [*first.get("required", []), *second.get("required", [])]
    return merged


def _minimal_of_type(kind: str, schema: JsonObject, root: JsonObject) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        names = schema.get("required", [])
        return {name: minimal_instance(properties.get(name, {}), root) for name in names}
    if kind == "array":
        item = minimal_instance(schema.get("items", {}), root) if schema.get("minItems") else None
        return [item] * schema.get("minItems", 0)
    if kind == "string":
        return "x" * schema.get("minLength", 0)
    if kind in ("integer", "number"):
        lowest = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        return min(lowest, schema["maximum"]) if "maximum" in schema else lowest
    return False if kind == "boolean" else None


# --- HTTP -----------------------------------------------------------------------------------


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, connection: Connection, request: h11.Request, body: bytes) -> None:
        target = request.target.decode("ascii", "replace")
        self.method = request.method.decode("ascii")
        self.path = target.partition("?")[0]
        self.headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        self.body = body
        self._connection = connection
        self.status = 0  #: of the answer, 0 while there is none

    async def send(self, status: int, content_type: str, body: bytes) -> None:
        """A whole answer, sized or chunked as Go does it."""
        headers = [("Content-Length", str(len(body)))] if len(body) <= LONGEST_SIZED_BODY else []
        self._head(status, content_type, headers)
        if self.method != "HEAD":
            self._connection.send(h11.Data(data=body))
        self._connection.send(h11.EndOfMessage())
        await self._connection.drain()

    async def json(self, status: int, value: object, content_type: str = JSON) -> None:
        """A whole JSON answer."""
        await self.send(status, content_type, go_json(value))

    def open(self, content_type: str) -> None:
        """Begins an answer that is sent in pieces."""
        self._head(200, content_type, [])

    async def piece(self, data: bytes) -> None:
        """One chunk of the answer, on its way at once."""
        self._connection.send(h11.Data(data=data))
        await self._connection.drain()

    async def line(self, value: object) -> None:
        """One object of a stream, which it opens if need be."""
        if not self.status:
            self.open(NDJSON)
        await self.piece(go_json(value) + b"\n")

    def close(self) -> None:
        """Ends an answer sent in pieces as it should end."""
        if not self.status:
            self.open(NDJSON)
        self._connection.send(h11.EndOfMessage())

    def cut(self) -> None:
        """Closes the connection in the middle of the answer."""
        self._connection.transport.close()

    def reset(self) -> None:
        """Breaks the connection with a TCP reset."""
        self._connection.reset()

    def _head(self, status: int, content_type: str, headers: Iterable[tuple[str, str]]) -> None:
        self.status = status
        kind = [("Content-Type", content_type)] if content_type else []
        date = [("Date", formatdate(usegmt=True))]
        self._connection.send(h11.Response(status_code=status, headers=[*kind, *date, *headers]))


Handler: TypeAlias = Callable[[Exchange], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client's connection; a lost one cancels the request that it carries."""

    transport: asyncio.Transport

    def __init__(self, handler: Handler, connections: set[Connection]) -> None:
        self._handler = handler
        self._connections = connections
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._body: list[bytes] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Joins the set of open connections."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops working for a client that has gone."""
        self._connections.discard(self)
        self._writable.set()
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Takes bytes in and starts on a request once it is whole."""
        self._http.receive_data(data)
        self._advance()

    def pause_writing(self) -> None:
        """Holds back a stream whose client reads slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Lets the stream go on."""
        self._writable.set()

    async def drain(self) -> None:
        """Waits until the client has read enough."""
        await self._writable.wait()

    def send(self, event: h11.Event) -> None:
        """Writes one HTTP event."""
        data = self._http.send(event)
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def reset(self) -> None:
        """Breaks the connection with a TCP reset."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _advance(self) -> None:
        try:
            while self.task is None and self._take(self._http.next_event()):
                pass
        except h11.RemoteProtocolError:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            self.transport.close()

    def _take(self, event: object) -> bool:
        if isinstance(event, h11.Request):
            self._request, self._body = event, []
        elif isinstance(event, h11.Data):
            self._body.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            assert self._request is not None
            exchange = Exchange(self, self._request, b"".join(self._body))
            self.task = asyncio.get_running_loop().create_task(self._handle(exchange))
        elif isinstance(event, h11.ConnectionClosed):
            self.transport.close()
            return False
        elif self._http.they_are_waiting_for_100_continue:
            self.send(h11.InformationalResponse(status_code=100, headers=[]))
            return False
        return event not in (h11.NEED_DATA, h11.PAUSED)

    async def _handle(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        except Exception:
            log.exception("The stand-in failed on %s %s", exchange.method, exchange.path)
            if exchange.status:
                self.reset()
            else:
                await exchange.send(500, "", b"")
        self.task = None
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._advance()
        else:
            self.transport.close()
