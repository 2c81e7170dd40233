"""Every call to a model goes through here: its turn, its retries, its account."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heappop, heappush
from random import Random
from time import monotonic
from typing import TypeVar

import anyio
import numpy as np
from anyio import to_thread

from librarian.errors import DocumentPaused, ModelError, ModelUnavailable, Transient
from librarian.journal import Journal, key_of
from librarian.models.forms import tidied
from librarian.models.protocol import Completion, Heard, Model, Prompt, Role, Vectors

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
log = logging.getLogger(__name__)

RETRIES = 4  # of a call that failed in a way that may pass
POLL_S = 2.0  # how often a server that is gone is tried again
BACKOFF_S = 1.0
RELOAD_S = 1.0  # a model that is in memory answers `load_duration` in milliseconds
REMEMBERED = 2000  # calls, for medians and rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Whom a call is for. A lower `turn` goes first; questions of people have 0."""

    document: str = ""
    chunk: int = -1
    turn: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """A finished call, for the account. Times are of the monotonic clock."""

    role: str
    document: str
    started_s: float
    ended_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(slots=True)
class _Running:
    document: str
    started_s: float
    moved_s: float


@dataclass(slots=True)
class _Account:
    finished: deque[CallRecord] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    retries: int = 0
    reloads: int = 0  #: calls before which the server had to load the model
    texts_embedded: int = 0


