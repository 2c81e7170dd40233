"""Everything that lives on the loop, opened and closed together."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import anyio
from anyio import to_thread

from librarian.answers import Answers
from librarian.assembly import open_engine
from librarian.borders import borders_of_text
from librarian.calls import STOPPED_POLL_S, Calls
from librarian.decisions import Decision, row_for
from librarian.documents import Document, Status
from librarian.dumping import gathered
from librarian.engine import Engine
from librarian.errors import AWAITED, EmbeddingMismatch, LibrarianError, NotReady
from librarian.evidence import Retrieval
from librarian.health import LEAST_FREE_BYTES, PACKAGES, Evidence, throughput, verdict
from librarian.holdings import sizes_of, take_up
from librarian.indexing import Indexing
from librarian.language import language_of
from librarian.latest import LARGE, LatestGraph
from librarian.library import FileSize, Library
from librarian.logbook import Logbook
from librarian.models.choice import choose
from librarian.models.hosts import SeveralHosts, hosts_of
from librarian.models.ollama import tagged
from librarian.models.presence import presence
from librarian.models.protocol import Model
from librarian.settings import Settings
from librarian.shelf import cited_by_name
from librarian.snapshot import DocumentView, Snapshot
from librarian.tuning import Tuning
from librarian.whereabouts import database_of, stays, storage_of

log = logging.getLogger(__name__)

BEAT_S = 0.25
LEAST_S = 0.05  # between two beats, however much happens
SIZES_EVERY_S = 2.0
PROBE_EVERY_S = 5.0
REOPEN_S = 3.0
LAG_MEMORY_S = 60.0
CACHES = ("lightrag", "journal", "all")  # of answers; the first can be made anew from the second


class Rooms:
    """The model, the engine and the queue of one library, and the snapshot that tells of them."""

    def __init__(
        self, library: Library, settings: Settings, logbook: Logbook, model: Model | None
    ) -> None:
        self.library = library
        self.settings = settings
        self.snapshot = Snapshot()
        self.indexing: Indexing | None = None
        self.answers: Answers | None = None
        self.engine: Engine | None = None
        self.calls: Calls | None = None
        self.settled = anyio.Event()  # open, or known not to open
        self.latest = LatestGraph(self.engine_ready)
        self._logbook = logbook
        self._given_model = model
        self._trouble: LibrarianError | None = None
        self._notice = ""
        self._reachable = False
        self._probed = False
        self._loaded: tuple[str, ...] | None = None  # models in the server's memory
        self._free = LEAST_FREE_BYTES
        self._lags: list[tuple[float, float]] = []
        self._documents: tuple[Document, ...] = ()

    async def live(self) -> None:
        """Opens the model and LightRAG and works until cancelled."""
        await to_thread.run_sync(language_of, "The first call reads the detector's model.")
        while True:
            try:
                await self._open_and_work()
            except AWAITED as exc:
                if str(exc) != str(self._trouble):
                    log.warning("The library is not open yet: %s", exc)
                self._trouble = exc  # shown, and tried again: the server may be starting
                passes = row_for(exc).decision is Decision.WAIT
                await anyio.sleep(REOPEN_S if passes else STOPPED_POLL_S)
            except LibrarianError as exc:
                log.error("The library could not be opened: %s", exc)
                self._trouble = exc
                self.settled.set()
                return

    async def watch(self) -> None:
        """Beats, measures the loop's lag, and publishes the snapshot."""
        sizes_at = probe_at = 0.0
        files = self.snapshot.files
        while True:
            now = time.monotonic()
            if now >= sizes_at:
                holdings = self.engine.holdings if self.engine is not None else None
                files = await sizes_of(self.library, holdings, files)
                sizes_at = now + SIZES_EVERY_S
            if now >= probe_at or (self.calls is not None and not self._probed):
                await self._probe()
                probe_at = now + PROBE_EVERY_S
            await self._publish(files)
            await self._rest()

    async def engine_ready(self) -> Engine:
        """The open engine.

        Raises:
            NotReady: not open yet.
            LibrarianError: it could not be opened; the reason.
        """
        if self.engine is None:
            raise self._trouble or NotReady()
        return self.engine

    def at_leisure(self) -> bool:
        """Whether a graph that takes long can be read now, so that nobody has to wait for it."""
        if self.engine is None or self.engine.holdings.waiting_for is not None:
            return False
        busy = self.indexing is not None and self.indexing.busy
        return not busy and sum(each.entities for each in self._documents) >= LARGE

    async def clear_answers(self, what: str) -> None:
        """Forgets answers of the model; `what` is one of `CACHES`.

        Raises:
            LibrarianError: they could not be removed, or `what` is none of these.
        """
        if what not in CACHES:
            raise LibrarianError(f"There is no cache {what!r}, only {', '.join(CACHES)}.")
        if what in ("lightrag", "all"):
            await (await self.engine_ready()).forget_answers()
        if what in ("journal", "all"):
            await to_thread.run_sync(self.library.journal.clear)

    async def gather(self, parts: Path) -> None:
        """Puts all of the library into a folder, at a moment when its graph is not being written.

        Raises:
            LibrarianError: it could not be done; the reason.
        """
        if self.engine is None:  # nobody writes
            return await gathered(self.library, self.settings, parts)
        async with self.engine.editing.still():
            await gathered(self.library, self.settings, parts)

    async def forget_answers_about(self, chunk: str) -> None:
        """Empties LightRAG's cache of what the model said about a chunk, by the chunk's id."""
        await (await self.engine_ready()).forget_answers_about(chunk)

    async def _open_and_work(self) -> None:
        library, settings = self.library, self.settings
        if library.catalogue.any_indexed():
            database_of(library, settings)  # what is elsewhere is said before any model is asked
        pinned = library.manifest if library.catalogue.any_indexed() else None
        if self._given_model is not None:
            model = self._given_model
        else:
            try:
                choice = await choose(
                    settings,
                    backend=pinned.backend if pinned else "",
                    embed=pinned.embed if pinned else "",
                    dimension=pinned.dimension if pinned else 0,
                    fingerprint=pinned.fingerprint if pinned else (),
                )
            except EmbeddingMismatch as exc:
                raise library.mismatch(exc.detail) from exc
            model, self._notice = choice.model, choice.notice
        self._notice = " ".join(filter(None, (self._notice, stays(library, settings))))
        try:
            versions = {name: version(name) for name in PACKAGES}
            await to_thread.run_sync(
                lambda: library.pin(
                    model.card,
                    chunk_tokens=settings.chunk_tokens,
                    versions=versions,
                    storage=storage_of(settings),
                )
            )
            await self._work(model)
        finally:
            self.engine = None
            with anyio.CancelScope(shield=True):
                await model.aclose()

    async def _work(self, model: Model) -> None:
        # One more than the server's slots: the next prompt is there when an answer has ended.
        served = model.card.backend != "offline"
        at_once = (self.settings.llm_max_async + served) * max(1, len(model.card.hosts))
        tuning = Tuning(at_once) if served else None
        self.calls = calls = Calls(
            model,
            limit=at_once,
            batch=self.settings.embed_batch,
            journal=self.library.journal,
            tuning=model.tuning if isinstance(model, SeveralHosts) else tuning,
        )
        self.indexing = indexing = Indexing(self.library, calls)
        async with open_engine(
            directory=self.library.cache,
            workspace=self.library.manifest.workspace,
            settings=self.settings,
            chunk_tokens=self.library.manifest.chunk_tokens,
            calls=calls,
            heard=indexing.hear,
            database=database_of(self.library, self.settings),
            borders=partial(borders_of_text, self.library),
            edits=self.library.edits,
        ) as engine:
            await take_up(self.library, engine.holdings)
            await engine.editing.settle()
            self.engine = engine
            self.answers = Answers(engine, calls, time.monotonic, self._named)
            self._trouble = None
            self.settled.set()
            await indexing.run(engine)

    async def _rest(self) -> None:
        """Until the next beat, which comes at once when a document has changed."""
        for seconds, news in ((LEAST_S, None), (BEAT_S - LEAST_S, self.indexing)):
            before = time.monotonic()
            with anyio.move_on_after(seconds) as elapsed:
                await (anyio.sleep_forever() if news is None else news.news.wait())
            if elapsed.cancelled_caught:
                self._note_lag(time.monotonic() - before - seconds)

    async def _probe(self) -> None:
        model = self.calls.model if self.calls else None
        self._probed = model is not None
        self._free = (await to_thread.run_sync(shutil.disk_usage, self.library.home)).free
        if model is not None and model.card.fingerprint != self.library.manifest.fingerprint:
            # It was learnt since the opening.
            keep = self.library.keep_fingerprint
            await to_thread.run_sync(keep, model.card.fingerprint)
        self._reachable, self._loaded = await presence(model, self.settings.openai_key)

    async def _publish(self, files: tuple[FileSize, ...]) -> None:
        now = time.monotonic()
        indexing, calls = self.indexing, self.calls
        while indexing is None or indexing.news.is_set():  # it may change while it is read
            if indexing is not None:
                indexing.news = anyio.Event()
            self._documents = await to_thread.run_sync(self.library.catalogue.all)
            if indexing is None:
                break
        if indexing is not None:
            views, queue = await indexing.views(self._documents)
        else:
            views, queue = tuple(DocumentView(document=each) for each in self._documents), None
        busy = indexing is not None and indexing.busy
        in_flight = calls.in_flight() if calls else ()
        waiting_for = calls.waiting_for if calls else None
        if self.engine is not None and waiting_for is None:
            waiting_for = self.engine.holdings.waiting_for
        if isinstance(self._trouble, AWAITED):  # it opens with these
            waiting_for = self._trouble
        rates = throughput(calls.account.finished if calls else (), in_flight, now)
        lag = max((each for _, each in self._lags), default=0.0)
        moved_s = max(
            indexing.moved_s if indexing else now, calls.account.moved_s if calls else now
        )
        self.snapshot = Snapshot(
            ready=self.engine is not None,
            trouble=str(self._trouble) if self._trouble else "",
            busy=busy,
            model=calls.model.card if calls else None,
            reachable=self._reachable,
            notice=self._notice,
            documents=views,
            queue=queue,
            duplicates=await to_thread.run_sync(self.library.catalogue.duplicates),
            deleting=len(await to_thread.run_sync(self.library.catalogue.deletions)),
            files=files,
            throughput=rates,
            health=verdict(
                Evidence(
                    busy=busy or (waiting_for is not None and any(map(_unfinished, views))),
                    waiting_for=waiting_for,
                    calls=in_flight,
                    median_s=rates.median_call_s,
                    quiet_s=now - moved_s,
                    model=tagged(calls.model.card.llm) if calls else "",
                    backend=calls.model.card.backend if calls else "",
                    reachable=self._reachable,
                    loaded=self._loaded,
                    free_bytes=self._free,
                )
            ),
            calls=in_flight,
            minutes=tuple(calls.account.minutes) if calls else (),
            retries=calls.account.retries if calls else 0,
            limit=calls.limit if calls else 0,
            why_so_many=calls.why_so_many if calls else None,
            hosts=hosts_of(calls.model if calls else None),
            beat_s=now,
            max_lag_s=lag,
            log=self._logbook.tail,
        )

    async def _named(self, found: Retrieval) -> Retrieval:
        return cited_by_name(found, await to_thread.run_sync(self.library.catalogue.renamed))

    def _note_lag(self, lag_s: float) -> None:
        now = time.monotonic()
        self._lags = [(at, lag) for at, lag in self._lags if now - at < LAG_MEMORY_S]
        self._lags.append((now, max(0.0, lag_s)))


@asynccontextmanager
async def open_rooms(
    library: Library, settings: Settings, logbook: Logbook, model: Model | None
) -> AsyncIterator[Rooms]:
    """The rooms of a library. They open in the background; leaving cancels what they do."""
    rooms = Rooms(library, settings, logbook, model)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rooms.live)
        tasks.start_soon(rooms.watch)
        tasks.start_soon(rooms.latest.keep, rooms.at_leisure)
        try:
            yield rooms
        finally:
            if rooms.calls is not None:
                rooms.calls.close()
            tasks.cancel_scope.cancel()


def _unfinished(view: DocumentView) -> bool:
    return view.document.status in (Status.PENDING, Status.PROCESSING)
