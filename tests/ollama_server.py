"""A stand-in for Ollama's server that speaks its protocol, keeps its rules and can fail on demand.

`python -m tests.ollama_server --port 11434` runs it as a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import hashlib
import importlib
import json
import math
import re
import signal
import sqlite3
import sys
import threading
import time
import zlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from tests.ollama_wire import (
    BARE_JSON,
    FOREVER_S,
    JSON,
    TEXT,
    TEXT_UTF8,
    Connection,
    Exchange,
    JsonObject,
    Refusal,
    count_tokens,
    decode_request,
    go_json,
    keep_alive_seconds,
    minimal_instance,
    rfc3339,
    satisfies,
    split_tokens,
)

TOKENS_PER_MESSAGE = 4  #: what the chat template adds to each message
TOKENS_PER_TEXT = 2  #: what the embedder adds to each text
PROMPT_SHARE = 0.3  #: part of a call's latency that passes before the first piece
SHORTEST_GAP_S = 0.04  #: between two pieces of a stream
MOST_PIECES = 20  #: of a stream
ACCEPTED = 4  #: rounds of a loop until a socket that it took in is a connection
RELOADING = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")


# --- models and the mind behind them --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInModel:
    """A model that the server has, or that it could pull."""

    name: str
    capabilities: tuple[str, ...] = ("completion",)
    dimension: int = 0  #: of an embedding
    context_length: int = 40_960  #: that it was trained with
    size: int = 5_200_000_000
    overflow: Literal["rendered", "native"] = "rendered"  #: how it takes too long a prompt
    family: str = "qwen3"

    @property
    def tag(self) -> str:
        """The name with its tag, as the server lists it."""
        return with_tag(self.name)

    @property
    def digest(self) -> str:
        """What tells two models of the same name apart."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


DEFAULT_MODELS = (
    StandInModel(name="qwen3:8b", capabilities=("completion", "thinking")),
    StandInModel(name="llama3.1:8b", context_length=131_072, size=4_900_000_000, family="llama"),
    StandInModel(
        name="bge-m3",
        capabilities=("embedding",),
        dimension=1024,
        context_length=8192,
        size=1_200_000_000,
        family="bert",
    ),
)


def with_tag(name: str) -> str:
    """The name with `:latest` added if it has no tag."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


class Brain(Protocol):
    """What thinks up the answers; called in worker threads, several at a time."""

    def answer(self, messages: list[dict[str, str]], schema: dict[str, Any] | None) -> str:
        """The reply to the last message."""
        ...

    def embed(self, texts: list[str], dimension: int) -> list[list[float]]:
        """One vector per text."""
        ...


class SimpleBrain:
    """Finds capitalised words, echoes questions and hashes words into vectors."""

    _word = re.compile(r"\w+")
    _name = re.compile(r"\b[A-Z]\w+(?: [A-Z]\w+)*")
    _input = re.compile(r"^---Input Text---\n(.*?)(?:^---Output---|\Z)", re.DOTALL | re.MULTILINE)

    def answer(self, messages: list[dict[str, str]], schema: dict[str, Any] | None) -> str:
        """Entities, keywords or an echo, whichever the last message asks for."""
        last = messages[-1]["content"] if messages else ""
        role = guess_role(last)
        if schema is not None and role == "extract":
            sections = self._input.findall(last)
            return json.dumps(self._extract(sections[-1] if sections else ""))
        if role == "keyword":
            return json.dumps(self._keywords(last.rpartition("User Query:")[2]))
        if schema is not None:
            return json.dumps({"answer": last[-200:]})
        return f"You asked: {last[-400:].strip()} This is all there is to say about it."

    def embed(self, texts: list[str], dimension: int) -> list[list[float]]:
        """Sums of a few signed places per word, so that shared words make texts similar."""
        return [self._vector(text, dimension) for text in texts]

    def _extract(self, section: str) -> JsonObject:
        names = list(dict.fromkeys(self._name.findall(section)))[:12]
        entities = [
            {"name": name, "type": "Concept", "description": f"{name} is named in the text."}
            for name in names
        ]
        relationships = [
            {
                "source": first,
                "target": second,
                "keywords": "mention",
                "description": f"{first} is named together with {second}.",
            }
            for first, second in zip(names, names[1:], strict=False)
        ]
        return {"entities": entities, "relationships": relationships}

    def _keywords(self, section: str) -> JsonObject:
        words = self._word.findall(section.partition("---Output---")[0])
        long_words = list(dict.fromkeys(word for word in words if len(word) > 3))
        return {"high_level_keywords": long_words[:3], "low_level_keywords": long_words[3:8]}

    def _vector(self, text: str, dimension: int) -> list[float]:
        vector = [0.0] * dimension
        for word in self._word.findall(text.lower()) or [text]:
            places = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=32).digest()
            for start in range(0, 32, 4):
                number = int.from_bytes(places[start : start + 4])
                vector[(number >> 1) % dimension] += 1.0 if number & 1 else -1.0
        return vector if any(vector) else [1.0] + [0.0] * (dimension - 1)


def guess_role(prompt: str) -> str:
    """Which of LightRAG's roles a prompt plays, by what it asks for; empty if it shows none."""
    if "high_level_keywords" in prompt:
        return "keyword"
    if "---Input Text---" in prompt:
        return "extract"
    if "Description List" in prompt:
        return "summary"
    return "query" if "---Context---" in prompt else ""


