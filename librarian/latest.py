"""The whole graph as it was read last: reading a large one takes seconds."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import anyio

from librarian import collector
from librarian.errors import LibrarianError
from librarian.knowledge import Graph

log = logging.getLogger(__name__)

LARGE = 20_000  # entities; 200,000 with 350,000 relations are read in 4 to 6 s on 2 cores
LOOK_S = 3.0
LOOKS = 3  # one after the other, at each of which there is leisure


class Source(Protocol):
    """Where a graph is read from."""

    @property
    def version(self) -> str:
        """Changes whenever the graph does."""
        ...

    async def graph(self) -> Graph:
        """The whole graph as it is now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A graph to look at."""

    graph: Graph
    current: bool  #: nothing has changed since; else it is being read anew
    reading: int  #: which of all readings it comes from


class LatestGraph:
    """A small graph is always shown as it is; a large one as it was read last, and read anew."""

    def __init__(self, source: Callable[[], Awaitable[Source]], look_s: float = LOOK_S) -> None:
        self.readings = 0  #: so often it was read
        self._source = source
        self._look_s = look_s
        self._graph: Graph | None = None
        self._of: tuple[Source | None, str] = None, ""  # from whom, and which version
        self._reading = anyio.Lock()
        self._wanted = anyio.Event()

    async def now(self) -> Graph:
        """As it is now; the same object until it changes.

        Raises:
            LibrarianError: it cannot be read; the reason.
        """
        source = await self._source()
        async with self._reading:  # several ask for it, one reads
            if self._graph is None or self._of != (source, source.version):
                version = source.version
                with collector.paused():
                    self._graph = await source.graph()
                self._of = source, version
                self.readings += 1
            return self._graph

    async def shown(self) -> Shown:
        """What there is to look at, without waiting for a large graph that was read before.

        Raises:
            LibrarianError: it cannot be read; the reason.
        """
        source, graph = await self._source(), self._graph
        current = self._of == (source, source.version)
        if graph is None or not (current or _is_large(graph)):
            graph, current = await self.now(), True
        if not current:
            self._wanted.set()
        return Shown(graph=graph, current=current, reading=self.readings)

    async def keep(self, wanted: Callable[[], bool]) -> None:
        """Reads it when an earlier one was shown, and while `wanted`; ends when cancelled.

        That has to be so at several looks: people come just after a library was opened.
        """
        looks = 0
        while True:
            with anyio.move_on_after(self._look_s):
                await self._wanted.wait()
            looks = looks + 1 if wanted() else 0
            if not (self._wanted.is_set() or looks >= LOOKS):
                continue
            self._wanted = anyio.Event()
            try:
                await self.now()
            except LibrarianError as exc:
                log.warning("The graph could not be read; who asks next starts it again: %s", exc)


def _is_large(graph: Graph) -> bool:
    return len(graph.entities) >= LARGE
