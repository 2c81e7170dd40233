"""The queue: which document is next, what is done with each, and how it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from librarian.calls import MERGES, Calls
from librarian.documents import Document, Phase, Status
from librarian.engine import DOCUMENTS_AT_ONCE, Engine
from librarian.errors import DocumentPaused, LibrarianError, UnknownDocument
from librarian.evidence import Indexed
from librarian.intake import discard, read_document
from librarian.library import Library
from librarian.progress import Progress, estimate
from librarian.signals import ChunkExtracted, Merged, Merging, Signal
from librarian.snapshot import DocumentView

INTERRUPTED = str(DocumentPaused())  # LightRAG hands over errors as text

log = logging.getLogger(__name__)


class Indexing:
    """Takes documents from the catalogue's queue through the engine; one task a document."""

    def __init__(
        self, library: Library, calls: Calls, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._library = library
        self._calls = calls
        self._clock = clock
        self._engine: Engine | None = None
        self._active: dict[str, Progress] = {}
        self._stopping: set[str] = set()  # a person asked for a pause
        self._gone: set[str] = set()  # a person deleted it meanwhile
        self._wake = anyio.Event()
        self.news = anyio.Event()  # the catalogue is not as it was published
        self.news.set()

    @property
    def busy(self) -> bool:
        """Whether any document is being processed."""
        return bool(self._active)

    async def run(self, engine: Engine) -> None:
        """Works off the queue until cancelled; what was interrupted before comes first."""
        self._engine = engine
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.run)
            tasks.start_soon(engine.embed_ahead)
            while True:
                self._wake = anyio.Event()
                await self._forget_deleted(engine)
                await self._start_next(tasks, engine)
                await self._wake.wait()

    def nudge(self) -> None:
        """Says that the catalogue has changed."""
        self.news.set()
        self._wake.set()

    def hear(self, signal: Signal) -> None:
        """Takes a line of LightRAG's progress."""
        match signal:
            case ChunkExtracted(document, chunk, done, total):
                if progress := self._active.get(document):
                    saved = self._engine is not None and not self._engine.was_asked(document, chunk)
                    self._active[document] = progress.chunk_done(
                        done, total, saved=saved, now_s=self._clock()
                    )
            case Merging(document, what, total):
                if progress := self._active.get(document):
                    counted = (
                        replace(progress, entities=total)
                        if what == "entities"
                        else replace(progress, relations=total)
                    )
                    self._active[document] = counted.at(Phase.MERGING)
            case Merged():
                self._begin_embedding()

    async def pause(self, doc_id: str) -> None:
        """Stops a document; everything paid for is kept.

        Raises:
            UnknownDocument: there is none of that id or name.
        """
        document = await self._get(doc_id)
        if document.id in self._active:
            self._stopping.add(document.id)
            self._interrupt(document.id)
        elif document.status is Status.PENDING:
            await self._put(replace(document, status=Status.PAUSED))

    async def retry(self, doc_id: str) -> None:
        """Puts a document back into the queue that failed, was paused, or has warnings."""
        document = await self._get(doc_id)
        incomplete = document.status is Status.PROCESSED and document.warnings
        if document.status in (Status.FAILED, Status.PAUSED) or incomplete:
            self._calls.resume(document.id)
            await self._put(replace(document, status=Status.PENDING, error=None))
            self.nudge()

    async def move(self, doc_id: str, *, first: bool) -> None:
        """Makes a waiting document the next one of the queue, or the last one.

        Raises:
            UnknownDocument: there is none of that id or name.
        """
        document = await self._get(doc_id)
        if document.status is Status.PENDING and document.id not in self._active:
            lowest, highest = await to_thread.run_sync(self._library.catalogue.places)
            place = lowest - 1 if first else highest + 1
            await self._put(replace(document, place=place))

    async def delete(self, doc_id: str) -> None:
        """Takes a document out of the library, whatever is being done with it."""
        document = await self._get(doc_id)
        await to_thread.run_sync(discard, self._library, document)
        self.nudge()

    def view(self, document: Document) -> DocumentView:
        """A document with what is being done to it at this moment."""
        progress = self._active.get(document.id)
        if progress is None:
            return DocumentView(document=document)
        now = self._clock()
        done, total = progress.steps(self._calls.account.texts_embedded)
        eta = estimate(progress, now)
        return DocumentView(
            document=replace(
                document,
                status=Status.PROCESSING,
                chunks_total=progress.chunks_total or document.chunks_total,
                chunks_done=progress.chunks_done,
                chunks_saved=progress.chunks_saved,
                entities=progress.entities,
                relations=progress.relations,
                elapsed_s=document.elapsed_s + now - progress.started_s,
            ),
            phase=progress.phase,
            phase_done=done,
            phase_total=total,
            eta_s=eta.likely_s if eta else None,
            eta_low_s=eta.low_s if eta else None,
            eta_high_s=eta.high_s if eta else None,
        )

    async def _start_next(self, tasks: TaskGroup, engine: Engine) -> None:
        if removed := await to_thread.run_sync(self._library.catalogue.deletions):
            for doc_id in self._active.keys() & removed:
                self._gone.add(doc_id)
                self._interrupt(doc_id)
            return  # LightRAG deletes only while it is idle; the next document waits for that
        if self._stopping:
            return  # until the calls of the one that is paused have ended
        for document in await to_thread.run_sync(self._library.catalogue.queue):
            if len(self._active) >= DOCUMENTS_AT_ONCE:
                return
            if document.id not in self._active:
                self._active[document.id] = Progress(started_s=self._clock())
                tasks.start_soon(self._process, document, engine)

    def _interrupt(self, doc_id: str) -> None:
        """Ends a document's calls. Those of merges have no document: they end for all of them."""
        self._calls.pause(doc_id)
        if self._active[doc_id].phase in (Phase.MERGING, Phase.EMBEDDING):
            self._calls.pause(MERGES)

    async def _process(self, document: Document, engine: Engine) -> None:
        self._calls.resume(document.id)
        began = self._clock()
        await self._put(replace(document, status=Status.PROCESSING, error=None))
        try:
            ended = await self._indexed(document, engine)
            log.info("%s: %s after %.1f s", document.id, ended.status, self._clock() - began)
            await self._finish(document, ended, self._clock() - began)
        finally:
            self._active.pop(document.id, None)
            self._stopping.discard(document.id)
            self._gone.discard(document.id)
            if not self._stopping and not self._gone:
                self._calls.resume(MERGES)
            self.nudge()

    async def _indexed(self, document: Document, engine: Engine) -> Indexed:
        try:
            text = await to_thread.run_sync(read_document, self._library, document)
            self._active[document.id] = self._active[document.id].at(Phase.CHUNKING)
            return await engine.index(document, text)
        except LibrarianError as exc:
            log.warning("%s: %s", document.id, exc)
            return Indexed(status=Status.FAILED, chunks=0, entities=0, relations=0, error=str(exc))

    async def _finish(self, document: Document, ended: Indexed, seconds: float) -> None:
        if document.id in self._gone:
            return
        status, error = ended.status, ended.error
        if status is Status.FAILED and document.id in self._stopping:
            status, error = Status.PAUSED, None
        elif status is Status.FAILED and error and INTERRUPTED in error:
            status, error = Status.PENDING, None  # its merge was ended for another's sake
        progress = self._active[document.id]
        whole = status is Status.PROCESSED
        warnings = ended.warnings
        if whole and not ended.entities:
            warnings = (*warnings, "No entity was found in it.")
        await self._put(
            replace(
                document,
                status=status,
                chunks_total=ended.chunks or progress.chunks_total,
                chunks_done=ended.chunks if whole else progress.chunks_done,
                chunks_saved=progress.chunks_saved,
                entities=ended.entities if whole else 0,
                relations=ended.relations if whole else 0,
                elapsed_s=document.elapsed_s + seconds,
                warnings=warnings,
                error=error,
            )
        )

    async def _forget_deleted(self, engine: Engine) -> None:
        if self._active:
            return
        catalogue = self._library.catalogue
        for doc_id in await to_thread.run_sync(catalogue.deletions):
            try:
                await engine.delete(doc_id)
            except LibrarianError as exc:
                log.error("%s could not be taken out of the graph: %s", doc_id, exc)
            await to_thread.run_sync(catalogue.deleted, doc_id)
            self.news.set()

    def _begin_embedding(self) -> None:
        for doc_id, progress in self._active.items():
            if progress.phase is Phase.MERGING:
                self._active[doc_id] = replace(
                    progress.at(Phase.EMBEDDING), texts_before=self._calls.account.texts_embedded
                )
                return

    async def _get(self, doc_id: str) -> Document:
        return await to_thread.run_sync(self._library.catalogue.get, doc_id)

    async def _put(self, document: Document) -> None:
        changed = replace(document, updated_at=time.time())
        try:
            await to_thread.run_sync(self._library.catalogue.get, document.id)
        except UnknownDocument:
            return  # deleted meanwhile; it must not come back
        await to_thread.run_sync(self._library.catalogue.put, changed)
        self.news.set()