class Calls:
    """The one way to the model.

    `limit` is how many calls run at once. A server that is gone is waited for, however long; any
    other failure that may pass is tried again a few times.
    """

    def __init__(
        self,
        model: Model,
        *,
        limit: int,
        batch: int = 64,
        journal: Journal | None = None,
        clock: Callable[[], float] = monotonic,
        sleep: Sleep = anyio.sleep,
        random: Random | None = None,
    ) -> None:
        self.model = model
        self.account = _Account()
        self.waiting_for: ModelError | None = None
        self._slots = _Slots(limit)
        self._embed_slots = anyio.CapacityLimiter(2)
        self._batch = batch
        self._clock = clock
        self._sleep = sleep
        self._random = random or Random()
        self._running: dict[int, _Running] = {}
        self._numbers = itertools.count()
        self._paused: set[str] = set()
        self._closed = False
        self._scopes: dict[anyio.CancelScope, str] = {}
        self._quiet: anyio.Event | None = None
        self._journal = journal
        self._asking: dict[bytes, anyio.Event] = {}

    async def complete(
        self, prompt: Prompt, ticket: Ticket, heard: Heard | None = None
    ) -> Completion:
        """The model's whole answer.

        Raises:
            DocumentPaused: the document was paused, or the library is closing.
            ModelError: after the retries, or at once where they would not help.
        """
        return await self._held(lambda: self._answer(prompt, ticket, heard), ticket)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row per text, in requests of at most `batch` texts."""
        parts = [texts[i : i + self._batch] for i in range(0, len(texts), self._batch)]
        ticket = Ticket()
        rows = [await self._held(partial(self._embed_part, part), ticket) for part in parts]
        if not rows:
            return np.zeros((0, self.model.card.dimension), dtype=np.float32)
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    async def _held(self, do: Callable[[], Awaitable[T]], ticket: Ticket) -> T:
        """Runs something that a pause or the closing ends wherever it waits."""
        if self._refused(ticket):
            raise DocumentPaused
        scope = anyio.CancelScope()
        self._scopes[scope] = ticket.document
        try:
            with scope:
                return await do()
        finally:
            del self._scopes[scope]
            if self._quiet is not None and not self._scopes:
                self._quiet.set()
        raise DocumentPaused

    async def _answer(self, prompt: Prompt, ticket: Ticket, heard: Heard | None) -> Completion:
        # A person's question does not wait behind the chunks of a book.
        if prompt.role in (Role.QUERY, Role.KEYWORD):
            return await self._tried(lambda: self._once(prompt, ticket, heard), ticket)
        key = key_of(self.model.card, prompt)
        while key in self._asking:  # the same page twice: its answer is on the way
            await self._asking[key].wait()
        self._asking[key] = anyio.Event()
        try:
            known = await self._known(key)
            if known is not None:
                return known
            async with self._slots.held(ticket.turn):
                answer = await self._tried(lambda: self._once(prompt, ticket, heard), ticket)
            await self._keep(key, answer, prompt, ticket)
            return answer
        finally:
            self._asking.pop(key).set()

    async def _known(self, key: bytes) -> Completion | None:
        return await to_thread.run_sync(self._journal.get, key) if self._journal else None

    async def _keep(self, key: bytes, answer: Completion, prompt: Prompt, ticket: Ticket) -> None:
        if self._journal is None:
            return
        keep = partial(
            self._journal.put,
            key,
            answer,
            role=prompt.role.value,
            model=self.model.card.llm,
            document=ticket.document,
            chunk=ticket.chunk,
        )
        with anyio.CancelScope(shield=True):  # it is paid for, whatever happens meanwhile
            await to_thread.run_sync(keep)

    def pause(self, document: str) -> None:
        """Ends a document's running calls at the server and refuses further ones."""
        self._paused.add(document)
        for scope, owner in list(self._scopes.items()):
            if owner == document:
                scope.cancel()

    def resume(self, document: str) -> None:
        """Lets a document's calls run again."""
        self._paused.discard(document)

    def close(self) -> None:
        """Ends all calls; every further one is refused."""
        self._closed = True
        for scope in list(self._scopes):
            scope.cancel()

    async def ended(self) -> None:
        """Waits until no call is under way any more; call it after `close`."""
        if self._scopes:
            self._quiet = anyio.Event()
            await self._quiet.wait()

    def in_flight(self) -> tuple[tuple[str, float, float], ...]:
        """Document, age and time since the last sign of life of each running call, in seconds."""
        now = self._clock()
        return tuple(
            (each.document, now - each.started_s, now - each.moved_s)
            for each in self._running.values()
        )

    async def _embed_part(self, texts: Sequence[str]) -> Vectors:
        ticket = Ticket()

        async def once() -> Vectors:
            async with self._embed_slots:
                vectors = await self.model.embed(texts)
            self.account.texts_embedded += len(texts)
            return vectors

        return await self._tried(once, ticket)

    async def _once(self, prompt: Prompt, ticket: Ticket, heard: Heard | None) -> Completion:
        number = next(self._numbers)
        started = self._clock()
        running = _Running(ticket.document, started, started)

        def alive(piece: str) -> None:
            running.moved_s = self._clock()
            if heard is not None:
                heard(piece)

        self._running[number] = running
        try:
            completion = await self.model.complete(prompt, alive)
        finally:
            del self._running[number]
        self.account.reloads += completion.load_s >= RELOAD_S
        self.account.finished.append(
            CallRecord(
                role=prompt.role.value,
                document=ticket.document,
                started_s=started,
                ended_s=self._clock(),
                prompt_tokens=completion.prompt_tokens,
                output_tokens=completion.output_tokens,
            )
        )
        return replace(completion, text=tidied(completion.text, prompt.schema))

    async def _tried(self, once: Callable[[], Awaitable[T]], ticket: Ticket) -> T:
        failures = 0
        while True:
            if self._refused(ticket):
                raise DocumentPaused
            try:
                result = await once()
            except ModelUnavailable as exc:
                self._begin_waiting(exc)
                await self._sleep(POLL_S)
            except Transient as exc:
                failures += 1
                self.account.retries += 1
                if failures > RETRIES:
                    raise
                pause = BACKOFF_S * 2**failures * (0.5 + self._random.random())
                log.warning("%s Trying again in %.1f s (%d of %d).", exc, pause, failures, RETRIES)
                await self._sleep(pause)
            else:
                self.waiting_for = None
                return result

    def _begin_waiting(self, reason: ModelError) -> None:
        if self.waiting_for is None:
            log.warning("%s Waiting for it.", reason)
        self.waiting_for = reason

    def _refused(self, ticket: Ticket) -> bool:
        return self._closed or ticket.document in self._paused


class _Slots:
    """A limit on what runs at once, where the lowest turn is let in first."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._queue: list[tuple[float, int, anyio.Event]] = []
        self._order = itertools.count()

    @asynccontextmanager
    async def held(self, turn: float) -> AsyncIterator[None]:
        await self._acquire(turn)
        try:
            yield
        finally:
            self._release()

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
        if self._queue:
            heappop(self._queue)[2].set()
        else:
            self._free += 1