class Memo:
    """Remembers answers by digest, the newest in memory and, given a path, all in a file."""

    def __init__(self, path: Path | None, entries: int = 8192) -> None:
        self._recent: OrderedDict[str, str] = OrderedDict()
        self._entries = entries
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        if path is not None:
            self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._file.execute("PRAGMA synchronous = OFF")
            self._file.execute("CREATE TABLE IF NOT EXISTS memo (key TEXT PRIMARY KEY, value TEXT)")

    def recall(self, key: str) -> str | None:
        """What is in memory; quick enough for the server's loop."""
        with self._lock:
            value = self._recent.get(key)
            if value is not None:
                self._recent.move_to_end(key)
            return value

    def read(self, key: str) -> str | None:
        """What is in the file."""
        with self._lock:
            if self._file is None:
                return None
            row = self._file.execute("SELECT value FROM memo WHERE key = ?", (key,)).fetchone()
            return str(row[0]) if row else None

    def keep(self, key: str, value: str, *, write: bool = True) -> None:
        """Remembers the value."""
        with self._lock:
            self._recent[key] = value
            if len(self._recent) > self._entries:
                self._recent.popitem(last=False)
            if write and self._file is not None:
                self._file.execute("INSERT OR REPLACE INTO memo VALUES (?, ?)", (key, value))

    def close(self) -> None:
        """Closes the file; what is in memory stays."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


# --- faults ---------------------------------------------------------------------------------


class Fault(StrEnum):
    """What can be made to go wrong."""

    REFUSE = "refuse"  #: nobody listens, for `seconds` or until `heal()`
    RESET = "reset"  #: TCP reset before any answer
    CUT_STREAM = "cut_stream"  #: connection closed in the middle of a chunked answer
    ERROR_LINE = "error_line"  #: the runner dies mid-answer: error line after a 200
    RUNNER_STOPPED = "runner_stopped"  #: 500 `unexpectedly stopped`; the next call reloads
    OUT_OF_MEMORY = "out_of_memory"  #: 500, out of memory on load
    OLD_OUT_OF_MEMORY = "old_out_of_memory"  #: 500 in the words of servers before 0.30
    LOAD_TIMEOUT = "load_timeout"  #: 500, the load took too long
    QUEUE_FULL = "queue_full"  #: 503 `server busy`
    NO_DONE = "no_done"  #: half the answer, then a clean end without `done:true`
    DONE_FALSE = "done_false"  #: the whole answer, and `done:false` in place of the metrics
    SILENT_CUT = "silent_cut"  #: the prompt was cut: low prompt_eval_count
    CONTEXT_OVERFLOW = "context_overflow"  #: 400 whose error is JSON in a string
    LENGTH_PARTIAL = "length_partial"  #: half the text and done_reason `length`
    EMPTY_STOP = "empty_stop"  #: no text and done_reason `stop`
    EMPTY_LENGTH_THINKING = "empty_length_thinking"  #: thinking only and done_reason `length`
    ENDLESS = "endless"  #: text until 10 times num_ctx
    NAN_EMBEDDING = "nan_embedding"  #: 400 `embedding contains NaN or Inf values`
    OLD_NAN_EMBEDDING = "old_nan_embedding"  #: 500 `unsupported value: NaN`
    ZERO_VECTORS = "zero_vectors"  #: 200 with vectors of zeros
    EMBED_CRASH = "embed_crash"  #: 400 that hides a crashed runner
    WRONG_DIMENSION = "wrong_dimension"  #: vectors of half the length
    OTHER_WEIGHTS = "other_weights"  #: another embedder of that length under the same name
    MODEL_MISSING = "model_missing"  #: 404, as if the model had been deleted
    SLOW_LOAD = "slow_load"  #: an unloaded model whose load takes `seconds` more
    LONG_SILENCE = "long_silence"  #: `seconds` of nothing before the answer
    STALLED_STREAM = "stalled_stream"  #: `seconds` of nothing in the middle of the answer
    CLOUD_UNAUTHORIZED = "cloud_unauthorized"  #: 401 with signin_url
    CLOUD_DISABLED = "cloud_disabled"  #: 403 `ollama cloud is disabled`
    CLOUD_UNREACHABLE = "cloud_unreachable"  #: 502 with a JSON error
    CLOUD_BUSY = "cloud_busy"  #: 429 passed through
    PROXY_HTML = "proxy_html"  #: 502 with an HTML page
    PROXY_FORBIDDEN = "proxy_forbidden"  #: 403 with an empty body
    HTML_OK = "html_ok"  #: 200 with an HTML page
    BROKEN_BODY = "broken_body"  #: 200 whose body is not JSON
    INVALID_JSON = "invalid_json"  #: text that is not the JSON asked for
    FENCED_JSON = "fenced_json"  #: text within a markdown fence
    THINK_IN_CONTENT = "think_in_content"  #: `<think>` in the text itself
    THINKS_ANYWAY = "thinks_anyway"  #: thinking, though it was turned off (gpt-oss knows no off)
    ABSENT_DURATIONS = "absent_durations"  #: no durations
    NEGATIVE_DURATIONS = "negative_durations"  #: the clock jumped back
    WRONG_DIGEST = "wrong_digest"  #: another model under the same tag, in tags and ps
    PULL_ERROR = "pull_error"  #: error line after progress


_HTML = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
    b"<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)
_GENERATION_FAULTS = frozenset(
    "cut_stream error_line no_done done_false silent_cut context_overflow length_partial "
    "empty_stop empty_length_thinking endless stalled_stream invalid_json fenced_json "
    "think_in_content thinks_anyway absent_durations negative_durations".split()
)
_EMBED_FAULTS = frozenset(
    "nan_embedding old_nan_embedding zero_vectors embed_crash wrong_dimension other_weights".split()
)
GENERATE_PATHS = ("/api/chat", "/api/generate")
EMBED_PATHS = ("/api/embed", "/api/embeddings")

#: Faults that are an error answer of the server in place of its work.
_ERRORS: dict[Fault, tuple[int, str]] = {
    Fault.RUNNER_STOPPED: (
        500,
        "model runner has unexpectedly stopped, this may be due to resource limitations or an "
        "internal error, check ollama server logs for details",
    ),
    Fault.OUT_OF_MEMORY: (
        500,
        "llama-server reported out-of-memory during startup: cudaMalloc failed: out of memory",
    ),
    Fault.OLD_OUT_OF_MEMORY: (
        500,
        "model requires more system memory (7.5 GiB) than is available (5.2 GiB)",
    ),
    Fault.LOAD_TIMEOUT: (500, "timed out waiting for llama-server to start - progress 0.42 - "),
    Fault.QUEUE_FULL: (503, "server busy, please try again.  maximum pending requests exceeded"),
    Fault.NAN_EMBEDDING: (400, "embedding contains NaN or Inf values"),
    Fault.OLD_NAN_EMBEDDING: (500, "failed to encode response: json: unsupported value: NaN"),
    Fault.EMBED_CRASH: (
        400,
        'do embedding request: Post "http://127.0.0.1:41234/v1/embeddings": EOF',
    ),
    Fault.CLOUD_DISABLED: (403, "ollama cloud is disabled: remote model is unavailable"),
    Fault.CLOUD_UNREACHABLE: (502, "remote model is unreachable"),
    Fault.CLOUD_BUSY: (429, "you have reached your usage limit, please try again later"),
}
#: Faults whose answer is not Ollama's: status, content type, body.
_FOREIGN: dict[Fault, tuple[int, str, bytes]] = {
    Fault.PROXY_HTML: (502, "text/html", _HTML),
    Fault.PROXY_FORBIDDEN: (403, "", b""),
    Fault.HTML_OK: (200, "text/html", _HTML),
    Fault.BROKEN_BODY: (200, JSON, b'{"model":"qwen3:8b","message":{"role":"assis\n'),
}
#: Of the errors, those that come once the model is loaded and at work.
_LATE_ERRORS = _EMBED_FAULTS | {Fault.RUNNER_STOPPED}
_CRASHES = frozenset({Fault.RUNNER_STOPPED, Fault.EMBED_CRASH})
_BREAKS = (Fault.CUT_STREAM, Fault.ERROR_LINE, Fault.NO_DONE)
_MID_ANSWER_DEATH = "an error was encountered while running the model: unexpected EOF"


def natural_paths(fault: Fault) -> tuple[str, ...]:
    """The endpoints that a fault strikes when none is named."""
    if fault in _GENERATION_FAULTS:
        return GENERATE_PATHS
    if fault in _EMBED_FAULTS:
        return EMBED_PATHS
    if fault is Fault.WRONG_DIGEST:
        return ("/api/tags", "/api/ps")
    return ("/api/pull",) if fault is Fault.PULL_ERROR else GENERATE_PATHS + EMBED_PATHS


@dataclass(slots=True, kw_only=True)
class _Injection:
    fault: Fault
    count: int | None  #: requests still to be struck, None for all
    after: int  #: requests still to be spared
    match: tuple[str, ...]
    containing: str
    seconds: float

    def strikes(self, path: str, body: bytes) -> bool:
        if self.count == 0 or path not in self.match or self.containing.encode() not in body:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.count is not None:
            self.count -= 1
        return True


Faults: TypeAlias = dict[Fault, float]  #: those that strike one request, with their seconds


# --- records --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request for inference that has ended; times are `time.monotonic()`."""

    endpoint: str
    model: str
    role: str  #: LightRAG's, as far as the prompt shows it
    digest: str  #: SHA-256 of all that shapes the answer
    received_s: float
    started_s: float  #: when it got its slot; 0 if it never did
    ended_s: float
    outcome: Literal["done", "disconnected", "error"]
    status: int  #: of the answer, 0 if there was none
    prompt_tokens: int
    output_tokens: int


@dataclass(slots=True, kw_only=True)
class _Visit:
    """What is known of a request while it is worked on."""

    exchange: Exchange
    faults: Faults
    received_s: float
    received_ns: int
    model: str = ""
    role: str = ""
    digest: str = ""
    started_s: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    outcome: Literal["done", "disconnected", "error"] = "error"

    @property
    def path(self) -> str:
        return self.exchange.path

    def record(self) -> Call:
        return Call(
            endpoint=self.path,
            model=self.model,
            role=self.role,
            digest=self.digest,
            received_s=self.received_s,
            started_s=self.started_s,
            ended_s=time.monotonic(),
            outcome=self.outcome,
            status=self.exchange.status,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
        )


# --- scheduling -----------------------------------------------------------------------------


class _Runner:
    """A loaded model."""

    def __init__(self, model: StandInModel, options: JsonObject, slots: int, keep_s: float) -> None:
        self.model = model
        self.options = options
        self.keep_s = keep_s
        self.expires_ns = 0
        self.users = 0
        self.slots = asyncio.Semaphore(slots)
        self.idle = asyncio.Event()
        self.idle.set()
        self.timer: asyncio.TimerHandle | None = None
        self.prompts: deque[str] = deque(maxlen=slots)  #: whose prefixes are in the cache
        self.dead = False

    @property
    def num_ctx(self) -> int:
        return int(self.options["num_ctx"])

    def cached_share(self, prompt: str) -> float:
        """Which part of the prompt is in the prefix cache, from 0 to 1."""
        longest = max((_common_prefix(prompt, earlier) for earlier in self.prompts), default=0)
        self.prompts.append(prompt)
        return longest / max(1, len(prompt))


