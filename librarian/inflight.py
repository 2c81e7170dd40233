"""What runs at the model's server now, and who goes before whom."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager

import anyio

from librarian.account import Account, CallRecord, CallView, Running, Ticket
from librarian.errors import TruncatedAnswer
from librarian.models.hosts import slots_of
from librarian.models.protocol import Completion, Heard, Model, Prompt, Vectors
from librarian.tuning import HowMany
from librarian.turns import Slots

EMBED_REQUESTS = 2  # at once at a host; the second is there when the first has ended
RELOAD_S = 1.0  # a model that is in memory answers `load_duration` in milliseconds


class InFlight:
    """The calls of one model that run, with the turns of those that would.

    `limit` is how many calls of the indexing run at once. While a person waits they are fewer:
    the server lets calls in by the order in which they came, so nothing may stand before theirs.
    """

    def __init__(
        self,
        model: Model,
        account: Account,
        limit: int,
        clock: Callable[[], float],
        tuning: HowMany | None = None,
    ) -> None:
        self._model = model
        self._account = account
        self._tuning = tuning
        self._slots = Slots(tuning.level if tuning else limit)
        self._clock = clock
        self._running: dict[int, Running] = {}
        self._numbers = itertools.count()
        self._embed_requests = EMBED_REQUESTS * max(1, len(model.card.hosts))
        self._embed_slots = Slots(self._embed_requests)
        self._embedding: set[anyio.CancelScope] = set()  # of the indexing
        self._ended = anyio.Event()  # one of them, whatever came of it
        self._people = 0  # who wait for an answer
        self._people_embed = 0  # of them, whose question is being embedded

    @property
    def limit(self) -> int:
        """How many calls of the indexing run at once."""
        return self._slots.limit

    def resize(self, limit: int) -> None:
        """Changes how many calls of the indexing run at once, and finds out no more about it."""
        self._tuning = None
        self._slots.resize(max(1, limit))

    @property
    def why(self) -> str:
        """Why so many calls run at once; empty where it is being found out, or a person chose."""
        return self._tuning.said if self._tuning else ""

    @property
    def tuned(self) -> bool:
        """Whether it is found out how many calls run at once."""
        return self._tuning is not None

    def tune_anew(self) -> None:
        """The server may be another one now."""
        if self._tuning is not None:
            self._tuning.anew()
            self._slots.resize(self._tuning.level)

    def turn(self, turn: float) -> AbstractAsyncContextManager[None]:
        """Waits until a call of the indexing may run; the lowest turn goes first."""
        return self._slots.held(turn)

    def views(self) -> tuple[CallView, ...]:
        """The calls that run now, oldest first."""
        now = self._clock()
        return tuple(
            CallView(
                number=number,
                role=each.role,
                document=each.ticket.document,
                chunk=each.ticket.chunk,
                age_s=now - each.started_s,
                silent_s=now - each.moved_s,
            )
            for number, each in self._running.items()
        )

    def restart(self, number: int) -> None:
        """Ends a running call at the server; it fails, and is tried again."""
        if running := self._running.get(number):
            running.scope.cancel()

    @contextmanager
    def attending(self) -> Iterator[None]:
        """While a person waits for an answer, work leaves a slot of the server to them.

        Its calls that wait there, and one that runs where all slots are taken, are ended. Its
        embeddings go on, one at a time: LightRAG holds its lock while it waits for them, and the
        search for the answer waits for that lock.
        """
        self._people += 1
        try:
            self._make_room()
            yield
        finally:
            self._people -= 1
            self._make_room()

    async def run(self, prompt: Prompt, ticket: Ticket, heard: Heard | None) -> Completion | None:
        """Asks the model once; None where the call has made room for a person.

        Raises:
            ModelError: also where a person had the call made anew.
        """
        if ticket.person and slots_of(self._model) is not None:
            await self._room_made()  # where there is room shows only then
        number, started, scope = next(self._numbers), self._clock(), anyio.CancelScope()
        running = Running(prompt.role.value, ticket, started, started, scope)

        def alive(piece: str) -> None:
            running.moved_s = self._clock()
            if not running.speaks:
                running.speaks = True
                speaking = sum(each.speaks for each in self._running.values())
                self._account.spoke_at_once = max(self._account.spoke_at_once, speaking)
            if heard is not None:
                heard(piece)

        self._running[number] = running
        completion: Completion | None = None
        try:
            with scope:
                completion = await self._model.complete(prompt, alive)
        finally:
            del self._running[number]
            self._ended.set()
        if completion is None:
            if running.yields:
                return None
            raise TruncatedAnswer("A person had the call made anew.")
        self._note(completion, running)
        if self._tuning is not None and not (ticket.person or self._people):
            used = (completion.prompt_tokens, completion.output_tokens)
            if self._tuning.ended(self._clock(), *used, self._slots.taken):
                self._slots.resize(self._tuning.level)
        return completion

    async def embed(self, texts: Sequence[str], *, person: bool) -> Vectors:
        """One row per text; for a person's, the server's one slot is cleared.

        Raises:
            ModelError: see `Model.embed`.
        """
        if person:
            with self._embedding_first():
                return await self._model.embed(texts)
        while True:
            async with self._embed_slots.held(0.0):
                scope = anyio.CancelScope()
                self._embedding.add(scope)
                try:
                    with scope:
                        return await self._model.embed(texts)
                finally:
                    self._embedding.discard(scope)

    def _note(self, completion: Completion, running: Running) -> None:
        self._account.reloads += completion.load_s >= RELOAD_S
        self._account.add(
            CallRecord(
                role=running.role,
                document=running.ticket.document,
                started_s=running.started_s,
                ended_s=self._clock(),
                prompt_tokens=completion.prompt_tokens,
                output_tokens=completion.output_tokens,
            )
        )

    def _make_room(self) -> None:
        if not self._model.card.host:  # a model of this process has no queue
            return
        self._embed_slots.narrow(self._embeds_at_once)
        if not self._people:
            self._slots.narrow(self._slots.limit)
            return
        slots = slots_of(self._model)
        left = max(0, (self._account.spoke_at_once if slots is None else slots) - self._people)
        self._slots.narrow(left)
        work = [each for each in self._running.values() if not each.ticket.person]
        work.sort(key=lambda each: (not each.speaks, each.started_s))
        for each in work[left:]:
            each.yields = True
            each.scope.cancel()

    async def _room_made(self) -> None:
        while any(each.yields for each in self._running.values()):
            self._ended = anyio.Event()
            await self._ended.wait()

    @property
    def _embeds_at_once(self) -> int:
        if self._people_embed:
            return 0
        return 1 if self._people else self._embed_requests

    @contextmanager
    def _embedding_first(self) -> Iterator[None]:
        """Ends the embeddings of the indexing, and lets none begin."""
        if not self._model.card.host:
            yield
            return
        self._people_embed += 1
        try:
            self._embed_slots.narrow(0)
            for scope in self._embedding:
                scope.cancel()
            yield
        finally:
            self._people_embed -= 1
            self._embed_slots.narrow(self._embeds_at_once)
