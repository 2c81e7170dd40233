"""Edits and LightRAG's own writing of the graph, kept apart; reading books goes on meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from librarian.errors import EditRefused

Ready = Callable[[], Awaitable[None]]  #: makes whole what an edit has left half
Edited = Callable[[], Awaitable[Callable[[str], str]]]  #: how an answer reads with all edits


class Gate:
    """Keeps edits and LightRAG's writing of the graph apart. Reading books goes on meanwhile."""

    def __init__(self) -> None:
        self._writing: set[str] = set()
        self._alone = False
        self._closed = False
        self._news = anyio.Condition()

    async def enter(self, who: str) -> None:
        """Waits until no edit is being made; then edits wait for `leave`."""
        async with self._news:
            while self._alone:
                await self._news.wait()
            self._writing.add(who)

    async def leave(self, *who: str) -> None:
        """Says that these do not write any more; without a name, that no document does."""
        async with self._news:
            self._writing.difference_update(who or {w for w in self._writing if w[0] != "-"})
            self._news.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Waits until nobody writes, and keeps it so.

        Raises:
            EditRefused: the program ends before.
        """
        async with self._news:
            while self._alone and not self._closed:
                await self._news.wait()
            self._check_open()
            self._alone = True  # who writes may end; nobody begins
        try:
            async with self._news:
                while self._writing and not self._closed:
                    await self._news.wait()
                self._check_open()
            yield
        finally:
            with anyio.CancelScope(shield=True):
                async with self._news:
                    self._alone = False
                    self._news.notify_all()

    async def close(self) -> None:
        """Sends away who waits, and waits until the edit that is being made has ended."""
        async with self._news:
            self._closed = True
            self._news.notify_all()
            while self._alone:
                await self._news.wait()

    def _check_open(self) -> None:
        if self._closed:
            raise EditRefused("The program is closing. Make the edit again after its next start.")


def guard(rag: Any, gate: Gate, ready: Ready, edited: Edited) -> None:
    """Has LightRAG wait for an edit before it writes, and read its cache as edited.

    The lists of what a document brings are the first thing that it writes of a merge, and the
    status the last; what it takes out again goes through one method.
    """
    record = rag.full_entities.upsert
    purge, note = rag._purge_kg_contributions, rag.doc_status.upsert
    recall = rag.llm_response_cache.get_by_ids

    async def recorded(data: dict[str, dict[str, Any]]) -> None:
        await ready()
        for doc_id in data:
            await gate.enter(doc_id)
        await record(data)

    async def noted(data: dict[str, dict[str, Any]]) -> None:
        await note(data)
        for doc_id, row in data.items():
            if row.get("status") in ("processed", "failed"):
                await gate.leave(doc_id)

    async def purged(doc_id: str, *args: Any, **options: Any) -> Any:
        await ready()
        await gate.enter(f"-{doc_id}")
        try:
            return await purge(doc_id, *args, **options)
        finally:
            with anyio.CancelScope(shield=True):
                await gate.leave(f"-{doc_id}")

    async def recalled(ids: list[str]) -> list[dict[str, Any] | None]:
        rows, edit = await recall(ids), await edited()
        return [
            {**row, "return": edit(str(row["return"]))}
            if row and row.get("cache_type") == "extract"
            else row
            for row in rows
        ]

    rag.full_entities.upsert = recorded
    rag.doc_status.upsert = noted
    rag._purge_kg_contributions = purged
    rag.llm_response_cache.get_by_ids = recalled
