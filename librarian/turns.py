"""Who may call the model next, and who waits until it is there again."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush

import anyio

from librarian.errors import LibrarianError


class Slots:
    """A limit on what runs at once, where the lowest turn is let in first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._most = limit  # that run now; less than the limit while others go first
        self._free = limit  # below 0 after it was lowered, until enough have ended
        self._queue: list[tuple[float, int, anyio.Event]] = []
        self._order = itertools.count()

    @property
    def taken(self) -> int:
        """How many run, or have just been let in."""
        return self._most - self._free

    @asynccontextmanager
    async def held(self, turn: float) -> AsyncIterator[None]:
        """Waits for a slot and gives it back at the end."""
        await self._acquire(turn)
        try:
            yield
        finally:
            self._release()

    def resize(self, limit: int) -> None:
        """Changes how many run at once; those that run already go on to their end."""
        narrowed = self._most < self.limit
        self.limit = limit
        self.narrow(self._most if narrowed else limit)

    def narrow(self, most: int) -> None:
        """Lets only so many run, and never more than the limit, until it is widened again."""
        most = max(0, min(most, self.limit))
        self._free += most - self._most
        self._most = most
        while self._free > 0 and self._queue:
            self._free -= 1
            heappop(self._queue)[2].set()

    async def _acquire(self, turn: float) -> None:
        if self._free > 0:
            self._free -= 1
            return
        event = anyio.Event()
        entry = (turn, next(self._order), event)
        heappush(self._queue, entry)
        try:
            await event.wait()
        except BaseException:
            if event.is_set():  # the slot was handed over at the moment of cancelling
                self._release()
            else:
                self._queue.remove(entry)
                self._queue.sort()
            raise

    def _release(self) -> None:
        if self._queue and self._free >= 0:
            heappop(self._queue)[2].set()
        else:
            self._free += 1


class Outage:
    """Something that all calls need is away. One of them tries it again; the others wait for that.

    Were each to try by itself, a model that does not fit into memory would be loaded without end.
    """

    def __init__(self) -> None:
        self.reason: LibrarianError | None = None
        self._over = anyio.Event()
        self._prober: object | None = None

    def begin(self, reason: LibrarianError) -> bool:
        """Says why it is away; True the first time."""
        first = self.reason is None
        self.reason = reason
        return first

    def probes(self, caller: object) -> bool:
        """Whether this caller is the one that tries again; the first that asks is."""
        if self._prober is None:
            self._prober = caller
        return self._prober is caller

    async def news(self) -> None:
        """Waits until it is back, or until another caller has to try."""
        await self._over.wait()

    def leave(self, caller: object) -> None:
        """A caller gives up; if it was the one that tries, another has to."""
        if self._prober is caller:
            self._prober = None
            self._wake()

    def end(self) -> None:
        """It is back."""
        if self.reason is not None or self._prober is not None:
            self.reason = self._prober = None
            self._wake()

    def _wake(self) -> None:
        self._over.set()
        self._over = anyio.Event()
