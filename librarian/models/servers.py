"""What an Ollama server says of itself and of its models, how it gets one, and how fast one is."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import anyio
import httpx

from librarian.errors import ModelError, TruncatedAnswer
from librarian.models.faults import error_for, translated
from librarian.models.ollama import (
    CONNECT_TIMEOUT_S,
    KEEP_ALIVE,
    PROBE_TIMEOUT_S,
    is_loopback,
    tagged,
)

PULL_SILENCE_S = 600.0  # checking a large file's sum is silent, for minutes on a slow disk
_NS = 1e9
_PULL_REMEDIES = (
    (r"file does not exist|invalid model name|not found", "Check the name at ollama.com/search."),
    (r"no space|disk quota|disk is full", "Free space on the server's disk, then pull again: what "
     "has arrived is kept."),
    (r"newer version", "Update Ollama, then pull again."),
    (r"no such host|dial tcp|lookup |unreachable|refused", "The server does not reach the "
     "registry of models. Connect it to the Internet, or copy its models folder from a machine "
     "that has the model."),
    (r"unauthorized|forbidden|\b40[13]\b", "The registry does not give it away freely: choose "
     "another model."),
    (r"", "Pull again: what has arrived is kept. If it comes back, the server's log says more."),
)  # fmt: skip


class PullFailed(ModelError):
    # No docstring: the remedy depends on what the server said.
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A model on the server's disk."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model in the server's memory."""

    name: str
    bytes: int
    gpu_bytes: int
    context: int  #: tokens; 0 where the server is too old to say

    @property
    def gpu_share(self) -> float:
        """How much of it the GPU holds, from 0 to 1."""
        return min(1.0, self.gpu_bytes / self.bytes) if self.bytes else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the server knows of a model. Zero is unknown."""

    capabilities: frozenset[str] | None  #: None where the server is too old to say
    context: int  #: tokens that it was trained with
    dimension: int  #: of its vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a server said at one moment. None stands for what it did not say."""

    version: str | None = None
    trouble: str = ""  #: why there is no version
    listed: tuple[Listed, ...] | None = None
    loaded: tuple[Loaded, ...] | None = None
    shown: Mapping[str, Shown] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether a model is on its disk."""
        return any(each.name == tagged(name) for each in self.listed or ())

    def runner(self, name: str) -> Loaded | None:
        """A model as it is in memory now."""
        return next((each for each in self.loaded or () if each.name == tagged(name)), None)


async def survey(host: str, names: Sequence[str]) -> Server:
    """What a server says of itself and of these models, asked at once, within two seconds."""
    said: dict[str, dict[str, Any] | str] = {}
    async with _client(host, httpx.Timeout(PROBE_TIMEOUT_S)) as client:

        async def ask(key: str, method: str, path: str, body: object = None) -> None:
            said[key] = await _said(client, method, path, body)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "version", "GET", "/api/version")
            tasks.start_soon(ask, "tags", "GET", "/api/tags")
            tasks.start_soon(ask, "ps", "GET", "/api/ps")
            for name in names:
                tasks.start_soon(ask, f"show {name}", "POST", "/api/show", {"model": name})
    version = said["version"]
    if isinstance(version, str) or not isinstance(version.get("version"), str):
        trouble = version if isinstance(version, str) else f"What answers at {host} is not Ollama."
        return Server(trouble=trouble)
    shown = {name: _shown(said[f"show {name}"]) for name in names}
    return Server(
        version=version["version"],
        listed=_rows(said["tags"], _listed),
        loaded=_rows(said["ps"], _loaded),
        shown={name: each for name, each in shown.items() if each is not None},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far a pull is, over all files of the model that it has come to."""

    status: str
    done: int = 0  #: bytes
    total: int = 0


async def pull(host: str, model: str, heard: Callable[[Step], None]) -> None:
    """Has the server get a model; cancelling ends that, and what has arrived is kept.

    Raises:
        ModelError: it could not be got; the reason and a remedy.
    """
    layers: dict[str, tuple[int, int]] = {}
    status = ""
    limits = httpx.Timeout(PULL_SILENCE_S, connect=CONNECT_TIMEOUT_S)
    with translated(model):
        try:
            async with aclosing(_rows_of(host, limits, "/api/pull", {"model": model})) as rows:
                async for row in rows:
                    if "error" in row:
                        raise _pull_failed(model, str(row["error"]))
                    status = str(row.get("status", ""))
                    if total := _whole(row, "total"):
                        layers[str(row.get("digest"))] = (_whole(row, "completed"), total)
                    done = sum(each for each, _ in layers.values())
                    heard(Step(status=status, done=done, total=sum(t for _, t in layers.values())))
        except httpx.ReadTimeout as exc:
            raise _pull_failed(model, f"silent for {PULL_SILENCE_S / 60:.0f} minutes") from exc
        except (httpx.ReadError, httpx.RemoteProtocolError) as exc:
            raise _pull_failed(model, "Ollama was stopped meanwhile") from exc
    if status != "success":
        raise _pull_failed(model, "the server ended without a word of success")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """An answer by its times. Moments are of the monotonic clock, durations are the server's."""

    begun_s: float
    first_s: float = 0.0  #: of the first piece; 0 where none came
    ended_s: float
    whole: bool = False  #: it ended by itself, so that there are counts and durations
    pieces: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    load_s: float = 0.0
    prompt_s: float = 0.0
    output_s: float = 0.0
    total_s: float = 0.0


