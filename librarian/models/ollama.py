"""Ollama: one client, answers streamed inside, nothing incomplete accepted.

The protocol and its faults: https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from librarian.errors import (
    EndlessAnswer,
    PromptTooLong,
    TruncatedAnswer,
)
from librarian.models.client import ollama
from librarian.models.embedding import PROBE, checked, recognised
from librarian.models.faults import translated
from librarian.models.protocol import Completion, Heard, ModelCard, Prompt, Remark, Vectors
from librarian.settings import is_local

KEEP_ALIVE = "30m"  # a book's pauses (merging, saving) must not unload the model
CONNECT_TIMEOUT_S = 10.0
# Loading a model and waiting behind other clients are silent, for minutes; only a connection
# whose server vanished without a word is ended by this.
SILENCE_TIMEOUT_S = 3600.0
PROBE_TIMEOUT_S = 2.0
PROMPT_TOKENS = 3072  # of an extraction: LightRAG's words and a chunk of 1,200 tokens
LOADED_S = 0.5  # a model that was in memory answers `load_duration` in milliseconds
_KEPT_TOKENS = 4  # Ollama's num_keep: head tokens that survive its silent cut
_NS = 1e9


class OllamaModel:
    """A language model and an embedder of one Ollama server."""

    def __init__(
        self,
        *,
        host: str,
        llm: str,
        embed: str,
        num_ctx: int,
        dimension: int = 0,
        fingerprint: tuple[float, ...] = (),
    ) -> None:
        """Makes the client; call it on the loop that will use it.

        `dimension` and `fingerprint` are what vectors made before had, where there are some.
        """
        self._options = options_of(num_ctx)
        self._card = ModelCard(
            backend="ollama",
            llm=llm,
            embed=embed,
            host=host,
            dimension=dimension,
            options=json.dumps(self._options, sort_keys=True),
            fingerprint=fingerprint,
        )
        timeout = httpx.Timeout(SILENCE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        trusted = not is_loopback(host)
        self._client = ollama.AsyncClient(host=host, timeout=timeout, trust_env=trusted)
        self._http = httpx.AsyncClient(
            base_url=host, timeout=timeout, trust_env=trusted, follow_redirects=True
        )
        self._thinks: bool | None = None
        self._context: int | None = None  # tokens that the loaded model really holds
        self._recognised = False  # whether the loaded embedder is the one of before

    @property
    def card(self) -> ModelCard:
        """Names, host and embedding dimension (0 until `prepare`)."""
        return self._card

    async def prepare(self) -> None:
        """Learns the embedding dimension where it is not known yet, by embedding a word.

        Raises:
            ModelError: the server or the model is not there.
        """
        if not self._card.dimension:
            await self._recognise()

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        """See `Model.complete`. Cancelling it ends the request at the server."""
        with translated(self._card.llm):
            thinks = await self._can_think()
            pieces: list[str] = []
            thought = False
            final: Any = None
            async with _closing(await self._chat(prompt, thinks)) as parts:
                async for part in parts:
                    if part.message.content:
                        pieces.append(part.message.content)
                        if heard is not None:
                            heard(part.message.content)
                    elif heard is not None:
                        heard("")
                    thought = thought or bool(part.message.thinking)
                    final = part
            if self._context is None:
                self._context = await self._loaded_context()
        answer = self._checked("".join(pieces), final)
        return replace(answer, remarks=(Remark.THOUGHT,)) if thought else answer

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Model.embed`.

        Raises:
            ModelUnsuitable: another model has taken the embedder's name.
        """
        if not self._recognised:
            await self._recognise()
        vectors, load_s = await self._embedded(texts)
        if load_s > LOADED_S:  # what is loaded now may have been pulled meanwhile
            await self._recognise()
        return vectors

    async def _recognise(self) -> None:
        """Sees to it that vectors of two models never mix, not even under one name."""
        self._recognised = False
        vectors, _ = await self._embedded([PROBE])
        seen = recognised(vectors, self._card.fingerprint, self._card.embed)
        if seen != self._card.fingerprint:
            self._card = replace(self._card, dimension=vectors.shape[1], fingerprint=seen)
        self._recognised = True

    async def _embedded(self, texts: Sequence[str]) -> tuple[Vectors, float]:
        request = {"model": self._card.embed, "input": list(texts), "keep_alive": KEEP_ALIVE}
        with translated(self._card.embed):
            # The client would check each of 64,000 numbers by itself, in Python.
            answer = await self._http.post("/api/embed", json=request)
            if answer.is_error:
                raise ollama.ResponseError(answer.text, answer.status_code)
            said = orjson.loads(answer.content)
            rows, load_s = said["embeddings"], _seconds(said.get("load_duration"))
        card = self._card
        return checked(rows, texts, name=card.embed, dimension=card.dimension), load_s

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.close()
        await self._http.aclose()

    async def _chat(self, prompt: Prompt, thinks: bool) -> AsyncIterator[Any]:
        parts: AsyncIterator[Any] = await self._client.chat(
            model=self._card.llm,
            messages=[{"role": m.role, "content": m.content} for m in prompt.messages],
            stream=True,
            format=dict(prompt.schema) if prompt.schema else None,
            options=self._options,
            keep_alive=KEEP_ALIVE,
            think=False if thinks else None,
        )
        return parts

    async def _can_think(self) -> bool:
        """Whether thinking must be turned off; unset, Ollama turns it on where it can."""
        if self._thinks is None:
            shown = await self._client.show(self._card.llm)
            self._thinks = "thinking" in (shown.capabilities or ())
        return self._thinks

    async def _loaded_context(self) -> int:
        """How many tokens the server gave the model: fewer than asked, where it learnt on fewer."""
        asked = int(self._options["num_ctx"])
        listed = await _read(self._card.host, "/api/ps") or {}
        try:
            held = {tagged(str(each["name"])): each for each in listed["models"]}
            return min(asked, int(held[tagged(self._card.llm)]["context_length"]))
        except (KeyError, TypeError, ValueError):  # unloaded meanwhile, or a server before 0.10
            return asked

    def _checked(self, text: str, final: Any) -> Completion:
        if final is None or not final.done:
            raise TruncatedAnswer("The stream ended without its last line.")
        if final.done_reason == "length":
            raise EndlessAnswer(f"The answer reached {self._options['num_predict']} tokens.")
        if final.done_reason in ("load", "unload"):
            raise TruncatedAnswer("The server loaded the model and did not answer.")
        context = self._context or int(self._options["num_ctx"])
        counted = final.prompt_eval_count or 0
        # A prompt that does not fit is cut without an error; its count then has one known value.
        if counted >= context or counted == context - (context - _KEPT_TOKENS) // 2:
            raise PromptTooLong(f"{self._card.llm} was given more than its {context} tokens.")
        return Completion(
            text=text,
            prompt_tokens=counted,
            output_tokens=max(0, final.eval_count or 0),
            load_s=_seconds(final.load_duration),
            prompt_s=_seconds(final.prompt_eval_duration),
            output_s=_seconds(final.eval_duration),
            total_s=_seconds(final.total_duration),
        )