def _common_prefix(first: str, second: str) -> int:
    # By halving, since comparing slices costs far less than a loop over characters.
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class _Scheduler:
    """Loads, reloads, evicts and expires models as Ollama's scheduler does."""

    def __init__(self, server: OllamaServer) -> None:
        self._server = server
        self.loaded: dict[str, _Runner] = {}
        self._loading = asyncio.Lock()
        self._pending = 0

    @asynccontextmanager
    async def lease(
        self, model: StandInModel, options: JsonObject, keep_s: float | None, faults: Faults
    ) -> AsyncIterator[_Runner]:
        """A loaded model that stays loaded while it is used."""
        if Fault.SLOW_LOAD in faults and model.tag in self.loaded:
            self.unload(model.tag)
        runner = self._fitting(model, options)
        if runner is None:
            runner = await self._queue_for_load(model, options, faults)
        if keep_s is not None:
            runner.keep_s = keep_s
        self._use(runner)
        try:
            yield runner
        finally:
            self._release(runner)

    def unload(self, tag: str) -> None:
        """Forgets the runner; work in it goes on to its end."""
        runner = self.loaded.pop(tag, None)
        if runner is not None and runner.timer is not None:
            runner.timer.cancel()
        self._server.changed()

    def expire(self, tag: str) -> None:
        """Unloads the model once it is idle."""
        runner = self.loaded.get(tag)
        if runner is not None:
            runner.keep_s = 0
            if runner.users == 0:
                self.unload(tag)

    def _fitting(self, model: StandInModel, options: JsonObject) -> _Runner | None:
        runner = self.loaded.get(model.tag)
        fits = runner is not None and runner.options == options and runner.model == model
        return runner if fits else None

    async def _queue_for_load(
        self, model: StandInModel, options: JsonObject, faults: Faults
    ) -> _Runner:
        # One load is under way, the others wait; only these are bounded.
        if self._loading.locked() and self._pending >= self._server.max_queue:
            raise Refusal(*_ERRORS[Fault.QUEUE_FULL])
        self._pending += 1
        waiting = True
        try:
            async with self._loading:
                self._pending -= 1
                waiting = False
                return self._fitting(model, options) or await self._load(model, options, faults)
        finally:
            self._pending -= waiting

    async def _load(self, model: StandInModel, options: JsonObject, faults: Faults) -> _Runner:
        old = self.loaded.get(model.tag)
        if old is not None:
            await self._drop(old)
        while len(self.loaded) >= self._server.max_loaded:
            runners = self.loaded.values()
            await self._drop(min(runners, key=lambda each: (each.users > 0, each.expires_ns)))
        seconds = self._server.load_s + faults.get(Fault.SLOW_LOAD, 0.0)
        if seconds:
            await asyncio.sleep(seconds)
        slots = 1 if "embedding" in model.capabilities else self._server.parallel
        runner = _Runner(model, options, slots, self._server.keep_alive_s)
        self.loaded[model.tag] = runner
        self._server.changed()
        return runner

    async def _drop(self, runner: _Runner) -> None:
        while runner.users:
            await runner.idle.wait()
        if self.loaded.get(runner.model.tag) is runner:
            self.unload(runner.model.tag)

    def _use(self, runner: _Runner) -> None:
        runner.users += 1
        runner.idle.clear()
        runner.expires_ns = time.time_ns() + int(min(runner.keep_s, FOREVER_S) * 1e9)
        if runner.timer is not None:
            runner.timer.cancel()

    def _release(self, runner: _Runner) -> None:
        runner.users -= 1
        runner.expires_ns = time.time_ns() + int(min(runner.keep_s, FOREVER_S) * 1e9)
        current = self.loaded.get(runner.model.tag) is runner
        if runner.dead and current:
            self.unload(runner.model.tag)
        if runner.users:
            return
        runner.idle.set()
        if current and not runner.dead:
            self._schedule_expiry(runner)

    def _schedule_expiry(self, runner: _Runner) -> None:
        tag = runner.model.tag
        if runner.keep_s <= 0:
            self.unload(tag)
        elif runner.keep_s < FOREVER_S:
            loop = asyncio.get_running_loop()
            runner.timer = loop.call_later(min(runner.keep_s, 86_400), self.unload, tag)


# --- requests -------------------------------------------------------------------------------

_OPTION_TYPES = {
    **dict.fromkeys(
        "num_keep seed num_predict top_k repeat_last_n num_ctx num_batch num_gpu main_gpu "
        "num_thread".split(),
        "integer",
    ),
    **dict.fromkeys(
        "top_p min_p typical_p temperature repeat_penalty presence_penalty "
        "frequency_penalty".split(),
        "float32",
    ),
    "use_mmap": "boolean",
    "stop": "array",
}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int, float),
    "float32": (int, float),
    "boolean": (bool,),
    "array": (list,),
}


def check_options(options: JsonObject) -> JsonObject:
    """The known options that are set; unknown ones are ignored."""
    known = {}
    for name, value in options.items():
        kind = _OPTION_TYPES.get(name)
        if kind is None or value is None:
            continue
        if type(value) not in _PYTHON_TYPES[kind]:
            raise Refusal(500, f'option "{name}" must be of type {kind}')
        known[name] = value
    return known


def read_format(value: object) -> JsonObject | None:
    """The schema that the answer must satisfy; None if any text will do."""
    if value is None or value == "":
        return None
    if value == "json":
        return {"type": "object"}
    if isinstance(value, dict):
        return value
    shown = json.dumps(value)
    text = f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
    raise Refusal(500, text)


@dataclass(slots=True, kw_only=True)
class _Ask:
    """A request for text, read and checked."""

    request: JsonObject
    model: StandInModel
    messages: list[dict[str, str]]
    think: bool
    options: JsonObject
    keep_s: float | None

    @property
    def name(self) -> str:
        return str(self.request.get("model", ""))

    @property
    def stream(self) -> bool:
        return bool(self.request.get("stream", True))


@dataclass(slots=True, kw_only=True)
class _Plan:
    """An answer before it is sent."""

    thinking: str
    content: str
    reason: str
    prompt_tokens: int
    output_tokens: int
    cached_share: float
    load_ns: int
    begun_ns: int = 0  #: when the slot was given
    first_ns: int = 0  #: when the first piece was sent
    tokens: list[int] = field(default_factory=list)

    def pieces(self, latency_s: float) -> list[tuple[str, str]]:
        """What to send, each with the field that it belongs to."""
        wanted = max(2, min(MOST_PIECES, int(latency_s / SHORTEST_GAP_S)))
        parts = []
        for name, text in (("thinking", self.thinking), ("content", self.content)):
            tokens = split_tokens(text)
            step = max(1, math.ceil(len(tokens) / wanted))
            parts += [
                (name, "".join(tokens[start : start + step]))
                for start in range(0, len(tokens), step)
            ]
        return parts


_CHAT_FIELDS: dict[str, type] = {"model": str, "messages": list, "stream": bool, "options": dict}
_GENERATE_FIELDS: dict[str, type] = {
    "model": str,
    "prompt": str,
    "system": str,
    "stream": bool,
    "options": dict,
}
_EMBED_FIELDS: dict[str, type] = {
    "model": str,
    "truncate": bool,
    "dimensions": int,
    "options": dict,
}
_MODEL_FIELDS: dict[str, type] = {"model": str, "name": str, "stream": bool}
_MODEL_NAME = re.compile(r"[\w.\-]+(?:/[\w.\-]+){0,3}(?::[\w.\-]+)?")
_EFFORTS = (True, False, "low", "medium", "high", "max")


def _check_think(value: object) -> None:
    if value is None or isinstance(value, bool) or value in _EFFORTS[2:]:
        return
    allowed = 'must be "high", "medium", "low", "max", true, or false'
    raise Refusal(400, f"invalid think value: {json.dumps(value)} ({allowed})")