async def timed(host: str, request: Mapping[str, Any], limit_s: float) -> Timed:
    """Asks for an answer and measures it; after `limit_s` it is broken off.

    Raises:
        ModelError: the server cannot answer.
    """
    model = str(request["model"])
    body = {"keep_alive": KEEP_ALIVE, **request, "stream": True}
    begun, first, pieces, last = monotonic(), 0.0, 0, dict[str, Any]()
    limits = httpx.Timeout(limit_s + CONNECT_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    with translated(model), anyio.move_on_after(limit_s):
        async with aclosing(_rows_of(host, limits, "/api/chat", body)) as rows:
            async for row in rows:
                if "error" in row:
                    raise error_for(str(row["error"]), -1, model)
                first, last = first or monotonic(), row
                pieces += not row.get("done")
        if not last.get("done"):
            raise TruncatedAnswer("The stream ended without its last line.")
    if not last.get("done"):
        return Timed(begun_s=begun, first_s=first, ended_s=monotonic(), pieces=pieces)
    return Timed(
        begun_s=begun,
        first_s=first,
        ended_s=monotonic(),
        whole=True,
        pieces=pieces,
        prompt_tokens=_whole(last, "prompt_eval_count"),
        output_tokens=_whole(last, "eval_count"),
        load_s=_whole(last, "load_duration") / _NS,
        prompt_s=_whole(last, "prompt_eval_duration") / _NS,
        output_s=_whole(last, "eval_duration") / _NS,
        total_s=_whole(last, "total_duration") / _NS,
    )


def _client(host: str, limits: httpx.Timeout) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=host,
        timeout=limits,
        trust_env=not is_loopback(host),
        verify=host.startswith("https:"),  # loading certificates takes longer than a question
    )


async def _said(
    client: httpx.AsyncClient, method: str, path: str, body: object
) -> dict[str, Any] | str:
    """An answer, or a sentence on why there is none."""
    host = str(client.base_url).rstrip("/")
    with anyio.move_on_after(
        PROBE_TIMEOUT_S
    ):  # httpx's own limit is for each wait, and not for names
        try:
            answer = await client.request(method, path, json=body)
            answer.raise_for_status()
            found = answer.json()
        except httpx.HTTPStatusError as exc:
            return f"What answers at {host} refuses, with status {exc.response.status_code}."
        except httpx.TimeoutException:
            return f"{host} gave no answer within {PROBE_TIMEOUT_S:.0f} s."
        except httpx.HTTPError:
            return f"Nothing answers at {host}."
        except ValueError:
            found = None
        return found if isinstance(found, dict) else f"What answers at {host} is not Ollama."
    return f"{host} gave no answer within {PROBE_TIMEOUT_S:.0f} s."


async def _rows_of(
    host: str, limits: httpx.Timeout, path: str, body: Mapping[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    """The objects of a streamed answer as they come."""
    async with (
        _client(host, limits) as client,
        client.stream("POST", path, json=dict(body)) as answer,
    ):
        if answer.is_error:
            text = (await answer.aread()).decode("utf-8", "replace")
            with suppress(ValueError, TypeError, KeyError):
                text = str(json.loads(text)["error"])
            raise error_for(text, answer.status_code, str(body["model"]))
        async for line in answer.aiter_lines():
            if line:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise TypeError("not an object")
                yield row


def _pull_failed(model: str, said: str) -> PullFailed:
    shown = " ".join(said.split())[:300].rstrip(".")
    remedy = next(text for pattern, text in _PULL_REMEDIES if re.search(pattern, said, re.I))
    return PullFailed(f"{model} was not pulled: {shown}. {remedy}")


def _rows(said: dict[str, Any] | str, read: Callable[[dict[str, Any]], Any]) -> Any:
    try:
        return None if isinstance(said, str) else tuple(read(each) for each in said["models"])
    except (KeyError, TypeError, AttributeError):
        return None


def _listed(row: dict[str, Any]) -> Listed:
    return Listed(name=tagged(str(row["name"])), bytes=_whole(row, "size"))


def _loaded(row: dict[str, Any]) -> Loaded:
    return Loaded(
        name=tagged(str(row["name"])),
        bytes=_whole(row, "size"),
        gpu_bytes=_whole(row, "size_vram"),
        context=_whole(row, "context_length"),
    )


def _shown(said: dict[str, Any] | str) -> Shown | None:
    if isinstance(said, str):
        return None
    info, able = said.get("model_info"), said.get("capabilities")
    info = info if isinstance(info, dict) else {}

    def number(ending: str) -> int:
        return next((_whole(info, key) for key in info if key.endswith(ending)), 0)

    return Shown(
        capabilities=frozenset(map(str, able)) if isinstance(able, list) else None,
        context=number(".context_length"),
        dimension=number(".embedding_length"),
    )


def _whole(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key)
    return max(0, value) if isinstance(value, int) else 0