def options_of(num_ctx: int) -> dict[str, Any]:
    """The options of every request: with others, the server would load the model anew."""
    return {
        "num_ctx": num_ctx,
        "temperature": 0.0,
        # Without a bound a model that repeats itself goes on to ten times num_ctx.
        "num_predict": max(num_ctx - PROMPT_TOKENS, num_ctx // 2),
    }


async def missing_models(host: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """Which of these models a server lacks; None when it does not answer within two seconds."""
    listed = await _read(host, "/api/tags")
    try:
        there = {tagged(str(each["name"])) for each in listed["models"]} if listed else None
    except (KeyError, TypeError):
        return None
    return None if there is None else tuple(n for n in names if tagged(n) not in there)


async def builds_at(host: str) -> dict[str, str] | None:
    """The digest of each model on a server, by its name with its tag; None: it does not answer."""
    listed = await _read(host, "/api/tags")
    try:
        rows = listed["models"] if listed else None
        return None if rows is None else {tagged(str(e["name"])): str(e["digest"]) for e in rows}
    except (KeyError, TypeError):
        return None


async def server_version(host: str) -> str | None:
    """The version of the Ollama server at a host; None when it does not answer."""
    said = await _read(host, "/api/version")
    return str(said.get("version", "")) if said else None


async def loaded_models(host: str) -> tuple[str, ...] | None:
    """The models in a server's memory; None when it does not answer or is too old to say."""
    listed = await _read(host, "/api/ps")
    try:
        return tuple(str(each["name"]) for each in listed["models"]) if listed else None
    except (KeyError, TypeError):
        return None


async def _read(host: str, path: str) -> dict[str, Any] | None:
    try:
        async with httpx.AsyncClient(
            base_url=host,
            timeout=PROBE_TIMEOUT_S,
            trust_env=not is_loopback(host),
            # Loading certificates takes longer than the question; plain HTTP needs none.
            verify=host.startswith("https:"),
        ) as client:
            answer = (await client.get(path)).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def is_loopback(host: str) -> bool:
    """Whether a URL points to this machine, where no proxy may stand between."""
    return is_local(urlsplit(host).hostname or "")


@asynccontextmanager
async def _closing(parts: AsyncIterator[Any]) -> AsyncIterator[AsyncIterator[Any]]:
    """Closes a stream at once when its reader is cancelled, so that the server's slot is free."""
    try:
        yield parts
    finally:
        await parts.aclose()  # type: ignore[attr-defined]


def tagged(name: str) -> str:
    """A model's name as the server lists it."""
    return name if ":" in name else f"{name}:latest"


def _seconds(nanoseconds: int | None) -> float:
    return max(0, nanoseconds or 0) / _NS