def _read_messages(request: JsonObject) -> list[dict[str, str]]:
    messages = []
    for message in request.get("messages", []):
        if not isinstance(message, dict):
            text = "json: cannot unmarshal into Go struct field ChatRequest.messages"
            raise Refusal(400, f"{text} of type api.Message")
        content = message.get("content") or ""
        messages.append({"role": str(message.get("role", "")), "content": str(content)})
    return messages


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _half(text: str) -> str:
    tokens = split_tokens(text)
    return "".join(tokens[: len(tokens) // 2])


def _tail(messages: list[dict[str, str]], budget: int) -> list[dict[str, str]]:
    kept: list[dict[str, str]] = []
    for message in reversed(messages):
        tokens = split_tokens(message["content"])[-budget:] if budget > 0 else []
        if tokens:
            kept.insert(0, {**message, "content": "".join(tokens)})
        budget -= len(tokens) + TOKENS_PER_MESSAGE
    return kept


def _encode_vector(vector: Sequence[float]) -> str:
    norm = math.sqrt(sum(number * number for number in vector)) or 1.0
    return "[" + ",".join(f"{number / norm:.8g}" if number else "0" for number in vector) + "]"


async def _sleep_until(monotonic_s: float) -> None:
    remaining = monotonic_s - time.monotonic()
    if remaining > 0:
        await asyncio.sleep(remaining)


# --- the server -----------------------------------------------------------------------------


class OllamaServer:
    """The server on a thread and a loop of its own, from `start()` to `stop()`.

    Latencies, `load_s`, `parallel` and the other plain attributes may be changed at any time.
    """

    in_flight = 0  #: requests for inference received and not ended
    _generating = 0
    _thread: threading.Thread | None = None
    _listener: asyncio.Server | None = None
    _closing: asyncio.Task[None] | None = None

    def __init__(
        self,
        *,
        models: Sequence[StandInModel] = DEFAULT_MODELS,
        pullable: Sequence[StandInModel] = (),
        brain: Brain | None = None,
        latency_s: float = 0.0,
        embed_latency_s: float = 0.0,
        load_s: float = 0.0,
        parallel: int = 1,
        max_queue: int = 512,
        max_loaded: int = 3,
        num_ctx: int = 4096,
        keep_alive_s: float = 300.0,
        pull_s: float = 0.12,
        gpu_share: float = 1.0,
        version: str = "0.33.0",
        port: int = 0,
        memo_path: Path | None = None,
    ) -> None:
        self.brain: Brain = brain or SimpleBrain()
        self.latency_s = latency_s
        self.embed_latency_s = embed_latency_s
        self.load_s = load_s
        self.parallel = parallel
        self.max_queue = max_queue
        self.max_loaded = max_loaded
        self.num_ctx = num_ctx
        self.keep_alive_s = keep_alive_s
        self.pull_s = pull_s
        self.gpu_share = gpu_share
        self.version = version
        self.port = port
        self._scheduler = _Scheduler(self)
        self._models = {model.tag: (model, time.time_ns() + n) for n, model in enumerate(models)}
        self._pullable = {model.tag: model for model in pullable}
        self._memo_path = memo_path
        self._memo = Memo(None)
        self._injections: list[_Injection] = []
        self._calls: list[Call] = []
        self._change = threading.Condition()
        self._connections: set[Connection] = set()
        self._routes = self._make_routes()

    # -- for tests

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls(self) -> list[Call]:
        """The requests for inference that have ended, in the order of their ends."""
        return list(self._calls)

    @property
    def loaded(self) -> tuple[str, ...]:
        """The models in memory."""
        return tuple(self._scheduler.loaded)

    @property
    def generating(self) -> int:
        """How many requests hold a slot."""
        return self._generating

    def __enter__(self) -> OllamaServer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listens; after a `stop()` on the same port, with nothing loaded."""
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="ollama-stand-in", daemon=True
        )
        self._thread.start()
        ready.result(10)

    def stop(self) -> None:
        """Resets every connection and ends the thread; calls and faults are kept."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    def wait_until(self, condition: Callable[[OllamaServer], bool], timeout_s: float = 5.0) -> None:
        """Blocks until the condition holds; it is tried whenever the server's state changes.

        Raises:
            TimeoutError: if it does not come to hold in time.
        """
        with self._change:
            if not self._change.wait_for(lambda: condition(self), timeout_s):
                raise TimeoutError("the stand-in did not come to the state that was waited for")

    def inject(
        self,
        fault: Fault | str,
        count: int | None = 1,
        after: int = 0,
        match: str | Sequence[str] | None = None,
        *,
        containing: str = "",
        seconds: float | None = None,
    ) -> None:
        """Lets the fault strike.

        Args:
            fault: what goes wrong.
            count: how many requests it strikes; None for all until `heal()`.
            after: how many requests it spares first.
            match: the endpoint or endpoints that it strikes, by default those it belongs to.
            containing: a text that the request's body must hold.
            seconds: how long it lasts, for those faults that last; by default 5, and for
                REFUSE until `heal()`.
        """
        fault = Fault(fault)
        paths = natural_paths(fault) if match is None else match
        injection = _Injection(
            fault=fault,
            count=count,
            after=after,
            match=(paths,) if isinstance(paths, str) else tuple(paths),
            containing=json.dumps(containing)[1:-1],
            seconds=(0.0 if fault is Fault.REFUSE else 5.0) if seconds is None else seconds,
        )
        if fault is Fault.REFUSE and after == 0:
            self._on_loop(self._refuse_connections(injection.seconds))
        else:
            self._injections.append(injection)

    def heal(self) -> None:
        """Ends all faults, and listens again."""
        self._injections.clear()
        if self._thread is not None:
            self._on_loop(self._listen())

    def remove_model(self, name: str) -> None:
        """Deletes a model, as `ollama rm` does."""
        self._models.pop(with_tag(name), None)
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._scheduler.expire, with_tag(name))

    def add_model(self, model: StandInModel) -> None:
        """Installs a model, or replaces the one of that name."""
        self._models[model.tag] = (model, time.time_ns())

    def changed(self) -> None:
        """Wakes those who wait for a change of state."""
        with self._change:
            self._change.notify_all()

    # -- life

    def _run(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self.serve(lambda: ready.set_result(None)))
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def serve(self, on_ready: Callable[[], None]) -> None:
        """Serves on the running loop until it is told to stop."""
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._closing = None
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="ollama-stand-in-brain")
        self._memo = Memo(self._memo_path)
        await self._listen()
        on_ready()
        await self._stopping.wait()
        tasks = await self._hang_up()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(cancel_futures=True)
        self._memo.close()
        self._scheduler = _Scheduler(self)

    def request_stop(self) -> None:
        """Lets `serve` return; to be called on its loop."""
        self._stopping.set()

    async def _listen(self) -> None:
        if self._closing is not None:
            await self._closing
        if self._listener is None:
            self._listener = await self._loop.create_server(
                lambda: Connection(self._handle, self._connections),
                "127.0.0.1",
                self.port,
                backlog=512,
            )
            self.port = self._listener.sockets[0].getsockname()[1]

    async def _hang_up(self) -> list[asyncio.Task[None]]:
        if self._listener is not None:
            listener, self._listener = self._listener, None
            self._closing = self._loop.create_task(self._close(listener))
        if self._closing is not None:  # also where the request that asks for it is reset meanwhile
            await asyncio.shield(self._closing)
        tasks = [each.task for each in self._connections if each.task is not None]
        for connection in list(self._connections):
            connection.reset()
        return tasks

    async def _close(self, listener: asyncio.Server) -> None:
        for sock in listener.sockets:
            self._loop.remove_reader(sock.fileno())
        for _ in range(ACCEPTED):
            await asyncio.sleep(0)  # a listener closed before leaves such sockets open
        listener.close()

    async def _refuse_connections(self, seconds: float) -> None:
        await self._hang_up()
        if seconds:
            self._loop.call_later(seconds, lambda: self._background(self._listen()))

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        if threading.current_thread() is self._thread or self._thread is None:
            # The control endpoint answers first, then the listener goes.
            self._loop.call_later(0.05, self._background, work)
        else:
            asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = self._loop.create_task(work)

    # -- dispatch

    def _make_routes(self) -> dict[str, dict[str, Callable[[Exchange, Faults], Awaitable[None]]]]:
        def both(handler: Any) -> dict[str, Any]:
            return {"GET": handler, "HEAD": handler}

        routes: dict[str, dict[str, Any]] = {
            "/": both(self._root),
            "/api/version": both(self._version),
            "/api/tags": both(self._tags),
            "/api/ps": {"GET": self._ps},
            "/api/show": {"POST": self._show},
            "/api/pull": {"POST": self._pull},
            "/api/delete": {"DELETE": self._delete},
            "/_stand_in/calls": {"GET": self._control_calls},
            "/_stand_in/inject": {"POST": self._control_inject},
            "/_stand_in/heal": {"POST": self._control_heal},
            "/_stand_in/set": {"POST": self._control_set},
        }
        inference = (self._chat, self._generate, self._embed, self._embeddings)
        for path, handler in zip(GENERATE_PATHS + EMBED_PATHS, inference, strict=True):
            routes[path] = {"POST": functools.partial(self._visit, handler)}
        return routes

    async def _handle(self, exchange: Exchange) -> None:
        methods = self._routes.get(exchange.path)
        if not _host_allowed(exchange.headers.get("host", "")):
            await exchange.send(403, "", b"")
        elif methods is None:
            await exchange.send(404, TEXT, b"404 page not found")
        elif exchange.method not in methods:
            await exchange.send(405, TEXT, b"405 method not allowed")
        else:
            faults = self._strike(exchange)
            try:
                if not await self._interrupted(exchange, faults):
                    await methods[exchange.method](exchange, faults)
            except Refusal as refusal:
                await exchange.json(refusal.status, refusal.body, refusal.content_type)

    def _strike(self, exchange: Exchange) -> Faults:
        path, body = exchange.path, exchange.body
        return {each.fault: each.seconds for each in self._injections if each.strikes(path, body)}

    async def _interrupted(self, exchange: Exchange, faults: Faults) -> bool:
        """Whether a fault of the connection or of a proxy has taken the server's place."""
        if Fault.LONG_SILENCE in faults and exchange.path not in GENERATE_PATHS + EMBED_PATHS:
            await asyncio.sleep(faults[Fault.LONG_SILENCE])
        if Fault.REFUSE in faults:
            await self._refuse_connections(faults[Fault.REFUSE])
            return True
        if Fault.RESET in faults:
            exchange.reset()
            return True
        for fault in faults:
            if fault in _FOREIGN:
                await exchange.send(*_FOREIGN[fault])
                return True
        return False

    async def _visit(
        self,
        work: Callable[[_Visit], Awaitable[None]],
        exchange: Exchange,
        faults: Faults,
    ) -> None:
        visit = _Visit(
            exchange=exchange,
            faults=faults,
            received_s=time.monotonic(),
            received_ns=time.monotonic_ns(),
        )
        self.in_flight += 1
        self.changed()
        try:
            self._early_error(visit)
            await work(visit)
        except asyncio.CancelledError:
            visit.outcome = "disconnected"
            raise
        except Refusal as refusal:
            await exchange.json(refusal.status, refusal.body, refusal.content_type)
        finally:
            self._calls.append(visit.record())
            self.in_flight -= 1
            self.changed()

    def _early_error(self, visit: _Visit) -> None:
        if Fault.CLOUD_UNAUTHORIZED in visit.faults:
            raise Refusal(401, "unauthorized", signin_url="https://ollama.com/connect?name=x&key=y")
        for fault in visit.faults:
            if fault in _ERRORS and fault not in _LATE_ERRORS:
                raise Refusal(*_ERRORS[fault])

    def _late_error(self, visit: _Visit, runner: _Runner) -> None:
        for fault in visit.faults:
            if fault in _ERRORS and fault in _LATE_ERRORS:
                runner.dead = runner.dead or fault in _CRASHES
                raise Refusal(*_ERRORS[fault])

    @asynccontextmanager
    async def _slot(self, visit: _Visit, runner: _Runner) -> AsyncIterator[None]:
        # As behind another client: the model is loaded, but the turn does not come.
        await asyncio.sleep(visit.faults.get(Fault.LONG_SILENCE, 0.0))
        async with runner.slots:
            visit.started_s = time.monotonic()
            self._generating += 1
            self.changed()
            try:
                yield
            finally:
                self._generating -= 1

    # -- what models there are

    async def _root(self, exchange: Exchange, faults: Faults) -> None:
        await exchange.send(200, TEXT_UTF8, b"Ollama is running")

    async def _version(self, exchange: Exchange, faults: Faults) -> None:
        await exchange.json(200, {"version": self.version})

    async def _tags(self, exchange: Exchange, faults: Faults) -> None:
        newest_first = sorted(self._models.values(), key=lambda entry: -entry[1])
        models = []
        for model, modified_ns in newest_first:
            entry = self._listing(model, faults)
            entry["modified_at"] = rfc3339(modified_ns)
            if not self._older_than(0, 30):
                entry["capabilities"] = list(model.capabilities)
            models.append(entry)
        await exchange.json(200, {"models": models})

    async def _ps(self, exchange: Exchange, faults: Faults) -> None:
        runners = sorted(self._scheduler.loaded.values(), key=lambda each: -each.expires_ns)
        models = []
        for runner in runners:
            entry = self._listing(runner.model, faults)
            entry["expires_at"] = rfc3339(runner.expires_ns)
            entry["size_vram"] = int(runner.model.size * self.gpu_share)
            if not self._older_than(0, 10):
                entry["context_length"] = runner.num_ctx
            models.append(entry)
        await exchange.json(200, {"models": models})

    def _listing(self, model: StandInModel, faults: Faults) -> JsonObject:
        swapped = replace(model, size=model.size + 1)
        digest = swapped.digest if Fault.WRONG_DIGEST in faults else model.digest
        return {
            "name": model.tag,
            "model": model.tag,
            "size": model.size,
            "digest": digest,
            "details": _details(model),
        }

    async def _show(self, exchange: Exchange, faults: Faults) -> None:
        request = decode_request(exchange.body, "ShowRequest", _MODEL_FIELDS)
        name = request.get("model") or request.get("name")
        if not name:
            raise Refusal(400, "model is required")
        entry = self._models.get(with_tag(name))
        if entry is None or Fault.MODEL_MISSING in faults:
            raise Refusal(404, f"model '{with_tag(name)}' not found")
        model, modified_ns = entry
        info: JsonObject = {
            "general.architecture": model.family,
            "general.parameter_count": 8_000_000_000,
            f"{model.family}.context_length": model.context_length,
            f"{model.family}.embedding_length": model.dimension or 4096,
        }
        answer = {
            "modelfile": f'# Modelfile generated by "ollama show"\nFROM {model.tag}\n',
            "parameters": 'stop                           "<|im_end|>"',
            "template": "{{ .Prompt }}",
            "details": _details(model),
            "model_info": info,
            "capabilities": list(model.capabilities),
            "modified_at": rfc3339(modified_ns),
        }
        await exchange.json(200, answer)

    async def _delete(self, exchange: Exchange, faults: Faults) -> None:
        request = decode_request(exchange.body, "DeleteRequest", _MODEL_FIELDS)
        name = request.get("model") or request.get("name") or ""
        if with_tag(name) not in self._models:
            raise Refusal(404, f"model '{name}' not found")
        self.remove_model(name)
        self._scheduler.expire(with_tag(name))
        await exchange.send(200, "", b"")

    async def _pull(self, exchange: Exchange, faults: Faults) -> None:
        request = decode_request(exchange.body, "PullRequest", _MODEL_FIELDS)
        name = request.get("model") or request.get("name")
        if not name:
            raise Refusal(400, "model is required")
        stream = request.get("stream", True)
        last: JsonObject = {}
        async for last in self._pull_steps(with_tag(name), faults):
            if stream:
                await exchange.line(last)
        if stream:
            exchange.close()
        else:
            await exchange.json(500 if "error" in last else 200, last)

    async def _pull_steps(self, tag: str, faults: Faults) -> AsyncIterator[JsonObject]:
        yield {"status": "pulling manifest"}
        model = self._pullable.get(tag) or self._models.get(tag, (None,))[0]
        if model is None:
            yield {"error": "pull model manifest: file does not exist"}
            return
        for size, suffix in ((model.size, "weights"), (1_482, "template"), (96, "params")):
            digest = hashlib.sha256(f"{tag} {suffix}".encode()).hexdigest()
            step = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": size}
            yield step
            parts = max(2, round(self.pull_s / 0.06)) if suffix == "weights" else 2
            for part in range(1, parts + 1):
                await asyncio.sleep(0.06 if suffix == "weights" else 0)
                yield {**step, "completed": size * part // parts}
                if Fault.PULL_ERROR in faults:
                    yield {"error": "max retries exceeded: unexpected EOF"}
                    return
        if tag not in self._models or self._models[tag][0] != model:
            self.add_model(model)
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            yield {"status": status}

    def _older_than(self, *version: int) -> bool:
        return tuple(int(part) for part in self.version.split("-")[0].split(".")) < version

    # -- text

    async def _chat(self, visit: _Visit) -> None:
        request = decode_request(visit.exchange.body, "ChatRequest", _CHAT_FIELDS)
        name = request.get("model", "")
        if not _MODEL_NAME.fullmatch(name):
            raise Refusal(400, "model is required")
        ask = self._read(visit, request, _read_messages(request))
        await self._complete(visit, ask, "chat")

    async def _generate(self, visit: _Visit) -> None:
        request = decode_request(visit.exchange.body, "GenerateRequest", _GENERATE_FIELDS)
        messages = []
        if request.get("prompt"):
            turns = {"system": request.get("system"), "user": request["prompt"]}
            messages = [{"role": role, "content": text} for role, text in turns.items() if text]
        await self._complete(visit, self._read(visit, request, messages), "generate")

    def _read(self, visit: _Visit, request: JsonObject, messages: list[dict[str, str]]) -> _Ask:
        name = request.get("model", "")
        visit.model = name
        _check_think(request.get("think"))
        keep_s = keep_alive_seconds(request.get("keep_alive"))
        options, think = request.get("options", {}), request.get("think")
        visit.digest = _digest(visit.path, name, messages, request.get("format"), think, options)
        if messages:
            ends = (messages[-1]["content"], messages[0]["content"])
            visit.role = guess_role(ends[0]) or guess_role(ends[1])
        model = self._models.get(with_tag(name), (None,))[0]
        if model is None or Fault.MODEL_MISSING in visit.faults:
            raise Refusal(404, f"model '{name}' not found")
        able = "thinking" in model.capabilities and not self._older_than(0, 9)
        return _Ask(
            request=request,
            model=model,
            messages=messages,
            think=able if think is None else bool(think),
            options=options,
            keep_s=keep_s,
        )

    async def _complete(self, visit: _Visit, ask: _Ask, kind: str) -> None:
        if not ask.messages and ask.keep_s == 0:
            self._scheduler.expire(ask.model.tag)
            await self._send_empty(visit, ask, "unload")
            return
        self._check_abilities(ask, kind)
        ask.options = check_options(ask.options)
        wanted = self._runner_options(ask.model, ask.options)
        async with self._scheduler.lease(ask.model, wanted, ask.keep_s, visit.faults) as runner:
            load_ns = max(1, time.monotonic_ns() - visit.received_ns)
            if not ask.messages:
                await self._send_empty(visit, ask, "load")
                return
            try:
                schema = read_format(ask.request.get("format"))
                async with self._slot(visit, runner):
                    await self._think_and_send(visit, ask, runner, schema, load_ns)
            except Refusal as refusal:
                refusal.content_type = BARE_JSON if ask.stream else JSON
                raise

    def _check_abilities(self, ask: _Ask, kind: str) -> None:
        abilities = ask.model.capabilities
        if "completion" not in abilities:
            raise Refusal(400, f'"{ask.name}" does not support {kind}')
        if ask.request.get("tools") and "tools" not in abilities:
            path = f"registry.ollama.ai/library/{ask.model.tag}"
            raise Refusal(400, f"{path} does not support tools")
        if ask.think and "thinking" not in abilities:
            raise Refusal(400, f'"{ask.name}" does not support thinking')

    def _runner_options(self, model: StandInModel, options: JsonObject) -> JsonObject:
        wanted = {name: options.get(name) for name in RELOADING}
        wanted["num_ctx"] = min(int(options.get("num_ctx", self.num_ctx)), model.context_length)
        return wanted

    async def _send_empty(self, visit: _Visit, ask: _Ask, reason: str) -> None:
        answer = self._chunk(visit, ask, "content", "")
        await visit.exchange.json(200, {**answer, "done": True, "done_reason": reason})
        visit.outcome = "done"

    async def _think_and_send(
        self, visit: _Visit, ask: _Ask, runner: _Runner, schema: JsonObject | None, load_ns: int
    ) -> None:
        begun_ns = time.monotonic_ns()
        self._late_error(visit, runner)
        messages, visit.prompt_tokens = self._fit(visit, ask, runner)
        share = runner.cached_share("\n".join(each["content"] for each in messages))
        answer = await self._answer(ask.model, messages, schema)
        plan = self._plan(visit, ask, answer, schema)
        plan.cached_share, plan.load_ns, plan.begun_ns = share, load_ns, begun_ns
        await _sleep_until(begun_ns / 1e9 + PROMPT_SHARE * self.latency_s)
        plan.first_ns = time.monotonic_ns()
        if Fault.ENDLESS in visit.faults:
            await self._rant(visit, ask, runner, plan)
        elif ask.stream:
            await self._send_stream(visit, ask, runner, plan)
        else:
            await self._send_whole(visit, ask, runner, plan)

    def _fit(self, visit: _Visit, ask: _Ask, runner: _Runner) -> tuple[list[dict[str, str]], int]:
        """The messages that the model gets to see, and their tokens."""
        limit = runner.num_ctx
        costs = [count_tokens(each["content"]) + TOKENS_PER_MESSAGE for each in ask.messages]
        kept, total = list(zip(ask.messages, costs, strict=True)), sum(costs)
        while total > limit:
            old = next((turn for turn in kept[:-1] if turn[0]["role"] != "system"), None)
            if old is None:
                break
            kept.remove(old)
            total -= old[1]
        messages = [message for message, _ in kept]
        if Fault.CONTEXT_OVERFLOW in visit.faults or (
            total > limit and ask.model.overflow == "native"
        ):
            raise Refusal(400, _overflow_text(total, limit))
        keep = int(ask.options.get("num_keep", 4))
        cut = limit - (limit - keep) // 2
        if Fault.SILENT_CUT in visit.faults:
            cut = max(1, min(cut, total // 2))
        elif total <= limit:
            return messages, total
        return _tail(messages, cut - keep), cut

    async def _answer(
        self, model: StandInModel, messages: list[dict[str, str]], schema: JsonObject | None
    ) -> str:
        key = _digest(model.tag, messages, schema)
        found = self._memo.recall(key)
        if found is not None:
            return found
        return await self._loop.run_in_executor(
            self._threads, self._think_up, key, messages, schema
        )

    def _think_up(self, key: str, messages: list[dict[str, str]], schema: JsonObject | None) -> str:
        answer = self._memo.read(key)
        fresh = answer is None
        if answer is None:
            answer = self.brain.answer(messages, schema)
            if schema is not None and not satisfies(answer, schema):
                answer = json.dumps(minimal_instance(schema))
        self._memo.keep(key, answer, write=fresh)
        return answer

    def _plan(self, visit: _Visit, ask: _Ask, text: str, schema: JsonObject | None) -> _Plan:
        for stop in ask.options.get("stop", []):
            text = text.partition(str(stop))[0]
        musing = "Let me see what is asked here and what is known about it."
        thinking = musing if ask.think else ""
        if self._older_than(0, 9) and "thinking" in ask.model.capabilities and schema is None:
            text = f"<think>\n{musing}\n</think>\n\n{text}"
        thinking, text, reason = _apply_faults(visit.faults, thinking, text)
        # With a format the model runs twice; only the second run, the text, is counted.
        thought = [] if schema is not None else split_tokens(thinking)
        tokens = split_tokens(text)
        limit = int(ask.options.get("num_predict", -1))
        if 0 < limit < len(thought) + len(tokens):
            reason = "length"
            thinking = "".join(thought[:limit]) if thought else thinking
            tokens = tokens[: max(0, limit - len(thought))]
            thought = thought[:limit]
        visit.output_tokens = len(thought) + len(tokens)
        return _Plan(
            thinking=thinking,
            content="".join(tokens),
            reason=reason,
            prompt_tokens=visit.prompt_tokens,
            output_tokens=visit.output_tokens,
            cached_share=0.0,
            load_ns=1,
        )

    def _chunk(self, visit: _Visit, ask: _Ask, name: str, text: str) -> JsonObject:
        stamp = rfc3339(time.time_ns())
        if visit.path == "/api/generate":
            body = {"response": "" if name == "thinking" else text}
            body |= {"thinking": text} if name == "thinking" else {}
            return {"model": ask.name, "created_at": stamp, **body, "done": False}
        message = {"role": "assistant", "content": "" if name == "thinking" else text}
        message |= {"thinking": text} if name == "thinking" else {}
        return {"model": ask.name, "created_at": stamp, "message": message, "done": False}

    def _ending(self, visit: _Visit, plan: _Plan) -> JsonObject:
        """The fields that only the last object has; those that are zero are left out."""
        now = time.monotonic_ns()
        uncached = max(0.01, 1 - plan.cached_share)
        durations = {
            "total_duration": now - visit.received_ns,
            "load_duration": plan.load_ns,
            "prompt_eval_count": plan.prompt_tokens,
            "prompt_eval_duration": max(1, int((plan.first_ns - plan.begun_ns) * uncached)),
            "eval_count": plan.output_tokens,
            "eval_duration": max(1, now - plan.first_ns),
        }
        for name in [each for each in durations if each.endswith("duration")]:
            if Fault.ABSENT_DURATIONS in visit.faults:
                del durations[name]
            elif Fault.NEGATIVE_DURATIONS in visit.faults:
                durations[name] *= -1
        ending: JsonObject = {"done": True, "done_reason": plan.reason}
        if visit.path == "/api/generate":
            tokens = split_tokens(plan.content)
            ending["context"] = [zlib.crc32(token.encode()) % 151_936 for token in tokens]
        return ending | {name: value for name, value in durations.items() if value}

    async def _send_stream(self, visit: _Visit, ask: _Ask, runner: _Runner, plan: _Plan) -> None:
        exchange, faults = visit.exchange, visit.faults
        pieces = plan.pieces(self.latency_s)
        half = (len(pieces) + 1) // 2
        broken = next((fault for fault in _BREAKS if fault in faults), None)
        first_s, last_s = plan.first_ns / 1e9, plan.begun_ns / 1e9 + self.latency_s
        gap_s = max(0.0, last_s - first_s) / max(1, len(pieces))
        for number, (name, text) in enumerate(pieces[:half] if broken else pieces):
            await _sleep_until(first_s + number * gap_s)
            if number == half and Fault.STALLED_STREAM in faults:
                await asyncio.sleep(faults[Fault.STALLED_STREAM])
            await exchange.line(self._chunk(visit, ask, name, text))
        if broken is Fault.CUT_STREAM:
            exchange.cut()
            return
        if broken is Fault.ERROR_LINE:
            runner.dead = True
            await exchange.line({"error": _MID_ANSWER_DEATH})
        elif broken is None and Fault.DONE_FALSE not in faults:
            await _sleep_until(last_s)
            last = self._chunk(visit, ask, "content", "") | self._ending(visit, plan)
            await exchange.line(last)
            visit.outcome = "done"
        exchange.close()

    async def _send_whole(self, visit: _Visit, ask: _Ask, runner: _Runner, plan: _Plan) -> None:
        exchange, faults = visit.exchange, visit.faults
        if Fault.STALLED_STREAM in faults:
            await asyncio.sleep(faults[Fault.STALLED_STREAM])
        await _sleep_until(plan.begun_ns / 1e9 + self.latency_s)
        if Fault.ERROR_LINE in faults:
            runner.dead = True
            raise Refusal(500, _MID_ANSWER_DEATH)
        aborted = Fault.NO_DONE in faults
        answer = self._chunk(
            visit, ask, "content", _half(plan.content) if aborted else plan.content
        )
        if plan.thinking:
            holder = answer if visit.path == "/api/generate" else answer["message"]
            holder["thinking"] = plan.thinking
        if not aborted and Fault.DONE_FALSE not in faults:
            answer |= self._ending(visit, plan)
            visit.outcome = "done"
        if Fault.CUT_STREAM in faults:
            visit.outcome = "error"
            exchange.open(JSON)
            whole = go_json(answer)
            await exchange.piece(whole[: len(whole) // 2])
            exchange.cut()
        else:
            await exchange.json(200, answer)

    async def _rant(self, visit: _Visit, ask: _Ask, runner: _Runner, plan: _Plan) -> None:
        """Text without an end, as fast as a good card makes it, until the server's own limit."""
        limit = int(ask.options.get("num_predict", -1))
        limit = limit if limit > 0 else 10 * runner.num_ctx
        said = []
        for start in range(0, limit, 50):
            await asyncio.sleep(0.01)
            words = (f" w{number}" for number in range(start, min(start + 50, limit)))
            said.append("".join(words))
            if ask.stream:
                await visit.exchange.line(self._chunk(visit, ask, "content", said[-1]))
        visit.output_tokens = plan.output_tokens = limit
        plan.reason, plan.thinking = "length", ""
        plan.content = "" if ask.stream else "".join(said)
        visit.outcome = "done"
        last = self._chunk(visit, ask, "content", plan.content) | self._ending(visit, plan)
        if ask.stream:
            await visit.exchange.line(last)
            visit.exchange.close()
        else:
            await visit.exchange.json(200, last)

    # -- vectors

    async def _embed(self, visit: _Visit) -> None:
        request = decode_request(visit.exchange.body, "EmbedRequest", _EMBED_FIELDS)
        given = request.get("input", [])
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            raise Refusal(400, "invalid input type")
        if not _MODEL_NAME.fullmatch(request.get("model", "")):
            raise Refusal(400, "invalid model name")
        wanted = 0 if self._older_than(0, 11, 11) else request.get("dimensions", 0)
        async with self._embedder(visit, request, texts if given else []) as (runner, load_ns):
            if not given:
                await visit.exchange.json(200, {"model": visit.model, "embeddings": []})
                visit.outcome = "done"
                return
            texts = self._cut_texts(visit, runner, texts, request.get("truncate", True))
            vectors = await self._work_out(visit, runner, texts, wanted)
            metrics = {
                "total_duration": time.monotonic_ns() - visit.received_ns,
                "load_duration": load_ns,
                "prompt_eval_count": visit.prompt_tokens,
            }
            start = go_json({"model": visit.model}).rstrip(b"}")
            joined = ",".join(vectors).encode()
            body = start + b',"embeddings":[' + joined + b"]," + go_json(metrics)[1:]
            await visit.exchange.send(200, JSON, body)
            visit.outcome = "done"

    async def _embeddings(self, visit: _Visit) -> None:
        fields = {"model": str, "prompt": str, "options": dict}
        request = decode_request(visit.exchange.body, "EmbeddingRequest", fields)
        if not _MODEL_NAME.fullmatch(request.get("model", "")):
            raise Refusal(400, "model is required")
        texts = [request["prompt"]] if request.get("prompt") else []
        async with self._embedder(visit, request, texts) as (runner, _):
            vectors = ["[]"]
            if texts:
                try:
                    texts = self._cut_texts(visit, runner, texts, truncate=False)
                    vectors = await self._work_out(visit, runner, texts, 0)
                except Refusal as refusal:
                    refusal.status = 500
                    raise
            await visit.exchange.send(200, JSON, b'{"embedding":' + vectors[0].encode() + b"}")
            visit.outcome = "done"

    @asynccontextmanager
    async def _embedder(
        self, visit: _Visit, request: JsonObject, texts: list[str]
    ) -> AsyncIterator[tuple[_Runner, int]]:
        """The loaded embedder of a request, and how long it took to get it."""
        name = visit.model = request["model"]
        options, size = request.get("options", {}), request.get("dimensions")
        visit.digest = _digest(visit.path, name, texts, size, request.get("truncate"), options)
        visit.role = "embed"
        model = self._models.get(with_tag(name), (None,))[0]
        if model is None or Fault.MODEL_MISSING in visit.faults:
            raise Refusal(404, f'model "{name}" not found, try pulling it first')
        keep_s = keep_alive_seconds(request.get("keep_alive"))
        wanted = self._runner_options(model, check_options(options))
        async with self._scheduler.lease(model, wanted, keep_s, visit.faults) as runner:
            load_ns = max(1, time.monotonic_ns() - visit.received_ns)
            if "embedding" not in model.capabilities:
                text = "This server does not support embeddings. Start it with `--embeddings`"
                raise Refusal(501, text)
            yield runner, load_ns

    def _cut_texts(
        self, visit: _Visit, runner: _Runner, texts: list[str], truncate: bool
    ) -> list[str]:
        room = min(runner.num_ctx, runner.model.context_length) - TOKENS_PER_TEXT
        counts = [count_tokens(text) for text in texts]
        if max(counts) > room and not truncate:
            raise Refusal(400, "the input length exceeds the context length")
        visit.prompt_tokens = sum(min(count, room) + TOKENS_PER_TEXT for count in counts)
        return [
            text if count <= room else "".join(split_tokens(text)[:room])
            for text, count in zip(texts, counts, strict=True)
        ]

    async def _work_out(
        self, visit: _Visit, runner: _Runner, texts: list[str], dimensions: int
    ) -> list[str]:
        """The vectors as JSON, once the embedder has had its time."""
        async with self._slot(visit, runner):
            begun_s = time.monotonic()
            self._late_error(visit, runner)
            native = runner.model.dimension
            size = dimensions if 0 < dimensions < native else native
            if Fault.WRONG_DIMENSION in visit.faults:
                size //= 2
            if Fault.OTHER_WEIGHTS in visit.faults:
                texts = [text[::-1] for text in texts]
            keys = [_digest(runner.model.tag, native, size, text) for text in texts]
            vectors = {key: self._memo.recall(key) for key in keys}
            missing = {k: t for k, t in zip(keys, texts, strict=True) if vectors[k] is None}
            if missing:
                vectors |= await self._loop.run_in_executor(
                    self._threads, self._vectors, missing, native, size
                )
            await _sleep_until(begun_s + self.embed_latency_s)
            if Fault.ZERO_VECTORS in visit.faults:
                return ["[" + ",".join("0" * size) + "]"] * len(texts)
            return [vectors[key] or "" for key in keys]

    def _vectors(self, texts: dict[str, str], native: int, size: int) -> dict[str, str]:
        found = {key: vector for key in texts if (vector := self._memo.read(key)) is not None}
        unknown = [key for key in texts if key not in found]
        fresh: dict[str, str] = {}
        if unknown:
            made = self.brain.embed([texts[key] for key in unknown], native)
            pairs = zip(unknown, made, strict=True)
            fresh = {key: _encode_vector(vector[:size]) for key, vector in pairs}
        for key, vector in (found | fresh).items():
            self._memo.keep(key, vector, write=key in fresh)
        return found | fresh

    # -- control from another process

    async def _control_calls(self, exchange: Exchange, faults: Faults) -> None:
        by_endpoint: dict[str, int] = {}
        for call in self._calls:
            by_endpoint[call.endpoint] = by_endpoint.get(call.endpoint, 0) + 1
        answer = {
            "count": len(self._calls),
            "by_endpoint": by_endpoint,
            "in_flight": self.in_flight,
            "generating": self._generating,
            "loaded": self.loaded,
            "calls": [asdict(call) for call in self._calls],
        }
        await exchange.json(200, answer)

    async def _control_inject(self, exchange: Exchange, faults: Faults) -> None:
        try:
            self.inject(**json.loads(exchange.body))
        except (TypeError, ValueError) as error:
            raise Refusal(400, str(error)) from error
        await exchange.json(200, {"injected": len(self._injections)})

    async def _control_heal(self, exchange: Exchange, faults: Faults) -> None:
        self._injections.clear()
        await exchange.json(200, {"injected": 0})

    async def _control_set(self, exchange: Exchange, faults: Faults) -> None:
        request = json.loads(exchange.body or b"{}")
        for name, value in request.items():
            if name == "forget_calls":
                self._calls.clear()
            elif name in _SETTABLE:
                setattr(self, name, _SETTABLE[name](value))
            else:
                raise Refusal(400, f"cannot set {name}; known are {sorted(_SETTABLE)}")
        await exchange.json(200, {name: getattr(self, name) for name in _SETTABLE})


_SETTABLE: dict[str, Callable[[Any], Any]] = {
    "latency_s": float,
    "embed_latency_s": float,
    "load_s": float,
    "parallel": int,
    "max_queue": int,
    "max_loaded": int,
    "num_ctx": int,
    "keep_alive_s": float,
    "pull_s": float,
    "gpu_share": float,
    "version": str,
}


def _host_allowed(header: str) -> bool:
    host = header.rpartition(":")[0] if re.search(r":\d+$", header) else header
    host = host.strip("[]").lower()
    if host in ("", "localhost", "::1", "0.0.0.0", "host.docker.internal"):
        return True
    private = r"127\.\d+\.\d+\.\d+|10\.\d+\.\d+\.\d+|192\.168\.\d+\.\d+"
    return bool(re.fullmatch(private, host)) or host.endswith((".localhost", ".local", ".internal"))


def _details(model: StandInModel) -> JsonObject:
    details: JsonObject = {
        "parent_model": "",
        "format": "gguf",
        "family": model.family,
        "families": [model.family],
        "parameter_size": "8.2B",
        "quantization_level": "Q4_K_M",
        "context_length": model.context_length,
    }
    return details | ({"embedding_length": model.dimension} if model.dimension else {})


def _overflow_text(tokens: int, limit: int) -> str:
    sizes = f"request ({tokens} tokens) exceeds the available context size ({limit} tokens)"
    error = {
        "code": 400,
        "message": f"{sizes}, try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": tokens,
        "n_ctx": limit,
    }
    return json.dumps({"error": error}, separators=(",", ":"))


def _apply_faults(faults: Faults, thinking: str, text: str) -> tuple[str, str, str]:
    """Thinking, text and done_reason as the faults leave them."""
    if Fault.LENGTH_PARTIAL in faults:
        return thinking, _half(text), "length"
    if Fault.EMPTY_STOP in faults:
        return thinking, "", "stop"
    if Fault.EMPTY_LENGTH_THINKING in faults:
        return "Wait, there may be more to it. " * 20, "", "length"
    if Fault.INVALID_JSON in faults:
        text = text.rstrip()[:-1] + ',, "and": }'
    if Fault.FENCED_JSON in faults:
        text = f"```json\n{text}\n```"
    if Fault.THINK_IN_CONTENT in faults:
        text = f"<think>\nLet me see what is asked here.\n</think>\n\n{text}"
    if Fault.THINKS_ANYWAY in faults:
        thinking = "Let me see what is asked here."
    return thinking, text, "stop"


# --- as a process ---------------------------------------------------------------------------


def _named_models(text: str) -> tuple[StandInModel, ...]:
    llm = next(each for each in DEFAULT_MODELS if "thinking" in each.capabilities)
    embedder = next(each for each in DEFAULT_MODELS if each.dimension)
    known = {model.tag: model for model in DEFAULT_MODELS}
    models = []
    for item in text.split(","):
        kind, _, name = item.partition("=")
        if kind not in ("llm", "embed") or not name:
            raise ValueError(f"expected llm=NAME or embed=NAME, not {item!r}")
        template = known.get(with_tag(name), llm if kind == "llm" else embedder)
        models.append(replace(template, name=name))
    return tuple(models)


def _named_brain(text: str) -> Brain:
    module, _, attribute = text.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    brain: Brain = found() if isinstance(found, type) else found
    return brain


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--embed-latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--load", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--num-ctx", type=int, default=4096)
    parser.add_argument("--models", type=_named_models, default=DEFAULT_MODELS)
    parser.add_argument("--brain", type=_named_brain, metavar="MODULE:ATTRIBUTE")
    parser.add_argument("--memo", type=Path, metavar="FILE")
    return parser.parse_args()


async def _main() -> None:
    given = _arguments()
    server = OllamaServer(
        models=given.models,
        brain=given.brain,
        latency_s=given.latency,
        embed_latency_s=given.embed_latency,
        load_s=given.load,
        parallel=given.parallel,
        num_ctx=given.num_ctx,
        port=given.port,
        memo_path=given.memo,
    )
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, server.request_stop)

    def ready() -> None:
        sys.stdout.write(f"listening on {server.url}\n")
        sys.stdout.flush()

    await server.serve(ready)


if __name__ == "__main__":
    asyncio.run(_main())
