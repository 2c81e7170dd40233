"""A model without a server or weights: it finds, quotes and counts, and never makes a sentence."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio.lowlevel
import anyio.to_thread

from librarian.models.asked import (
    Task,
    descriptions,
    keyword_query,
    passages,
    references,
    task_of,
)
from librarian.models.extraction import NOTHING, extract, keywords
from librarian.models.hashing import embed
from librarian.models.protocol import Completion, Heard, ModelCard, Prompt, Role, Vectors
from librarian.models.quotes import answer, summarised

DIMENSION = 512
_TOKEN = re.compile(r"\w+|[^\w\s]")


class OfflineBrain:
    """The answers themselves, without a loop or a thread; it remembers nothing between calls."""

    def answer(self, messages: list[dict[str, str]], schema: dict[str, Any] | None = None) -> str:
        """The whole answer; what is asked is told by the last message."""
        return "".join(self.pieces(messages, schema))

    def pieces(
        self,
        messages: Sequence[Mapping[str, str]],
        schema: Mapping[str, Any] | None = None,
        task: Task | None = None,
    ) -> list[str]:
        """The answer in the pieces that a person hears one after the other."""
        asked = [message["content"] for message in messages if message["role"] == "user"]
        context = "\n".join(m["content"] for m in messages if m["role"] == "system")
        request = asked[-1] if asked else ""
        match task or task_of(request):
            case Task.EXTRACT:
                return [extract(request)]
            case Task.CONTINUE:
                return [NOTHING]
            case Task.KEYWORDS:
                return [keywords(keyword_query(request))]
            case Task.SUMMARY:
                return [summarised(*descriptions(request))]
            case Task.ANSWER if schema is not None:
                return ["{}"]
            case Task.ANSWER:
                return answer(request, passages(context), references(context))

    def embed(self, texts: Sequence[str], dimension: int = DIMENSION) -> list[list[float]]:
        """One row of unit length per text."""
        rows: list[list[float]] = embed(texts, dimension).tolist()
        return rows


class OfflineModel:
    """The brain behind the protocol of a model; its work is done in worker threads."""

    def __init__(
        self, *, dimension: int = DIMENSION, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._brain = OfflineBrain()
        self._dimension = dimension
        self._clock = clock

    @property
    def card(self) -> ModelCard:
        """Names and dimension; there is no host."""
        return ModelCard(
            backend="offline",
            llm="offline",
            embed=f"hashed-{self._dimension}",
            host="",
            dimension=self._dimension,
        )

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        """The whole answer; `heard` gets each piece of it."""
        started = self._clock()
        messages = [{"role": one.role, "content": one.content} for one in prompt.messages]
        # A person may ask with the very words of a prompt; the role is what LightRAG says
        task = Task.ANSWER if prompt.role is Role.QUERY else None
        pieces = await anyio.to_thread.run_sync(self._brain.pieces, messages, prompt.schema, task)
        if heard is not None:
            for piece in pieces:
                heard(piece)
                await anyio.lowlevel.checkpoint()
        text = "".join(pieces)
        return Completion(
            text=text,
            prompt_tokens=sum(len(_TOKEN.findall(one.content)) for one in prompt.messages),
            output_tokens=len(_TOKEN.findall(text)),
            total_s=self._clock() - started,
        )

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit-length row per text."""
        return await anyio.to_thread.run_sync(embed, texts, self._dimension)

    async def aclose(self) -> None:
        """Nothing is open."""
