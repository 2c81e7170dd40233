"""Every call to a model goes through here: its turn, its retries, its account."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from random import Random
from time import monotonic
from typing import TypeVar

import anyio
import numpy as np
from anyio import to_thread

from librarian.account import Account, CallView, Ticket
from librarian.decisions import Decision, row_for
from librarian.errors import (
    BadEmbedding,
    DocumentPaused,
    JournalError,
    LibrarianError,
    ModelError,
)
from librarian.inflight import InFlight
from librarian.journal import Journal, Kept, key_of
from librarian.models.forms import tidied
from librarian.models.protocol import Completion, Heard, Model, Prompt, Role, Vectors
from librarian.tuning import HowMany
from librarian.turns import Outage

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
log = logging.getLogger(__name__)

POLL_S = 2.0  # how often a server that is gone is tried again
STOPPED_POLL_S = 20.0  # and what a person has to mend
MERGES = "*"  # the document of calls that merge: LightRAG does not say whose they are
SHORTEST = 16  # characters of a text whose embedding is still tried
BACKOFF_S = 1.0


class Calls:
    """The one way to the model.

    `limit` is how many calls run at once, unless a `tuning` finds that out. A server that is gone
    is waited for, however long; any other failure that may pass is tried again a few times.
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
        tuning: HowMany | None = None,
    ) -> None:
        self.model = model
        self.account = Account()
        self.remarks: list[str] = []  # for the document that ends next
        self._in_flight = InFlight(model, self.account, limit, clock, tuning)
        self._outages = {"llm": Outage(), "embed": Outage(), "journal": Outage()}
        self._batch = batch
        self._clock = clock
        self._sleep = sleep
        self._random = random or Random()
        self._paused: dict[str, LibrarianError] = {}
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

    async def kept(self, subjects: Sequence[str], limit: int) -> list[tuple[Kept, ...]]:
        """The last answers of the journal about each of these texts, oldest first."""
        if self._journal is None:
            return [() for _ in subjects]
        about = self._journal.about
        return await to_thread.run_sync(lambda: [about(each, limit) for each in subjects])

    @property
    def waiting_for(self) -> LibrarianError | None:
        """What all work waits for, and what to do about it."""
        reasons = (outage.reason for outage in self._outages.values())
        return next((reason for reason in reasons if reason is not None), None)

    async def embed(self, texts: Sequence[str], *, person: bool = False) -> Vectors:
        """One row per text, in requests of at most `batch` texts.

        Raises:
            ModelError: not even the beginning of a text could be embedded.
        """
        parts = [texts[i : i + self._batch] for i in range(0, len(texts), self._batch)]
        ticket = Ticket(person=person)
        rows = [await self._held(partial(self._embed_part, part, ticket), ticket) for part in parts]
        if not rows:
            return np.zeros((0, self.model.card.dimension), dtype=np.float32)
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    async def _held(self, do: Callable[[], Awaitable[T]], ticket: Ticket) -> T:
        """Runs something that a pause or the closing ends wherever it waits."""
        self._check_wanted(ticket)
        scope = anyio.CancelScope()
        self._scopes[scope] = ticket.document
        try:
            with scope:
                return await do()
        finally:
            del self._scopes[scope]
            if self._quiet is not None and not self._scopes:
                self._quiet.set()
        self._check_wanted(ticket)
        raise DocumentPaused

    async def _answer(self, prompt: Prompt, ticket: Ticket, heard: Heard | None) -> Completion:
        # A person's question does not wait behind the chunks of a book.
        if prompt.role in (Role.QUERY, Role.KEYWORD):
            ticket = replace(ticket, person=True)
            said = await self._tried(lambda: self._once(prompt, ticket, heard), ticket, "llm")
            assert said is not None  # only work makes room
            return said
        key = key_of(self.model.card, prompt)
        while key in self._asking:  # the same page twice: its answer is on the way
            await self._asking[key].wait()
        self._asking[key] = anyio.Event()
        try:
            known = await self._tried(partial(self._known, key), ticket, "journal")
            if known is not None:
                return known
            return await self._in_turn(key, prompt, ticket, heard)
        finally:
            self._asking.pop(key).set()

    async def _in_turn(
        self, key: bytes, prompt: Prompt, ticket: Ticket, heard: Heard | None
    ) -> Completion:
        ask = partial(self._once, prompt, ticket, heard)
        while True:
            async with self._in_flight.turn(ticket.turn):
                answer = await self._tried(ask, ticket, "llm")
                if answer is not None:
                    await self._keep(key, answer, prompt, ticket)  # before the next one is asked
                    return answer

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
            subject=ticket.subject,
        )

        async def kept() -> None:
            with anyio.CancelScope(shield=True):  # it is paid for, whatever happens meanwhile
                await to_thread.run_sync(keep)

        try:
            await kept()  # even for a document that was paused in the meantime
        except JournalError:
            await self._tried(kept, ticket, "journal")

    def pause(self, document: str, because: LibrarianError | None = None) -> None:
        """Ends a document's running calls at the server and refuses further ones."""
        self._paused.setdefault(document, because or DocumentPaused())
        for scope, owner in list(self._scopes.items()):
            if owner == document:
                scope.cancel()

    def resume(self, document: str) -> None:
        """Lets a document's calls run again."""
        self._paused.pop(document, None)

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

    def restart(self, number: int) -> None:
        """Ends a running call at the server and asks again; does nothing if it has ended."""
        self._in_flight.restart(number)

    @property
    def limit(self) -> int:
        """How many calls of the indexing run at once."""
        return self._in_flight.limit

    @property
    def why_so_many(self) -> str | None:
        """Why so many run at once; empty while it is found out, None where a person chose."""
        return self._in_flight.why if self._in_flight.tuned else None

    def resize(self, limit: int) -> None:
        """Changes how many calls of the indexing run at once."""
        self._in_flight.resize(limit)

    def in_flight(self) -> tuple[CallView, ...]:
        """The calls that run now, oldest first."""
        return self._in_flight.views()

    def attending(self) -> AbstractContextManager[None]:
        """While a person waits for an answer: work leaves a slot of the server to them."""
        return self._in_flight.attending()

    async def _embed_part(self, texts: Sequence[str], ticket: Ticket) -> Vectors:
        async def once() -> Vectors:
            vectors = await self._in_flight.embed(texts, person=ticket.person)
            self.account.texts_embedded += len(texts)
            self.account.moved_s = self._clock()
            return vectors

        try:
            return await self._tried(once, ticket, "embed")
        except ModelError:
            if ticket.person:
                raise
            if len(texts) == 1:
                return await self._embed_beginning(texts[0], ticket)
        middle = len(texts) // 2
        halves = (texts[:middle], texts[middle:])
        return np.concatenate([await self._embed_part(half, ticket) for half in halves])

    async def _embed_beginning(self, text: str, ticket: Ticket) -> Vectors:
        """The vector of as much of a text as the model can take."""
        words = " ".join(text[:80].split())
        end = len(text) // 2
        while end >= SHORTEST:
            try:
                vector = await self._tried(partial(self.model.embed, [text[:end]]), ticket, "embed")
            except ModelError as exc:
                log.warning("%s", exc)
                end //= 2
                continue
            self.account.texts_embedded += 1
            self.remarks.append(f"“{words}…” was embedded by its first {end:,} characters only.")
            return vector
        raise BadEmbedding(f"“{words}” cannot be embedded.")

    async def _once(self, prompt: Prompt, ticket: Ticket, heard: Heard | None) -> Completion | None:
        answer = await self._in_flight.run(prompt, ticket, heard)
        return None if answer is None else tidied(answer, prompt.schema)

    async def _tried(self, once: Callable[[], Awaitable[T]], ticket: Ticket, of: str) -> T:
        outage, failures, caller = self._outages[of], 0, object()
        try:
            while True:
                self._check_wanted(ticket)
                if outage.reason is not None and not (ticket.person or outage.probes(caller)):
                    await outage.news()
                    continue
                try:
                    result = await once()
                except (ModelError, JournalError) as exc:
                    failures += await self._after(exc, ticket, outage, failures)
                else:
                    outage.end()
                    return result
        finally:
            outage.leave(caller)

    async def _after(
        self, exc: LibrarianError, ticket: Ticket, outage: Outage, failures: int
    ) -> bool:
        """Waits as the table of decisions says, or raises the error again; whether it counts."""
        row = row_for(exc)
        if row.decision in (Decision.WAIT, Decision.STOP):
            if ticket.person:
                raise exc
            if outage.begin(exc):
                self._in_flight.tune_anew()
                log.warning("%s Everything waits for that.", exc)
            await self._sleep(POLL_S if row.decision is Decision.WAIT else STOPPED_POLL_S)
            return False
        outage.end()  # whatever it said, it is there
        if row.decision is not Decision.RETRY or failures >= row.tries:
            raise exc
        self.account.retries += 1
        nth = failures + 1
        pause = BACKOFF_S * 2**nth * (0.5 + self._random.random())
        log.warning("%s Trying again in %.1f s (%d of %d).", exc, pause, nth, row.tries)
        await self._sleep(pause)
        return True

    def _check_wanted(self, ticket: Ticket) -> None:
        if self._closed:
            raise DocumentPaused
        if reason := self._paused.get(ticket.document):
            raise type(reason)(reason.detail)
